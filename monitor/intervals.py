"""Confidence intervals of effects."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from trueup.monitor.effects import PSI_PSEUDOCOUNT, psi, shares


def normal_quantile(confidence: float) -> float:
    """Two-sided normal quantile.

    >>> round(normal_quantile(0.95), 3)
    1.96
    """
    return float(special.ndtri(0.5 + confidence / 2))


def wilson(count: float, n: float, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a rate, from 0 to 1 (Wilson, JASA 22, 1927).

    >>> tuple(round(limit, 3) for limit in wilson(0, 100, 0.95))
    (0.0, 0.037)
    """
    if n <= 0:
        return 0.0, 1.0
    z2 = normal_quantile(confidence) ** 2
    rate = count / n
    center = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (rate * (1 - rate) + z2 / (4 * n)) / n) / (1 + z2 / n)
    low, high = max(0.0, center - half), min(1.0, center + half)
    return min(low, rate), max(high, rate)  # rounding puts it outside at rates of 0 and 1


def rate_difference(
    count: float, n: float, count0: float, n0: float, confidence: float
) -> tuple[float, float]:
    """Newcombe's hybrid score interval of ``count/n - count0/n0``, in ``[-1, 1]``.

    Method 10 of Newcombe, Statistics in Medicine 17 (1998); sane at rates of 0 and 1.

    >>> tuple(round(limit, 4) for limit in rate_difference(56, 70, 48, 80, 0.95))
    (0.0524, 0.3339)
    """
    rate, rate0 = count / n, count0 / n0
    low, high = wilson(count, n, confidence)
    low0, high0 = wilson(count0, n0, confidence)
    difference = rate - rate0
    return (
        difference - math.hypot(rate - low, high0 - rate0),
        difference + math.hypot(high - rate, rate0 - low0),
    )


def psi_interval(
    serving: np.ndarray, training: np.ndarray, confidence: float, design: float = 1.0
) -> tuple[float, float]:
    """Interval of the population PSI; the lower limit is net of the index's bias.

    Delta method: with gradient ``g = ln(q/p) + 1 - p/q`` in q (and its mirror image in p), the
    variance is ``Var_q(g)/n + Var_p(h)/N``; equal distributions give ``(1/n + 1/N)(cells - 1)``.

    :param design: design effect that divides both sample sizes.
    """
    n, n0 = float(np.sum(serving)) / design, float(np.sum(training)) / design
    if n <= 0 or n0 <= 0:
        return 0.0, math.inf
    q = shares(np.asarray(serving, dtype=float) + PSI_PSEUDOCOUNT)
    p = shares(np.asarray(training, dtype=float) + PSI_PSEUDOCOUNT)
    g = np.log(q / p) + 1 - p / q
    h = np.log(p / q) + 1 - q / p
    variance = (q @ g**2 - (q @ g) ** 2) / n + (p @ h**2 - (p @ h) ** 2) / n0
    bias = (1 / n + 1 / n0) * (len(q) - 1)
    half = normal_quantile(confidence) * math.sqrt(max(variance, 0.0))
    value = float(psi(serving, training))
    return max(0.0, value - bias - half), value + half


def psi_null_quantile(n: float, n0: float, cells: int, confidence: float) -> float:
    """What PSI reaches by chance: ``(1/n + 1/N) · χ²(cells - 1)`` at ``confidence``.

    Yurdakul, "Statistical properties of population stability index" (2018).

    >>> round(psi_null_quantile(1000, 1000, 10, 0.95), 4)
    0.0338
    """
    if cells < 2:
        return 0.0
    return float((1 / n + 1 / n0) * special.chdtri(cells - 1, 1 - confidence))
