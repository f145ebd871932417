"""The gate's rows and the scores of its versions, from their files into one evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trueup.datasets.times import parse_times
from trueup.errors import DataError
from trueup.records.gate import ReplayEvidence
from trueup.records.input_spec import InputSpec
from trueup.records.training import Target
from trueup.trainer.gate.evidence import GateEvidence, Scores
from trueup.trainer.gate.labels import as_predictions, encode_labels
from trueup.trainer.scoring import PREDICTION, ROW

Array = NDArray[Any]

_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


@dataclass(frozen=True, slots=True)
class ScoreFile:
    """Scores of one version (:mod:`trueup.trainer.scoring`) of all of the gate's rows."""

    version: int | None
    path: Path


@dataclass(frozen=True, slots=True)
class GateFiles:
    """Where the rows and the scores are.

    :param rows: the gate's Parquet files, in the order in which they were scored.
    :param spec: of the rows; tells the time's unit and the label's.
    :param time: variable with the event time; ``keys``: those that name an entity.
    :param slices: variables to slice by; those that the rows lack are left to the gate to say.
    :param best_version: where it is the live one, it needs no scores of its own.
    """

    model: str
    target: Target
    rows: tuple[Path, ...]
    candidate: ScoreFile
    live: ScoreFile | None = None
    best: ScoreFile | None = None
    best_version: int | None = None
    spec: InputSpec | None = None
    time: str | None = None
    keys: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    replay: ReplayEvidence | None = None


def read_evidence(files: GateFiles) -> GateEvidence:
    """Everything of the files that the gate looks at; only the columns that it needs are read.

    :raises DataError: a file cannot be read, lacks a column, or has other rows than the others.
    :raises BadInputError: answers that fit no metric.
    """
    table = _rows(files)
    n, target = table.num_rows, files.target
    live, best = files.live, files.best
    known = None if files.spec is None else files.spec.by_name.get(target.label)
    return GateEvidence(
        model=files.model,
        target=target,
        labels=encode_labels(table[target.label], target),
        candidate=_scores(files.candidate, n, target, "the candidate"),
        live=None if live is None else _scores(live, n, target, "the live version"),
        best=None if best is None else _scores(best, n, target, "the best version"),
        best_version=files.best_version,
        event_seconds=None if files.time is None else _seconds(table[files.time], files),
        entities=_entities(table, files.keys),
        columns={name: table[name] for name in files.slices if name in table.column_names},
        replay=files.replay,
        unit="" if known is None else known.unit,
    )


def _rows(files: GateFiles) -> pa.Table:
    needed = [files.target.label, *files.keys, *([files.time] if files.time else [])]
    parts = []
    for path in files.rows:
        try:
            names = pq.read_schema(path).names
            lacking = [name for name in needed if name not in names]
            if lacking:
                raise DataError(f"{path} of the gate's rows has no column {lacking[0]!r}")
            columns = [name for name in dict.fromkeys([*needed, *files.slices]) if name in names]
            parts.append(pq.read_table(path, columns=columns))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} of the gate's rows cannot be read: {error}") from error
    if not parts:
        raise DataError("the gate has no rows", remedy="keep some: gate_period, gate_share")
    return pa.concat_tables(parts)


def _scores(file: ScoreFile, rows: int, target: Target, whose: str) -> Scores:
    try:
        table = pq.read_table(file.path, columns=[ROW, PREDICTION])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"scores of {whose} in {file.path} cannot be read: {error}") from error
    places = table[ROW].to_numpy()
    if len(places) != rows or not np.array_equal(places, np.arange(rows)):
        raise DataError(
            f"{file.path} has scores of {len(places):,} rows, and the gate has {rows:,}",
            remedy="score the same files again",
        )
    predictions = table[PREDICTION].combine_chunks()
    if isinstance(predictions, pa.ChunkedArray):
        predictions = pa.concat_arrays(predictions.chunks)
    if pa.types.is_list(predictions.type):
        answers = predictions.flatten().to_numpy(zero_copy_only=False).reshape(rows, -1)
    else:
        answers = predictions.to_numpy(zero_copy_only=False)
    return Scores(file.version, as_predictions(answers, target, whose))


def _seconds(column: pa.ChunkedArray, files: GateFiles) -> Array:
    """Event times as seconds since 1970; NaN where there is none."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pa.chunked_array([parse_times(part)[0] for part in column.chunks])
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("us"))
    per_second = 1.0
    if pa.types.is_timestamp(column.type):
        per_second = _PER_SECOND[column.type.unit]
        column = pa.chunked_array([part.view(pa.int64()) for part in column.chunks], pa.int64())
    elif files.spec is not None and files.time in files.spec.by_name:
        per_second = _PER_SECOND.get(files.spec[str(files.time)].unit, 1.0)
    try:
        numbers = column.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{files.time} of the gate's rows is {column.type}, and no time") from error
    values = numbers.to_numpy().astype(np.float64, copy=False)
    return values / per_second


def _entities(table: pa.Table, keys: Sequence[str]) -> Array | None:
    """A number per entity: equal for rows whose keys are equal, missing ones included."""
    if not keys:
        return None
    result = np.zeros(table.num_rows, dtype=np.int64)
    for key in keys:
        column = table[key]
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        column = column.unify_dictionaries().combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
        codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
        combined = result * (int(codes.max(initial=0)) + 1) + codes
        result = np.unique(combined, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return result
