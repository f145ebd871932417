"""When a measured quantity counts (docs/statistics.md, section 3)."""

from __future__ import annotations

from trueup.monitor.measured import Measured
from trueup.records.report import Level

ORDER = (Level.OK, Level.WATCH, Level.ALERT)


def nearest_to_zero(low: float, high: float) -> float:
    """Distance of an interval from 0; 0 where the interval holds it.

    >>> nearest_to_zero(-3.0, -1.0), nearest_to_zero(-1.0, 2.0)
    (1.0, 0.0)
    """
    return max(low, -high, 0.0)


def level_of(measured: Measured, p_adjusted: float | None, alpha: float) -> Level:
    """*alert*: significant, and the whole interval is past the threshold. *watch*: significant
    and beyond the dead band. The ceiling is not applied here: a cause can lift it."""
    if measured.fixed is not None:
        return measured.fixed
    if p_adjusted is None or p_adjusted > alpha:
        return Level.OK
    if measured.null_quantile is not None and measured.effect <= measured.null_quantile:
        return Level.OK
    if (
        measured.low is not None
        and measured.high is not None
        and measured.threshold is not None
        and nearest_to_zero(measured.low, measured.high) > measured.threshold
    ):
        return Level.ALERT
    return Level.WATCH if abs(measured.effect) > measured.dead_band else Level.OK


def lower(a: Level, b: Level) -> Level:
    """The lesser of two levels."""
    return ORDER[min(ORDER.index(a), ORDER.index(b))]


def higher(a: Level, b: Level) -> Level:
    """The greater of two levels."""
    return ORDER[max(ORDER.index(a), ORDER.index(b))]
