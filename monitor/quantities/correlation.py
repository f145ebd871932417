"""Did the correlation of two features change?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from trueup.monitor.intervals import normal_quantile
from trueup.monitor.measured import Limits, Measured
from trueup.monitor.quantities.moments import outside_share
from trueup.monitor.words import number
from trueup.profile.states import CoMoments, Profile
from trueup.records.report import Quantity

NEARLY_ONE = 0.999999
"""Correlations are held within ±this, so that Fisher's transform stays finite."""

CENSORED = 0.05
"""A feature with more of its serving values beyond training's range is not correlated."""


def correlations(state: CoMoments) -> np.ndarray:
    """Correlation of each pair over the rows where both are present, shape ``(k, k)``; NaN where
    one of them does not vary there.

    The co-moments carry the standardization by training, which a correlation does not see: so a
    moved mean or variance is not reported a second time as a change of correlation.
    """
    n = np.maximum(state.n, 1).astype(float)
    means = state.sums / n  # means[i, j]: mean of i over rows where i and j are present
    covariance = state.products / n - means * means.T
    variance = state.squares / n - means**2
    floor = 1e-12 * np.maximum(state.squares / n, 1e-300)
    variance = np.where(variance > floor, variance, np.nan)
    return np.clip(covariance / np.sqrt(variance * variance.T), -1.0, 1.0)


def fisher_error(
    n: np.ndarray, n0: np.ndarray, kurtosis_i: np.ndarray, kurtosis_j: np.ndarray
) -> np.ndarray:
    """Standard error of the difference of two Fisher-transformed correlations.

    ``sqrt(f·(1/(n-3) + 1/(N-3)))`` with ``f = max(1, sqrt(κ_i κ_j)/3)``: for elliptical
    distributions the asymptotic variance is ``κ/3`` times that of the normal (Muirhead, "Aspects
    of Multivariate Statistical Theory", 1982, section 5.1.4); it bounds that of independent
    features, for which it is 1.

    >>> round(float(fisher_error(103, 103, 3.0, 3.0)), 4)
    0.1414
    """
    factor = np.maximum(1.0, np.sqrt(np.asarray(kurtosis_i) * np.asarray(kurtosis_j)) / 3.0)
    n, n0 = np.maximum(np.asarray(n, float), 4.0), np.maximum(np.asarray(n0, float), 4.0)
    return np.sqrt(factor * (1 / (n - 3) + 1 / (n0 - 3)))


@dataclass(frozen=True)
class PairTests:
    """All pairs at once; matrices of shape ``(k, k)``, NaN where a pair cannot be compared."""

    names: tuple[str, ...]
    before: np.ndarray
    after: np.ndarray
    z: np.ndarray
    p: np.ndarray
    error: np.ndarray
    n0: np.ndarray
    n: np.ndarray


def compare_pairs(training: Profile, serving: Profile, min_rows: int) -> PairTests | None:
    """Every pair's correlations and test; ``None`` where no co-moments were kept."""
    old, new, names = training.comoments, serving.comoments, training.edges.pairs
    if old is None or new is None or len(names) < 2:
        return None
    before, after = correlations(old), correlations(new)
    enough = (old.n >= max(min_rows, 8)) & (new.n >= max(min_rows, 8))
    # Co-moments are of clipped values: of a feature that left training's range they say nothing.
    inside = np.array([_inside(serving, name) for name in names])
    enough &= inside[:, None] & inside[None, :]
    before = np.where(enough, before, np.nan)
    after = np.where(enough, after, np.nan)
    kurtosis = np.array([_kurtosis(training, serving, name) for name in names])
    error = fisher_error(new.n, old.n, kurtosis[:, None], kurtosis[None, :])
    difference = np.arctanh(np.clip(after, -NEARLY_ONE, NEARLY_ONE)) - np.arctanh(
        np.clip(before, -NEARLY_ONE, NEARLY_ONE)
    )
    z = difference / error
    return PairTests(names, before, after, z, 2 * special.ndtr(-np.abs(z)), error, old.n, new.n)


def correlation(tests: PairTests, limits: Mapping[str, Limits]) -> list[Measured]:
    """One finding per pair, of the feature that comes first in the list of pairs."""
    found = []
    k = len(tests.names)
    for i in range(k):
        for j in range(i + 1, k):
            if np.isfinite(tests.z[i, j]):
                found.append(_measured(tests, i, j, limits[tests.names[i]]))
    return found


def _measured(tests: PairTests, i: int, j: int, limits: Limits) -> Measured:
    before, after = float(tests.before[i, j]), float(tests.after[i, j])
    effect = after - before
    half = normal_quantile(limits.confidence) * float(tests.error[i, j])
    low, high = _limits_of_difference(before, after, half)
    first, second = tests.names[i], tests.names[j]
    return Measured(
        first, Quantity.CORRELATION, effect, "change of correlation", "",
        int(tests.n0[i, j]), int(tests.n[i, j]), "Fisher z (kurtosis)",
        f"correlation of {first} with {second} went from {number(before)} to {number(after)}",
        p_value=float(tests.p[i, j]), statistic=float(tests.z[i, j]), low=low, high=high,
        threshold=limits.correlation, dead_band=limits.correlation * limits.dead,
        training=before, serving=after, other=second, other_effects={f"with {second}": effect},
    )  # fmt: skip


def _limits_of_difference(before: float, after: float, half: float) -> tuple[float, float]:
    """Limits of ``after - before`` from those of the difference in Fisher's z: the change of the
    mean transformed value is kept and its spread is put symmetrically on both."""
    middle = (math.atanh(_held(before)) + math.atanh(_held(after))) / 2
    shift = math.atanh(_held(after)) - math.atanh(_held(before))
    ends = [
        math.tanh(middle + end / 2) - math.tanh(middle - end / 2)
        for end in (shift - half, shift + half)
    ]
    return ends[0], ends[1]


def _held(value: float) -> float:
    return min(max(value, -NEARLY_ONE), NEARLY_ONE)


def _inside(serving: Profile, name: str) -> bool:
    state = serving.features[name].numeric
    return state is not None and outside_share(state) <= CENSORED


def _kurtosis(training: Profile, serving: Profile, name: str) -> float:
    """Pooled kurtosis of the clipped values, each side about its own mean."""
    old, new = training.features[name].numeric, serving.features[name].numeric
    if old is None or new is None:
        return 3.0
    second, fourth = old.clipped.m2 + new.clipped.m2, old.clipped.m4 + new.clipped.m4
    return (old.n + new.n) * fourth / second**2 if second > 0 else 3.0
