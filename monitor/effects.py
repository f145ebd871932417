"""Effects: how far two distributions are apart. None of them says whether that is chance.

Sources: PSI, Siddiqi, "Credit Risk Scorecards" (2006); Jensen-Shannon divergence, Lin, IEEE
Trans. Inf. Theory 37 (1991); Wasserstein and Kolmogorov-Smirnov distances from binned
distribution functions; L-infinity as in TensorFlow Data Validation.
"""

from __future__ import annotations

import numpy as np

LOG_VARIANCE_CAP = 20.0
"""|ln(variance ratio)| is shown as at most this, where one side does not vary at all."""

PSI_PSEUDOCOUNT = 0.5
"""Added to every cell, so that an empty cell gives a finite index (Krichevsky-Trofimov)."""


def log_variance_ratio(serving: float, training: float) -> float:
    """``ln(serving / training)`` of variances, within ±20; 0 when neither side varies, or when
    both are beyond the largest float.

    >>> round(log_variance_ratio(4.0, 1.0), 3)
    1.386
    >>> log_variance_ratio(0.0, 1.0)
    -20.0
    """
    if serving == training or (serving <= 0.0 and training <= 0.0):
        return 0.0
    if serving <= 0.0:
        return -LOG_VARIANCE_CAP
    if training <= 0.0:
        return LOG_VARIANCE_CAP
    ratio = float(np.log(serving) - np.log(training))
    return float(np.clip(ratio, -LOG_VARIANCE_CAP, LOG_VARIANCE_CAP))


def shares(counts: np.ndarray) -> np.ndarray:
    """Counts divided by their sum over the last axis; zeros where the sum is 0."""
    counts = np.asarray(counts, dtype=np.float64)
    total = counts.sum(axis=-1, keepdims=True)
    return np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)


def psi(serving: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Population stability index ``sum((q - p) * ln(q / p))`` of cell counts, ``>= 0``.

    :param serving, training: counts, shape ``(..., cells)``; half a count is added to each cell.
    :return: shape ``(...)``; symmetric in its arguments up to the pseudo-count.

    >>> round(float(psi(np.array([50, 50]), np.array([80, 20]))), 3)
    0.406
    >>> float(psi(np.array([5, 5]), np.array([5, 5])))
    0.0
    """
    q = shares(np.asarray(serving, dtype=np.float64) + PSI_PSEUDOCOUNT)
    p = shares(np.asarray(training, dtype=np.float64) + PSI_PSEUDOCOUNT)
    return np.sum((q - p) * np.log(q / p), axis=-1)


def jensen_shannon(serving: np.ndarray, training: np.ndarray) -> float:
    """Jensen-Shannon divergence in bits of cell counts, shape ``(cells,)``; from 0 to 1.

    Empty against anything is 0: there is nothing to compare.

    >>> jensen_shannon(np.array([1, 0]), np.array([0, 1]))
    1.0
    """
    q, p = shares(serving), shares(training)
    if not q.any() or not p.any():
        return 0.0
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log2(p / middle), 0.0)
        terms = terms + np.where(q > 0, q * np.log2(q / middle), 0.0)
    return float(np.clip(terms.sum() / 2, 0.0, 1.0))


def l_infinity(serving: np.ndarray, training: np.ndarray) -> float:
    """Largest difference of a share, from 0 to 1.

    >>> l_infinity(np.array([3, 1]), np.array([1, 1]))
    0.25
    """
    return float(np.max(np.abs(shares(serving) - shares(training)), initial=0.0))


def distribution(counts: np.ndarray) -> np.ndarray:
    """Distribution function at the edges of bins, shape ``(bins + 1,)``.

    :param counts: underflow, bins, overflow, shape ``(bins + 2,)``. What lies in the underflow is
        below the first edge, so the first value is its share; the last leaves the overflow out.
    """
    return np.cumsum(shares(counts))[:-1]


def kolmogorov_smirnov(serving: np.ndarray, training: np.ndarray) -> float:
    """Largest difference of the distribution functions at the edges of the bins, from 0 to 1.

    :param serving, training: counts with under- and overflow, shape ``(bins + 2,)``.

    >>> kolmogorov_smirnov(np.array([0, 4, 0, 0]), np.array([0, 1, 3, 0]))
    0.75
    """
    return float(np.max(np.abs(distribution(serving) - distribution(training)), initial=0.0))


def wasserstein(
    serving: np.ndarray, training: np.ndarray, edges: np.ndarray, low: float, high: float
) -> float:
    """First Wasserstein distance of the values clipped to ``[low, high]``, in their unit.

    The integral of ``|F - G|`` over the range, where both functions run straight inside a bin.

    :param serving, training: counts with under- and overflow, shape ``(bins + 2,)``.
    :param edges: shape ``(bins + 1,)``, increasing.

    >>> bins = np.array([0.0, 1.0, 2.0, 3.0])
    >>> moved = wasserstein(np.array([0, 0, 8, 0, 0]), np.array([0, 8, 0, 0, 0]), bins, 0.0, 3.0)
    >>> round(moved, 12)
    1.0
    """
    if high <= low or not np.sum(serving) or not np.sum(training):
        return 0.0
    inner = edges[(edges > low) & (edges < high)]
    grid = np.concatenate(([low], inner, [high]))
    difference = np.interp(grid, edges, distribution(serving)) - np.interp(
        grid, edges, distribution(training)
    )
    left, right, width = difference[:-1], difference[1:], np.diff(grid)
    size = np.abs(left) + np.abs(right)
    crosses = left * right < 0
    squares = np.divide(left**2 + right**2, size, out=np.zeros_like(size), where=size > 0)
    return float(np.sum(np.where(crosses, squares, size) * width / 2))
