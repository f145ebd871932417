"""What to look at first."""

from __future__ import annotations

import math

from trueup.monitor.levels import ORDER
from trueup.monitor.measured import Measured
from trueup.records.report import Cause, Level, Quantity

H_UNIT = 0.1
"""h that ranks as high as a mean at its default threshold of 0.1 sd."""

FALLEN_VARIANCE = 0.5


def normalised(measured: Measured) -> float:
    """The effect in units of its threshold, so that different quantities can be ordered.

    PSI grows with the square of a shift (it is δ² for a normal mean that moved by δ), so its
    square root is taken. A rate counts by Cohen's h, which is in units of sd as mean differences
    are, where that is less than its points. A variance counts by the change of the standard
    deviation in units of training's, a fallen one by half of that: values that draw together stay
    where training has them. Facts of the schema come first of their level.
    """
    if measured.fixed is not None:
        return math.inf
    ratio = abs(measured.effect) / measured.threshold if measured.threshold else 0.0
    if measured.quantity is Quantity.SHARES:
        return math.sqrt(ratio)
    if measured.quantity is Quantity.VARIANCE and measured.threshold:
        spread = abs(math.expm1(measured.effect / 2)) / math.expm1(measured.threshold / 2)
        return spread if measured.effect > 0 else FALLEN_VARIANCE * spread
    if measured.unit == "points" and measured.training is not None and measured.serving is not None:
        return min(ratio, cohen_h(measured.serving / 100, measured.training / 100) / H_UNIT)
    return ratio


def cohen_h(rate: float, rate0: float) -> float:
    """``|2 asin √p - 2 asin √p₀|``, the size of a difference of rates (Cohen 1988, chapter 6).

    >>> round(cohen_h(0.85, 0.667), 2)
    0.43
    """
    angles = [2 * math.asin(math.sqrt(min(max(p, 0.0), 1.0))) for p in (rate, rate0)]
    return abs(angles[0] - angles[1])


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
