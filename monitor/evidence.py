"""Tests: can a difference be chance? Every function takes arrays (one trial per entry) as well as
numbers, so that the simulations of the test suite run the very same code.

Every test is two-sided and returns ``(statistic, p_value)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special
from scipy.stats import hypergeom

NORMAL_COUNT = 10.0
"""Below this expected count in any cell of the 2 × 2 table the normal approximation is left
for the exact distribution (Cochran 1954 asks for 5)."""

SMALLEST = float(np.finfo(float).tiny)
"""Less than this a p-value is told by its logarithm."""


class Result(NamedTuple):
    """A test's statistic and its two-sided p-value; arrays when the input was."""

    statistic: np.ndarray
    p_value: np.ndarray


def mean_error(
    n: ArrayLike, variance: ArrayLike, n0: ArrayLike, variance0: ArrayLike
) -> np.ndarray:
    """Standard error of ``m - m0``: the larger of ``s²/n + s₀²/N`` (Welch) and its pooled form.

    The pooled form guards against a small sample that by chance holds none of the rare values
    and so shows no variance of its own.
    """
    n, n0 = np.asarray(n, dtype=float), np.asarray(n0, dtype=float)
    variance, variance0 = np.asarray(variance, dtype=float), np.asarray(variance0, dtype=float)
    welch = variance / n + variance0 / n0
    pooled = ((n - 1) * variance + (n0 - 1) * variance0) / (n + n0 - 2) * (1 / n + 1 / n0)
    return np.sqrt(np.maximum(welch, pooled))


def mean_test(
    n: ArrayLike, mean: ArrayLike, variance: ArrayLike,
    n0: ArrayLike, mean0: ArrayLike, variance0: ArrayLike,
) -> Result:  # fmt: skip
    """Welch's test of equal means, ``(m - m0) / error`` with the error of :func:`mean_error`.

    The reference distribution is t with the Welch-Satterthwaite degrees of freedom (Welch,
    Biometrika 34, 1947). Where neither side varies, p is 1 for equal and 0 for unequal means.

    :param n, n0: rows, ``>= 2`` each. :param variance, variance0: sample variances.

    >>> round(float(mean_test(100, 0.5, 1.0, 100, 0.0, 1.0).p_value), 5)
    0.00052
    """
    difference = np.asarray(mean, dtype=float) - np.asarray(mean0, dtype=float)
    a = np.asarray(variance, dtype=float) / np.asarray(n, dtype=float)
    b = np.asarray(variance0, dtype=float) / np.asarray(n0, dtype=float)
    error = mean_error(n, variance, n0, variance0)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(difference == 0.0, 0.0, difference / error)
        freedom = (a + b) ** 2 / (a**2 / (np.asarray(n) - 1.0) + b**2 / (np.asarray(n0) - 1.0))
    freedom = np.where(np.isfinite(freedom), np.maximum(freedom, 1.0), 1.0)
    p = 2 * special.stdtr(freedom, -np.abs(t))
    return Result(t, np.where(np.isinf(t), 0.0, p))


def pooled_kurtosis(
    n: ArrayLike, m2: ArrayLike, m4: ArrayLike, n0: ArrayLike, m20: ArrayLike, m40: ArrayLike
) -> np.ndarray:
    """``m4/m2²`` of both samples together, each about its own mean; 3 where nothing varies.

    :param m2, m4: central sums of powers 2 and 4 (of the clipped values).
    """
    total = np.asarray(n, dtype=float) + np.asarray(n0, dtype=float)
    second = np.asarray(m2, dtype=float) + np.asarray(m20, dtype=float)
    fourth = np.asarray(m4, dtype=float) + np.asarray(m40, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        kurtosis = total * fourth / second**2
    return np.where(np.isfinite(kurtosis), kurtosis, 3.0)


def log_variance_error(n: ArrayLike, n0: ArrayLike, kurtosis: ArrayLike) -> np.ndarray:
    """Standard error of ``ln(s²/s₀²)``: ``sqrt((κ-1)(1/n + 1/N) + 2/n(n-1) + 2/N(N-1))``.

    From ``Var(s²) = σ⁴ ((κ-1)/n + 2/(n(n-1)))``; the last terms count where κ is near 1.
    """
    n, n0 = np.asarray(n, dtype=float), np.asarray(n0, dtype=float)
    excess = np.maximum(np.asarray(kurtosis, dtype=float) - 1.0, 0.0)
    return np.sqrt(excess * (1 / n + 1 / n0) + 2 / (n * (n - 1)) + 2 / (n0 * (n0 - 1)))


def variance_test(
    n: ArrayLike, variance: ArrayLike, n0: ArrayLike, variance0: ArrayLike, kurtosis: ArrayLike
) -> Result:
    """Test of equal variances that holds off the normal: log-variance over its error.

    ``ln(s²/s₀²)`` is nearly normal where ``(s² - s₀²)/s_p²`` is skewed, and the other way round
    where a sample of rare values shows almost no variance; the smaller of the two is taken.
    An F test would assume κ = 3 (30 % false alarms at 5 % nominal on exponential data).

    :param kurtosis: of :func:`pooled_kurtosis`.

    >>> round(float(variance_test(500, 1.3, 500, 1.0, 3.0).p_value), 4)
    0.0036
    >>> float(variance_test(500, 0.0, 500, 0.0, 3.0).p_value)
    1.0
    """
    n, n0 = np.asarray(n, dtype=float), np.asarray(n0, dtype=float)
    variance, variance0 = np.asarray(variance, dtype=float), np.asarray(variance0, dtype=float)
    pooled = ((n - 1) * variance + (n0 - 1) * variance0) / (n + n0 - 2)
    error = log_variance_error(n, n0, kurtosis)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = np.log(variance) - np.log(variance0)
        linear = (variance - variance0) / pooled
    log_ratio = np.where(np.isnan(log_ratio), 0.0, log_ratio)
    linear = np.where(np.isnan(linear), 0.0, linear)
    z = np.where(np.abs(log_ratio) < np.abs(linear), log_ratio, linear) / error
    return Result(z, 2 * special.ndtr(-np.abs(z)))


def rate_test(count: ArrayLike, n: ArrayLike, count0: ArrayLike, n0: ArrayLike) -> Result:
    """Test of equal rates ``count/n`` and ``count0/n0``.

    The score test (pooled variance) where every expected count is at least 10; else Fisher's
    exact test with the mid-p correction (Lancaster 1961; Agresti, "Categorical Data Analysis",
    section 3.5), twice the smaller tail. Sane at a rate of 0 in training.

    :param count, count0: integers ``0 <= count <= n``.

    >>> round(float(rate_test(30, 1000, 10, 1000).p_value), 4)
    0.0014
    >>> round(float(rate_test(1, 100, 0, 100_000).p_value), 4)
    0.001
    """
    x, n = np.asarray(count, dtype=float), np.asarray(n, dtype=float)
    y, n0 = np.asarray(count0, dtype=float), np.asarray(n0, dtype=float)
    total = x + y
    pooled = total / (n + n0)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (x / n - y / n0) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / n0))
    z = np.where(np.isfinite(z), z, 0.0)
    p = 2 * special.ndtr(-np.abs(z))
    smallest = np.minimum(pooled, 1 - pooled) * np.minimum(n, n0)
    exact = np.broadcast_to(smallest < NORMAL_COUNT, z.shape)
    if np.any(exact):
        arguments = [np.broadcast_to(a, z.shape)[exact] for a in (x, n + n0, total, n)]
        p = np.array(p, ndmin=1).reshape(z.shape)
        p[exact] = _fisher_mid_p(*arguments)
    return Result(z, p)


def _fisher_mid_p(
    count: np.ndarray, population: np.ndarray, successes: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    point = hypergeom.pmf(count, population, successes, draws)
    below = hypergeom.cdf(count - 1, population, successes, draws) + point / 2
    above = hypergeom.sf(count, population, successes, draws) + point / 2
    return np.clip(2 * np.minimum(below, above), 0.0, 1.0)


def shares_test(serving: np.ndarray, training: np.ndarray, design: ArrayLike = 1.0) -> Result:
    """Pearson's χ² test that two sets of counts have equal shares.

    :param serving, training: counts, shape ``(..., cells)``; the caller has grouped cells so that
        expected counts are at least 5.
    :param design: design effect, by which the statistic is divided (elements of one row are not
        independent of each other).

    >>> result = shares_test(np.array([60, 40]), np.array([40, 60]))
    >>> round(float(result.statistic), 2), round(float(result.p_value), 4)
    (8.0, 0.0047)
    """
    q, p = np.asarray(serving, dtype=float), np.asarray(training, dtype=float)
    n, n0 = q.sum(axis=-1, keepdims=True), p.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = (q * np.sqrt(n0 / n) - p * np.sqrt(n / n0)) ** 2 / (q + p)
    cells = np.sum(q + p > 0, axis=-1)
    statistic = np.nansum(terms, axis=-1) / np.asarray(design, dtype=float)
    p_value = np.where(cells > 1, special.chdtrc(np.maximum(cells - 1, 1), statistic), 1.0)
    return Result(statistic, p_value)


def outside_test(count: ArrayLike, n: ArrayLike, count0: ArrayLike, n0: ArrayLike) -> Result:
    """How surprising ``count`` of ``n`` values beyond two order statistics of training is.

    With ``count0`` training values beyond its two outer edges, the number beyond them in an
    independent sample of the same distribution is negative binomial, with ``count0 + 2``
    failures and success probability ``n / (n + n0)``: an excess of the exact negative
    hypergeometric distribution of order statistics. One-sided: only more is surprising.

    :return: as statistic the normal deviate of the same two-sided p-value, which stays finite
        where the p-value is less than the smallest float.

    >>> round(float(outside_test(0, 100, 0, 100).p_value), 3)
    1.0
    >>> round(float(outside_test(8, 100, 0, 100).p_value), 4)
    0.0195
    """
    x, n = np.asarray(count, dtype=float), np.asarray(n, dtype=float)
    y, n0 = np.asarray(count0, dtype=float), np.asarray(n0, dtype=float)
    with np.errstate(invalid="ignore"):
        tail = special.betainc(np.maximum(x, 1.0), y + 2, n / (n + n0))
    p = np.where(x <= 0, 1.0, tail)
    log_p = np.where(p > 0.0, np.log(np.maximum(p, SMALLEST)), _log_tail(x, n, y, n0))
    return Result(-special.ndtri_exp(log_p - np.log(2.0)), p)


def _log_tail(x: np.ndarray, n: np.ndarray, y: np.ndarray, n0: np.ndarray) -> np.ndarray:
    """Logarithm of the tail of :func:`outside_test` far out: the first term of the incomplete
    beta function's series (DLMF 8.17.8), beside which the others are of no account."""
    a, b, share = np.maximum(x, 1.0), y + 2, n / (n + n0)
    first = a * np.log(share) + b * np.log1p(-share) - np.log(a) - special.betaln(a, b)
    return np.minimum(first, np.log(SMALLEST))
