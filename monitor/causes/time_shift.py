"""Hours of the day that moved round the clock as one: a wrong time zone."""

from __future__ import annotations

import numpy as np

from trueup.monitor.causes.diagnosis import Diagnosis
from trueup.monitor.effects import shares
from trueup.monitor.measured import FeaturePair
from trueup.records.report import Cause, CauseKind, Quantity

EXPLAINED = 0.3
"""After the best turn at most this share of the distance may be left."""

SECOND_BEST = 2.0
"""Any other turn must leave at least this many times more, so that the turn is no accident."""

LEAST_DISTANCE = 0.05
"""Total variation distance below which a turn is not worth looking for."""

DAYLIGHT_SAVING_HOURS = 1
"""A turn by one hour is what daylight saving time does to local habits; it names no fault."""


def turn(before: np.ndarray, after: np.ndarray) -> int | None:
    """The circular shift in hours (-11 … 12) that makes ``before`` into ``after``, if one does.

    :param before, after: counts per hour of the day, shape ``(24,)``.

    >>> day = np.array([1] * 7 + [20, 40, 30] + [12] * 8 + [5] * 6)
    >>> turn(day, np.roll(day, 5)), turn(day, day)
    (5, None)
    """
    p, q = shares(before), shares(after)
    left = np.array([np.abs(np.roll(p, hours) - q).sum() / 2 for hours in range(24)])
    best = int(np.argmin(left))
    if best == 0 or left[0] < LEAST_DISTANCE or left[best] > EXPLAINED * left[0]:
        return None
    others = np.delete(left, best)
    if others.min() < SECOND_BEST * left[best]:
        return None
    hours = best if best <= 12 else best - 24
    return None if abs(hours) <= DAYLIGHT_SAVING_HOURS else hours


def time_shift(pair: FeaturePair) -> Diagnosis | None:
    """The turn of the hour-of-day histogram of a time."""
    before, after = pair.training.hours, pair.serving.hours
    if before is None or after is None or not before.sum() or not after.sum():
        return None
    hours = turn(before, after)
    if hours is None:
        return None
    return Diagnosis(
        Cause(
            kind=CauseKind.TIME_SHIFT,
            statement=f"hours of {pair.name} are shifted by {hours:+d} h: a time zone was lost or "
            "applied twice",
            remedy=f"send {pair.name} in the time zone of the training data",
            parameters={"hours": float(hours)},
        ),
        frozenset({Quantity.SHARES}),
    )
