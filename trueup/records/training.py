"""What a version is trained on: rows split, written as shards, with where they came from."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Literal

from pydantic import Field

from trueup.records.input_spec import Dtype, InputSpec, Record


class Split(str, Enum):
    """Who sees a row. ``gate`` rows are seen by the gate alone."""

    TRAIN = "train"
    TUNE = "tune"
    GATE = "gate"


class Target(Record):
    """What is predicted.

    :param label: the variable.
    :param classes: as texts, in the order of the model's outputs; of multiclass and of binary
        without ``positive_above`` (whose second class is the positive one), else empty.
    :param positive_above: binary: 1 where the label is above it.
    :param dtype: of the label, as examples have it.
    :param bias: what a model answers before it has learnt anything: the mean of the label
        (regression), log-odds (binary), logarithms of the classes' shares; empty: zeros.
    :param scale: regression: the label's standard deviation, which the model's last layer is
        multiplied by.
    """

    label: str
    task: Literal["regression", "binary", "multiclass"]
    classes: tuple[str, ...] = ()
    positive_above: float | None = None
    dtype: Dtype = "float64"
    bias: tuple[float, ...] = ()
    scale: float = 1.0


class Shard(Record):
    """One file of a split.

    :param path: relative to the folder of the data; TFRecord of ``tf.train.Example`` for ``train``
        and ``tune``, Parquet with all raw columns for ``gate``.
    :param sha256: hex, of the file.
    """

    path: str
    rows: int
    bytes: int
    sha256: str


class SplitData(Record):
    """The rows of one split; times are of the event, absent where there is none."""

    rows: int = 0
    shards: tuple[Shard, ...] = ()
    first_event_at: datetime | None = None
    last_event_at: datetime | None = None


class SourceData(Record):
    """Where rows came from.

    :param kind: ``files``, ``query`` or ``capture``.
    :param name: as the user wrote it.
    :param fingerprint: hex; of names, sizes and times of the files, of the query's text and rows,
        or of the manifest rows of the capture.
    """

    kind: Literal["files", "query", "capture"]
    name: str
    rows: int
    fingerprint: str
    first_event_at: datetime | None = None
    last_event_at: datetime | None = None


class TrainingData(Record):
    """Lineage of a version: ``data.json`` in the folder of the data.

    :param spec: of the raw variables, with the roles that were used.
    :param target: what is predicted.
    :param dropped: rows that are in no split, by reason (``label is missing``, ``quarantined`` …).
    :param cut_at: rows from this event time on are the gate's.
    """

    model: str
    spec: InputSpec
    target: Target
    sources: tuple[SourceData, ...]
    splits: dict[Split, SplitData]
    dropped: dict[str, int] = Field(default_factory=dict)
    cut_at: datetime | None = None
    made_at: datetime
    code_version: str = ""
