"""Rules that need no other version, or no labels: floors, calibration, changed answers.

Estimates with an error have three outcomes here, too: pass when the bound is met by the whole
interval, fail when by none of it, else not enough data.
"""

from __future__ import annotations

import numpy as np

from trueup.config.training import GateSettings
from trueup.records.gate import Limits, Outcome, Rule, RuleResult
from trueup.trainer.gate.blocks import Blocks
from trueup.trainer.gate.bootstrap import Drawings, estimate
from trueup.trainer.gate.calibration import calibration_limits
from trueup.trainer.gate.evidence import Array, PairedRows
from trueup.trainer.gate.metrics import HIGHER_IS_BETTER, improvement, mean_of, metric_value, single
from trueup.trainer.gate.words import count, interval, number, percent

CHANGED_BY = 0.1
"""A number has changed when it differs by more than this share of the live version's."""


def at_most(value_limits: Limits, bound: float) -> Outcome:
    """Whether a value lies at or below ``bound``."""
    if value_limits.high <= bound:
        return Outcome.PASS
    return Outcome.FAIL if value_limits.low > bound else Outcome.NOT_ENOUGH_DATA


def at_least(value_limits: Limits, bound: float) -> Outcome:
    """Whether a value lies at or above ``bound``."""
    if value_limits.low >= bound:
        return Outcome.PASS
    return Outcome.FAIL if value_limits.high < bound else Outcome.NOT_ENOUGH_DATA


_SAYS = {
    Outcome.PASS: "shown",
    Outcome.FAIL: "refuted",
    Outcome.NOT_ENOUGH_DATA: "neither shown nor refuted by these rows",
}


def finite_answers(rows: PairedRows) -> RuleResult:
    """Every labelled row has a finite answer of the candidate."""
    fine = rows.silent == 0
    return RuleResult(
        rule=Rule.FINITE_ANSWERS,
        rows=rows.labelled,
        estimate=float(rows.silent),
        bound=0.0,
        unit="rows",
        outcome=Outcome.PASS if fine else Outcome.FAIL,
        reason=f"all of {count(rows.labelled, 'row')} have a finite answer"
        if fine
        else f"{rows.silent:,} of {count(rows.labelled, 'row')} have NaN or infinity for an answer",
    )


def enough_data(rows: PairedRows, settings: GateSettings, why: str | None) -> RuleResult:
    """The gate has rows and blocks enough to judge at all.

    :param why: of :func:`~trueup.trainer.gate.comparisons.too_little`.
    """
    n = len(rows.kept)
    if n < settings.min_rows:
        why = f"{settings.min_rows:,} are needed (gate.min_rows)"
    return RuleResult(
        rule=Rule.ENOUGH_DATA,
        rows=n,
        estimate=float(n),
        bound=float(settings.min_rows),
        unit="rows",
        outcome=Outcome.PASS if why is None else Outcome.NOT_ENOUGH_DATA,
        reason=f"the gate has {count(n, 'labelled row')}" + (f": {why}" if why else ""),
    )


def floor(
    metric: str, unit: str, rows: PairedRows, blocks: Blocks, drawings: Drawings,
    settings: GateSettings,
) -> RuleResult | None:  # fmt: skip
    """The metric itself is good enough."""
    found = estimate(single(metric, rows.labels, rows.candidate), blocks, drawings)
    if settings.floor is None or found is None:
        return None
    limits = found.limits(settings.confidence, settings.confidence)
    higher = metric in HIGHER_IS_BETTER
    outcome = (at_least if higher else at_most)(limits, settings.floor)
    return RuleResult(
        rule=Rule.FLOOR,
        rows=len(rows.kept),
        blocks=found.blocks,
        estimate=found.value,
        limits=limits,
        bound=settings.floor,
        unit=unit,
        outcome=outcome,
        reason=f"{metric} is {number(found.value, unit)} ({interval(limits, unit)}); that it is at "
        f"{'least' if higher else 'most'} {number(settings.floor, unit)} is {_SAYS[outcome]}",
    )


def better_than_constant(
    metric: str, rows: PairedRows, blocks: Blocks, drawings: Drawings, settings: GateSettings
) -> RuleResult | None:
    """Where neither a live version nor a floor is there: answers that never change are the floor.
    Probabilities are compared by log-loss, numbers by their own metric."""
    metric = metric if metric in ("mae", "rmse") else "log_loss"
    constant = _constant(metric, rows)
    statistic = improvement(metric, rows.labels, rows.candidate, constant)
    found = estimate(statistic, blocks, drawings)
    if found is None:
        return None
    limits = found.limits(settings.confidence, settings.confidence)
    outcome = at_least(limits, 0.0)
    value = metric_value(metric, rows.labels, constant)
    return RuleResult(
        rule=Rule.BETTER_THAN_CONSTANT,
        rows=len(rows.kept),
        blocks=found.blocks,
        estimate=found.value,
        limits=limits,
        bound=0.0,
        outcome=outcome,
        reason=f"without a live version and gate.floor, the best answer that never changes is the "
        f"floor: its {metric} is {number(value)}, the candidate's better by {number(found.value)} "
        f"({interval(limits)}); that it is better is {_SAYS[outcome]}",
    )


def _constant(metric: str, rows: PairedRows) -> Array:
    if metric == "mae":
        return np.full(len(rows.kept), float(np.median(rows.labels)))
    if rows.candidate.ndim == 1:
        return np.full(len(rows.kept), float(np.mean(rows.labels)))
    classes = rows.candidate.shape[1]
    shares = np.bincount(rows.labels.astype(np.int64), minlength=classes) / len(rows.labels)
    return np.tile(shares, (len(rows.labels), 1))


def calibration(
    rows: PairedRows, blocks: Blocks, drawings: Drawings, settings: GateSettings
) -> RuleResult | None:
    """The expected calibration error is small enough."""
    if settings.max_calibration_error is None:
        return None
    value, limits = calibration_limits(
        rows.labels, rows.candidate, blocks, drawings, settings.confidence
    )
    outcome = at_most(limits, settings.max_calibration_error)
    return RuleResult(
        rule=Rule.CALIBRATION,
        rows=len(rows.kept),
        blocks=blocks.count,
        estimate=value,
        limits=limits,
        bound=settings.max_calibration_error,
        outcome=outcome,
        reason=f"the expected calibration error, net of chance, is {number(value)} "
        f"({interval(limits)}); that it is at most {number(settings.max_calibration_error)} is "
        f"{_SAYS[outcome]}",
    )


def changed_answers(
    rows: PairedRows, blocks: Blocks, drawings: Drawings, settings: GateSettings, numbers: bool
) -> RuleResult | None:
    """Not too many answers differ from the live version's: in their class, or by more than 10 %."""
    if rows.live is None:
        return None
    changed = changed_rows(rows.candidate, rows.live, numbers)
    found = estimate(mean_of(changed.astype(np.float64)), blocks, drawings)
    if found is None:
        return None
    limits = found.limits(settings.confidence, settings.confidence)
    free = settings.max_changed >= 1.0
    outcome = Outcome.PASS if free else at_most(limits, settings.max_changed)
    what = "by more than 10 %" if numbers else "in their class"
    allowed = percent(settings.max_changed)
    return RuleResult(
        rule=Rule.CHANGED_ANSWERS,
        rows=len(rows.kept),
        blocks=found.blocks,
        estimate=found.value,
        limits=limits,
        bound=settings.max_changed,
        outcome=outcome,
        reason=f"{percent(found.value)} of the answers differ {what} from the live version's"
        + ("; any share may" if free else f"; that at most {allowed} do is {_SAYS[outcome]}"),
    )


def changed_rows(candidate: Array, live: Array, numbers: bool) -> Array:
    """Which answers have changed: ``(n,)`` booleans."""
    if numbers:
        return np.abs(candidate - live) > CHANGED_BY * np.abs(live)
    if candidate.ndim == 1:
        return (candidate >= 0.5) != (live >= 0.5)
    return candidate.argmax(axis=1) != live.argmax(axis=1)
