"""What windows of time add to the errors of a comparison (``--time``).

Rows of one day share that day's weather: the error of a mean over W windows is not that of its
rows alone. The training windows tell by how much (:mod:`trueup.monitor.variation`). It is stated as
a *design effect* (Kish 1965): how many times larger the variance of an effect is than its rows
alone would have it, so that n rows are worth n / design.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import special

from trueup.monitor.measured import Measured
from trueup.monitor.variation import between_window_variation
from trueup.profile.series import LENGTH_N, FeatureSeries, WindowSeries
from trueup.profile.states import FeatureState, NumericState, Profile
from trueup.records.report import Quantity

LARGEST_Z = 37.5
"""Beyond it the p-value of a normal deviate is less than the smallest float."""

Designs = Mapping[tuple[str, Quantity], float]
"""Design effects, ``>= 1``, by feature and quantity."""


def design_effects(
    training: Profile, series: WindowSeries, serving: Profile, serving_windows: int
) -> dict[tuple[str, Quantity], float]:
    """Design effects per feature and quantity; without entry where the windows are too few to
    tell (fewer than ``variation.MIN_WINDOWS`` with rows).

    :param series: training's windows.
    :param serving_windows: over how many windows of the same length serving stretches.
    """
    result: dict[tuple[str, Quantity], float] = {}
    for name, one in series.features.items():
        before, after = training.features[name], serving.features[name]
        windows = max(serving_windows, 1)
        found = {
            Quantity.MISSING: _of_missing(before, after, one, windows),
            Quantity.LENGTH: _of_means(before.lengths, after.lengths, one, windows, LENGTH_N),
            Quantity.MEAN: _of_means(before.numeric, after.numeric, one, windows),
            Quantity.VARIANCE: _of_variances(before.numeric, after.numeric, one, windows),
            Quantity.SHARES: _of_shares(one, _values(after), windows),
        }
        result.update({(name, q): design for q, design in found.items() if design is not None})
    return result


def _design(
    values: np.ndarray, row_variances: np.ndarray, rows: float, windows: int
) -> float | None:
    """:param values, row_variances: of each training window, shape ``(B,)``.
    :param rows: variance of the difference of both sides from their rows alone.
    """
    variation = between_window_variation(values, row_variances)
    if variation is None or not 0.0 < rows < np.inf:
        return None
    return 1.0 + variation.of_difference(variation.windows, windows) / rows


def _values(state: FeatureState) -> float:
    if state.numeric is not None:
        return state.numeric.n
    return state.categories.n if state.categories is not None else 0


def _of_missing(
    before: FeatureState, after: FeatureState, series: FeatureSeries, windows: int
) -> float | None:
    if not before.missing or not after.rows:
        return None
    rate = before.missing / before.rows
    spread = rate * (1 - rate)
    rows = np.where(series.rows > 0, series.rows, np.nan)
    present = np.minimum(series.n, rows)  # elements of lists can be more
    return _design(
        1 - present / rows, spread / rows, spread * (1 / before.rows + 1 / after.rows), windows
    )


def _of_means(
    before: NumericState | None, after: NumericState | None, series: FeatureSeries, windows: int,
    *first: int,
) -> float | None:  # fmt: skip
    if before is None or after is None or not before.n or not after.n:
        return None
    n, mean, variance = series.moments(*first)
    pooled = _pooled(n, variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _design(mean, pooled / n, pooled * (1 / before.n + 1 / after.n), windows)


def _of_variances(
    before: NumericState | None, after: NumericState | None, series: FeatureSeries, windows: int
) -> float | None:
    if before is None or after is None or not before.n or not after.n:
        return None
    n, _, variance = series.moments()
    kurtosis = before.clipped.kurtosis
    if not 1.0 < kurtosis < np.inf:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(variance > 0.0, np.log(variance), np.nan)
        row_variances = (kurtosis - 1) / n
    return _design(logs, row_variances, (kurtosis - 1) * (1 / before.n + 1 / after.n), windows)


def _of_shares(series: FeatureSeries, n_serving: float, windows: int) -> float | None:
    """The mean over cells, weighted by their share of χ² (first-order correction of Rao and
    Scott, Annals of Statistics 12, 1984)."""
    cells = series.cells
    counts = cells.sum(axis=1)
    total = float(counts.sum())
    if not total or not n_serving:
        return None
    n = np.where(counts > 0, counts, np.nan)
    sum_of_designs = sum_of_weights = 0.0
    for column in cells[:, cells.any(axis=0)].T:
        share = float(column.sum()) / total
        spread = share * (1 - share)
        if spread <= 0.0:
            continue
        design = _design(column / n, spread / n, spread * (1 / total + 1 / n_serving), windows)
        if design is None:
            return None
        sum_of_designs += (1 - share) * design
        sum_of_weights += 1 - share
    return sum_of_designs / sum_of_weights if sum_of_weights else None


def _pooled(n: np.ndarray, variance: np.ndarray) -> float:
    """Variance within windows."""
    known = np.isfinite(variance)
    freedom = n[known] - 1
    return float(freedom @ variance[known] / freedom.sum()) if known.any() else 0.0


def largest_designs(designs: Designs) -> dict[str, float]:
    """By feature, for quantities that have no series of their own."""
    largest: dict[str, float] = {}
    for (name, _), design in designs.items():
        largest[name] = max(largest.get(name, 1.0), design)
    return largest


def with_designs(measured: Sequence[Measured], designs: Designs) -> list[Measured]:
    """The same quantities with errors that windows widened: statistic, p-value and interval.

    A quantity that has no window series of its own takes the largest design effect of its
    feature; a correlation that of both features.
    """
    largest = largest_designs(designs)
    result = []
    for one in measured:
        spare = max(largest.get(name, 1.0) for name in (one.feature, one.other))
        result.append(_widened(one, designs.get((one.feature, one.quantity), spare)))
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
    """z where its p-value is too small for a float: the statistic itself."""
    if one.statistic is None:
        return LARGEST_Z
    return max(abs(one.statistic), LARGEST_Z)


def _widened_shares(one: Measured, design: float) -> Measured:
    """χ² and PSI's null quantile both go by the effective number of rows.

    So does what chance adds to PSI on average, ``freedom · (1/n + 1/N)``, which the lower limit is
    net of; the rest of the interval grows by the root.
    """
    if one.statistic is None or one.null_quantile is None or not one.freedom:
        return one
    null = one.null_quantile * design
    by_chance = one.freedom * (1 / one.n_training + 1 / one.n_serving)
    low, high = one.low, one.high
    if low is not None and high is not None:
        root = float(np.sqrt(design))
        low = max(0.0, one.effect - (design - 1) * by_chance - root * (one.effect - low))
        high = one.effect + root * (high - one.effect)
    return replace(
        one,
        statistic=one.statistic / design,
        p_value=float(special.chdtrc(one.freedom, one.statistic / design)),
        null_quantile=null,
        threshold=max(one.threshold or 0.0, null),
        low=low,
        high=high,
        method=f"{one.method}, windows counted",
    )
