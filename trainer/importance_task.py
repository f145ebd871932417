"""Importances of a job's exported model, in a process of its own:

    python -m trueup.trainer.importance_task --job FOLDER

Writes ``importances.json`` into the job's folder: an :class:`Importances`, of a sample of the
tuning rows (of the training rows where there are none), which the exported graph scores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from trueup.errors import ChildTaskError, TrueupError
from trueup.frames.whole import write_whole
from trueup.records.features import FeaturePlan
from trueup.records.input_spec import Record
from trueup.records.training import Split
from trueup.trainer.data.examples import sample_of
from trueup.trainer.data.lineage import read_lineage
from trueup.trainer.gate.labels import as_predictions, encode_labels
from trueup.trainer.gate.metrics import resolve, row_losses
from trueup.trainer.importance import (
    Importance,
    PartialDependence,
    Sample,
    partial_dependence,
    permutation_importances,
)

RESULT = "importances.json"
LIMIT_S = 600.0

MOST_ROWS, LEAST_ROWS = 5000, 500
ROWS_TO_SCORE = 1_000_000
"""In all, about: what a job may spend on this is some seconds of one processor."""
REPEATS, GRID = 2, 12
MOST_CURVES = 50
"""Of the most important variables."""


class Importances(Record):
    """Kept with the baseline of a version.

    :param metric: whose rise is an importance: of the loss of a row.
    :param importances: of all variables that the model looks at, the largest first.
    """

    metric: str
    rows: int
    importances: tuple[Importance, ...]
    partial_dependence: tuple[PartialDependence, ...]


def rows_for(features: int) -> int:
    """How many rows are looked at.

    >>> rows_for(12), rows_for(1000)
    (5000, 500)
    """
    shuffled, curves = features * REPEATS, min(features, MOST_CURVES) * GRID
    return max(LEAST_ROWS, min(MOST_ROWS, ROWS_TO_SCORE // (shuffled + curves + 1)))


def importances_of(folder: Path) -> Importances:
    """:param folder: of a job, with its plan, data and export.

    :raises TrueupError: they cannot be read, or the model does not answer.
    """
    from trueup.trainer.scoring import Scorer

    data = read_lineage(folder / "data")
    plan = FeaturePlan.model_validate_json((folder / "plan.json").read_bytes())
    split = Split.TUNE if data.splits.get(Split.TUNE) else Split.TRAIN
    split = split if data.splits[split].rows else Split.TRAIN
    rows = sample_of(data, folder / "data", split, rows_for(len(plan.inputs)))
    labels = encode_labels(rows[plan.target.label], plan.target)
    known = np.flatnonzero(np.isfinite(labels))
    names = [variable.name for variable in plan.inputs]
    sample = Sample(rows.take(pa.array(known)).select(names), labels[known])
    metric = resolve("auto", plan.target.task)
    scorer = Scorer(folder / "export", None, None, threads=1)

    def score(batch: pa.RecordBatch) -> np.ndarray:
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        answers = scorer(columns, batch.num_rows, "a sample of the rows")
        return as_predictions(answers, plan.target, "the model")

    def loss(answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return row_losses(metric, targets, answers)

    try:
        found = permutation_importances(sample, score, loss, names, repeats=REPEATS)
        ordered = sorted(found, key=lambda one: -one.increase)
        chosen = {one.feature for one in ordered[:MOST_CURVES]}
        curves = partial_dependence(
            sample, score, [v for v in plan.inputs if v.name in chosen], grid=GRID
        )
    finally:
        scorer.close()
    return Importances(
        metric=metric,
        rows=len(known),
        importances=tuple(ordered),
        partial_dependence=curves,
    )


def importances_in_process(folder: Path) -> Importances:
    """The same, in a child process.

    :raises ChildTaskError: it failed; says why.
    """
    command = [sys.executable, "-m", "trueup.trainer.importance_task", "--job", str(folder)]
    try:
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
            timeout=LIMIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ChildTaskError(f"importances took longer than {LIMIT_S:.0f} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it ended without a word"]
        raise ChildTaskError(f"importances could not be taken: {lines[-1]}")
    return Importances.model_validate_json((folder / RESULT).read_bytes())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m trueup.trainer.importance_task")
    parser.add_argument("--job", type=Path, required=True)
    folder = parser.parse_args(arguments).job
    try:
        found = importances_of(folder)
    except TrueupError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    write_whole(folder / RESULT, found.model_dump_json().encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
