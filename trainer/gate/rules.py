"""Rules that need no other version, or no labels: floors, calibration, changed answers, replay.

Estimates with an error have three outcomes here, too: pass when the bound is met by the whole
interval, fail when by none of it, else not enough data.
"""

from __future__ import annotations

import numpy as np

from trueup.config.training import GateSettings
from trueup.records.gate import Limits, Outcome, ReplayEvidence, Rule, RuleResult
from trueup.trainer.gate.blocks import Blocks
from trueup.trainer.gate.bootstrap import Drawings, estimate
from trueup.trainer.gate.calibration import calibration_limits
from trueup.trainer.gate.evidence import Array, PairedRows
from trueup.trainer.gate.metrics import HIGHER_IS_BETTER, improvement, mean_of, metric_value, single
from trueup.trainer.gate.words import count, interval, number, percent

CHANGED_BY = 0.1
"""A number has changed when it differs by more than this share of the live version's."""
LEAST_LATENCIES = 100
"""Requests below which there is no 99th percentile."""


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


def replay(evidence: ReplayEvidence | None, settings: GateSettings) -> tuple[RuleResult, ...]:
    """The artifact gives the trainer's numbers in a real server, and soon enough."""
    if settings.replay_rows == 0:
        return ()
    if evidence is None or evidence.requests + evidence.failed == 0:
        return (
            RuleResult(
                rule=Rule.REPLAY_EQUALITY,
                rows=0,
                bound=settings.tolerance,
                outcome=Outcome.NOT_ENOUGH_DATA,
                reason="no request was replayed in a server; gate.replay_rows = 0 does without",
            ),
        )
    results = [_equality(evidence, settings)]
    if settings.max_latency_ms is not None:
        results.append(_latency(evidence, settings.max_latency_ms))
    return tuple(results)


def _equality(evidence: ReplayEvidence, settings: GateSettings) -> RuleResult:
    largest, total = evidence.max_relative_difference, evidence.requests + evidence.failed
    if evidence.failed:
        outcome = Outcome.FAIL
        reason = f"{evidence.failed:,} of {count(total, 'replayed request')} failed"
        reason += f", the first with: {evidence.first_failure}" if evidence.first_failure else ""
    elif largest is None:
        outcome = Outcome.NOT_ENOUGH_DATA
        reason = f"{count(total, 'request')} were replayed, and no answer could be compared"
    else:
        # A difference that is no number is a difference.
        outcome = Outcome.PASS if largest <= settings.tolerance else Outcome.FAIL
        worst = f" ({evidence.worst})" if evidence.worst and outcome is Outcome.FAIL else ""
        reason = (
            f"in {count(total, 'replayed request')} the server's answers differ from the trainer's "
            f"by at most {largest:.3g} of their size{worst}; {settings.tolerance:.3g} is allowed"
        )
    return RuleResult(
        rule=Rule.REPLAY_EQUALITY,
        rows=total,
        estimate=largest,
        bound=settings.tolerance,
        outcome=outcome,
        reason=reason,
    )


def _latency(evidence: ReplayEvidence, most_ms: float) -> RuleResult:
    """By its point value: it describes this machine under this load, and no population of rows."""
    slow, n = evidence.latency_p99_ms, evidence.requests
    if slow is None or n < LEAST_LATENCIES:
        outcome = Outcome.NOT_ENOUGH_DATA
        reason = (
            f"{count(n, 'replayed request')} have no 99th percentile; {LEAST_LATENCIES} are needed"
        )
    else:
        outcome = Outcome.PASS if slow <= most_ms else Outcome.FAIL
        reason = (
            f"99 % of {count(n, 'replayed request')} are answered within {number(slow, 'ms')}; "
            f"{number(most_ms, 'ms')} are allowed"
        )
    return RuleResult(
        rule=Rule.REPLAY_LATENCY,
        rows=n,
        estimate=slow,
        bound=most_ms,
        unit="ms",
        outcome=outcome,
        reason=reason,
    )
