"""What windows of time add to the errors of a comparison (``--time``).

Rows of one day share that day's weather: the error of a mean over W windows is not that of its
rows alone. The training windows tell by how much (:mod:`trueup.monitor.variation`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from trueup.monitor.measured import Measured
from trueup.monitor.quantities.moments import counted, scale_of
from trueup.monitor.variation import between_window_variation
from trueup.profile.states import FeatureState, Profile
from trueup.records.report import Quantity

MIN_WINDOW_ROWS = 2
"""A window with fewer values has no variance of its own."""

LARGEST_Z = 37.5
"""Beyond it the p-value of a normal deviate is less than the smallest float."""


@dataclass(frozen=True)
class Spread:
    """Variance that windows add to an effect.

    :param variance: in squared units of the effect (sd, log-variance, points).
    :param design: total over the rows' own variance, ``>= 1``: by this the effective number of
        rows is smaller.
    """

    variance: float
    design: float


def spreads(
    training: Profile, windows: Sequence[Profile], serving: Profile, serving_windows: int
) -> dict[tuple[str, Quantity], Spread]:
    """What to add, per feature and quantity; features whose windows are too few are left out.

    :param windows: profiles of training's windows in order of time, on training's edges.
    :param serving_windows: over how many windows of the same length serving stretches.
    """
    result: dict[tuple[str, Quantity], Spread] = {}
    for name, state in training.features.items():
        states = [window.features[name] for window in windows]
        for quantity, measure in _MEASURES.items():
            series = [measure(state, one) for one in states]
            values = np.array([value for value, _ in series])
            row_variances = np.array([variance for _, variance in series])
            variation = between_window_variation(values, row_variances)
            if variation is None:
                continue
            added = variation.of_difference(variation.windows, max(serving_windows, 1))
            rows = measure(state, state)[1] + measure(state, serving.features[name])[1]
            if np.isfinite(rows) and rows > 0:
                result[name, quantity] = Spread(added, 1.0 + added / rows)
    return result


def _mean(baseline: FeatureState, window: FeatureState) -> tuple[float, float]:
    """Mean in baseline standard deviations, and its variance from rows."""
    if baseline.numeric is None or window.numeric is None:
        return np.nan, np.nan
    old, new = counted(baseline.numeric, window.numeric)
    if new.n < MIN_WINDOW_ROWS or old.m2 <= 0.0:
        return np.nan, np.nan
    scale = scale_of(old, new)
    return (new.mean - old.mean) / scale, new.variance / (new.n * scale**2)


def _log_variance(baseline: FeatureState, window: FeatureState) -> tuple[float, float]:
    if baseline.numeric is None or window.numeric is None:
        return np.nan, np.nan
    old, new = counted(baseline.numeric, window.numeric)
    if new.n < MIN_WINDOW_ROWS or old.m2 <= 0.0 or new.m2 <= 0.0:
        return np.nan, np.nan
    return float(np.log(new.variance / old.variance)), (old.kurtosis - 1) / new.n


def _rate(
    count: Callable[[FeatureState], int],
) -> Callable[[FeatureState, FeatureState], tuple[float, float]]:
    def measure(baseline: FeatureState, window: FeatureState) -> tuple[float, float]:
        if not window.rows or not baseline.rows:
            return np.nan, np.nan
        rate = count(baseline) / baseline.rows
        return 100 * count(window) / window.rows, 1e4 * rate * (1 - rate) / window.rows

    return measure


_MEASURES: dict[Quantity, Callable[[FeatureState, FeatureState], tuple[float, float]]] = {
    Quantity.MEAN: _mean,
    Quantity.VARIANCE: _log_variance,
    Quantity.MISSING: _rate(lambda state: state.missing),
    Quantity.TYPE_ERROR: _rate(lambda state: state.type_errors),
}


def spread_over_windows(
    measured: Sequence[Measured], spread: Mapping[tuple[str, Quantity], Spread]
) -> list[Measured]:
    """The same quantities with errors that windows widened: statistic, p-value and interval.

    A quantity that has no window series of its own takes the largest design effect of its
    feature.
    """
    largest: dict[str, float] = {}
    for (name, _), known in spread.items():
        largest[name] = max(largest.get(name, 1.0), known.design)
    result = []
    for one in measured:
        own = spread.get((one.feature, one.quantity))
        design = own.design if own is not None else largest.get(one.feature, 1.0)
        result.append(_widened(one, design))
    return result


def _widened(one: Measured, design: float) -> Measured:
    if one.p_value is None or design <= 1.0:
        return one
    factor = float(np.sqrt(design))
    if one.quantity is Quantity.SHARES:
        return _widened_shares(one, design)
    z = -float(special.ndtri(one.p_value / 2)) if one.p_value > 0 else _beyond(one)
    p_value = float(2 * special.ndtr(-z / factor))
    low, high = one.low, one.high
    if low is not None and high is not None:
        low, high = (
            one.effect - (one.effect - low) * factor,
            one.effect + (high - one.effect) * factor,
        )
    statistic = one.statistic / factor if one.statistic is not None else None
    return replace(
        one, p_value=p_value, low=low, high=high, statistic=statistic,
        method=f"{one.method}, windows counted",
    )  # fmt: skip


def _beyond(one: Measured) -> float:
    """z where its p-value is too small for a float: the statistic itself if it is one."""
    if one.quantity is Quantity.OUT_OF_RANGE or one.statistic is None:
        return LARGEST_Z
    return max(abs(one.statistic), LARGEST_Z)


def _widened_shares(one: Measured, design: float) -> Measured:
    """χ² and PSI's null quantile both go by the effective number of rows."""
    null = one.null_quantile * design if one.null_quantile is not None else None
    if one.statistic is None or one.null_quantile is None or not one.freedom:
        return one
    low = max(0.0, one.effect - (one.effect - (one.low or 0.0)) * design)
    return replace(
        one,
        statistic=one.statistic / design,
        p_value=float(special.chdtrc(one.freedom, one.statistic / design)),
        null_quantile=null,
        threshold=max(one.threshold or 0.0, null or 0.0),
        low=low,
        method=f"{one.method}, windows counted",
    )
