"""What to look at first."""

from __future__ import annotations

import math

from trueup.monitor.levels import ORDER
from trueup.monitor.measured import Measured
from trueup.records.report import Cause, Level, Quantity


def normalised(measured: Measured) -> float:
    """The effect in units of its threshold, so that different quantities can be ordered.

    PSI grows with the square of a shift (it is δ² for a normal mean that moved by δ), so its
    square root is taken. Facts of the schema come before everything of their level.
    """
    if measured.fixed is not None:
        return math.inf
    ratio = abs(measured.effect) / measured.threshold if measured.threshold else 0.0
    return math.sqrt(ratio) if measured.quantity is Quantity.SHARES else ratio


def order_key(
    measured: Measured, level: Level, cause: Cause | None
) -> tuple[int, int, float, str, str]:
    """Sort key: level, then whether a cause is named, then size; names break ties."""
    return (
        -ORDER.index(level),
        0 if cause is not None else 1,
        -normalised(measured),
        measured.feature,
        measured.quantity.value,
    )
