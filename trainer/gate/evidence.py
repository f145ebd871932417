"""What the gate looks at: labels and answers of the versions for the same rows, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trueup.records.gate import ReplayEvidence
from trueup.records.training import Target
from trueup.trainer.gate.blocks import Blocks, by_entity, by_order, by_time, merged
from trueup.trainer.gate.bootstrap import Drawings, Estimate, estimate
from trueup.trainer.gate.metrics import Statistic, improvement, single

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Scores:
    """Answers of one version: :func:`trueup.trainer.gate.labels.as_predictions`.

    :param version: ``None`` for a candidate without a number.
    """

    version: int | None
    predictions: Array


@dataclass(frozen=True, eq=False)
class GateEvidence:
    """Everything of one candidate. Arrays have one element per row, in the same order.

    :param labels: :func:`trueup.trainer.gate.labels.encode_labels`; NaN has no label.
    :param live: absent where nothing is live.
    :param best: the best version ever (:func:`trueup.trainer.gate.best.best_version`), where it is
        another than the live one and could be scored.
    :param best_version: its number; equal to the live version's where that is the best.
    :param event_seconds: since 1970, NaN where unknown; absent without event time.
    :param entities: what names the entity of a row; absent without keys.
    :param columns: variables to slice by, as pyarrow arrays.
    :param replay: absent where nothing was replayed.
    :param unit: of the label, for mae and rmse.
    """

    model: str
    target: Target
    labels: Array
    candidate: Scores
    live: Scores | None = None
    best: Scores | None = None
    best_version: int | None = None
    event_seconds: Array | None = None
    entities: Array | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    replay: ReplayEvidence | None = None
    unit: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PairedRows:
    """The rows that can be compared: labelled, and with a finite answer of every version.

    :param kept: places of them among all rows.
    :param labelled: rows with a label; ``silent``: of these, rows without a finite answer of the
        candidate.
    :param others_silent: rows left out because another version has no finite answer.
    """

    labels: Array
    candidate: Array
    live: Array | None
    best: Array | None
    kept: Array
    labelled: int
    silent: int
    others_silent: int

    def improvement(
        self, metric: str, other: Array, rows: Array | slice = slice(None)
    ) -> Statistic:
        return improvement(metric, self.labels[rows], self.candidate[rows], other[rows])


def pair(evidence: GateEvidence) -> PairedRows:
    """Leave out what cannot be compared, and count it."""
    labelled = np.isfinite(evidence.labels)
    answered = _finite(evidence.candidate.predictions)
    others = np.ones(len(labelled), dtype=bool)
    for scores in (evidence.live, evidence.best):
        if scores is not None:
            others &= _finite(scores.predictions)
    kept = np.flatnonzero(labelled & answered & others)
    return PairedRows(
        labels=evidence.labels[kept],
        candidate=evidence.candidate.predictions[kept],
        live=None if evidence.live is None else evidence.live.predictions[kept],
        best=None if evidence.best is None else evidence.best.predictions[kept],
        kept=kept,
        labelled=int(labelled.sum()),
        silent=int((labelled & ~answered).sum()),
        others_silent=int((labelled & answered & ~others).sum()),
    )


def _finite(predictions: Array) -> Array:
    finite = np.isfinite(predictions)
    return finite if finite.ndim == 1 else finite.all(axis=1)


def choose_blocks(
    evidence: GateEvidence, rows: PairedRows, metric: str, length: timedelta, seed: int
) -> tuple[Blocks, Drawings, Estimate | None]:
    """What is drawn together, and the main estimate with it: the improvement over the live version,
    or the candidate's metric where there is none.

    Of event time and entity the one that makes the larger error, as rows may depend on each other
    either way; neighbouring rows of the files where there is neither.
    """
    if rows.live is None:
        statistic = single(metric, rows.labels, rows.candidate)
    else:
        statistic = rows.improvement(metric, rows.live)
    candidates: list[Blocks] = []
    if evidence.event_seconds is not None:
        seconds = evidence.event_seconds[rows.kept]
        # Rows without a time are in a block before all others.
        known = np.isfinite(seconds)
        first = seconds[known].min() if known.any() else 0.0
        candidates.append(by_time(np.where(known, seconds, first - 2e6), length))
    if evidence.entities is not None:
        candidates.append(by_entity(evidence.entities[rows.kept]))
    if not candidates:
        candidates.append(by_order(len(rows.kept)))
    best: tuple[Blocks, Drawings, Estimate | None] | None = None
    for blocks in candidates:
        found = merged(blocks, row_influence(statistic))
        drawings = Drawings(found.count, seed)
        main = estimate(statistic, found, drawings)
        if best is None or _error(main) > _error(best[2]):
            best = found, drawings, main
    assert best is not None
    return best


def row_influence(statistic: Statistic) -> Array:
    """What each row adds to the deviation of the estimate: ``(n,)``, 0 where it is undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        influence = statistic.columns @ statistic.gradient(statistic.columns.sum(axis=0))
    return np.where(np.isfinite(influence), influence, 0.0)


def _error(estimate: Estimate | None) -> float:
    return float("inf") if estimate is None else estimate.error
