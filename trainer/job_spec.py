"""What a job is told: the file that each of its tasks reads."""

from __future__ import annotations

from typing import Literal

from trueup.config.training import TrainingSettings
from trueup.records.input_spec import Record


class JobSpec(Record):
    """What is to be run; ``job.json`` in the job's folder, which every task reads.

    All paths are relative to the job's folder: ``data/`` (:class:`trueup.records.training
    .TrainingData`), ``plan.json`` (:class:`trueup.records.features.FeaturePlan`), ``backup/``,
    ``tasks/TYPE-INDEX.json`` (:class:`TaskStatus`), ``tasks/TYPE-INDEX.log``, ``export/`` (a
    SavedModel), ``result.json`` (:class:`TrainingResult`).

    :param python_path: folders that the user's own functions are found in.
    :param warm_start: path, absolute or in the folder, of a SavedModel of the same plan of
        features, whose weights training begins with.
    """

    id: str
    model: str
    kind: Literal["train"] = "train"
    settings: TrainingSettings
    python_path: tuple[str, ...] = ()
    warm_start: str | None = None
