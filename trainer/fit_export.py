"""From weights on disk to a whole export: no strategy, one process, and nothing half done."""

from __future__ import annotations

import logging
import math
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from trueup.errors import ChildTaskError
from trueup.records.training import Split
from trueup.trainer.graph.examples import parser
from trueup.trainer.graph.export import export_model
from trueup.trainer.graph.model import build_model, compile_model
from trueup.trainer.input import Rows, batches
from trueup.trainer.job_folder import DATA, Job

_log = logging.getLogger(__name__)

EXPORT = "export"
_UNFINISHED = ".unfinished-"
#: Rows of one batch when only answers are computed.
_BATCH = 4096


def export(job: Job, weights: Path, threads: int) -> dict[str, float]:
    """Write ``export/`` in the job's folder; metrics of the tuning rows, each seen once.

    :raises ChildTaskError: the checkpoint lacks a weight of the model.
    """
    settings = job.spec.settings
    model = build_model(job.plan, settings)
    status = model.load_weights(str(weights))
    try:
        status.assert_existing_objects_matched()
    except AssertionError as error:
        raise ChildTaskError(
            f"the weights in {weights} do not fit the model: {error}",
            remedy="start the job again, in a new folder",
        ) from error
    compile_model(model, job.plan, settings)
    metrics = _metrics(job, model, threads)
    for left in job.folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)
    unfinished = job.folder / f"{_UNFINISHED}{uuid.uuid4().hex}"
    try:
        export_model(model, job.plan, unfinished)
        _make_durable(unfinished)
        _replace(unfinished, job.folder / EXPORT)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return metrics


def _metrics(job: Job, model: Any, threads: int) -> dict[str, float]:
    tune = job.split(Split.TUNE)
    if not tune.rows:
        return {}
    rows = Rows(job.folder / DATA, tune.shards, parts=1, seed=0)
    parse = parser(job.plan)
    found = model.evaluate(
        batches(rows.once(), _BATCH, parse, whole=False, threads=threads),
        return_dict=True,
        verbose=0,
    )
    return {name: float(value) for name, value in found.items() if math.isfinite(float(value))}


def _replace(finished: Path, target: Path) -> None:
    """Move a finished folder to its place; what an earlier start left there goes."""
    if target.exists():
        old = target.with_name(f"{_UNFINISHED}{uuid.uuid4().hex}")
        target.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    finished.rename(target)
    _sync(target.parent)


def _make_durable(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
