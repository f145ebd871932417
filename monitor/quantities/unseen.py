"""How much of serving lies outside the values that training is known to have?"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from trueup.monitor import evidence
from trueup.monitor.intervals import rate_difference
from trueup.monitor.measured import FeaturePair, Limits, Measured
from trueup.monitor.words import number, percent, quoted
from trueup.profile.states import CategoryState
from trueup.records.report import Level, Quantity


def expected_unseen(counts: np.ndarray, unseen: int, complete: bool) -> tuple[int, float, float]:
    """What the same distribution will show outside the known values, by Good and Turing.

    A value counts as known from ``K`` occurrences in training on: 1 where the vocabulary is
    complete, else one more than the least count that the full vocabulary kept. With ``N_K``
    values of exactly K occurrences and U training rows outside the known values, the expected
    share outside is ``(U + K·N_K) / N``; for K = 1 this is Good's ``N_1/N`` (Biometrika 40,
    1953). Summing ``λ·P(X = K-1) = K·P(X = K)`` over Poisson values gives the general case, and
    by the same sums the difference to the share seen in n rows has the variance
    ``μ(1/n + 1/N) + K(K+1)·N_{K+1}/N²``.

    :param counts: training's counts of the vocabulary, ``> 0`` each. :param unseen: the others.
    :return: K, the expected share μ, and ``K(K+1)·N_{K+1}/N²``.

    >>> expected_unseen(np.array([5, 1, 1]), 0, complete=True)
    (1, 0.2857142857142857, 0.0)
    """
    total = float(counts.sum() + unseen)
    least = 1 if complete or not len(counts) else int(counts.min()) + 1
    outside = int(counts[counts < least].sum()) + unseen
    at, above = int(np.sum(counts == least)), int(np.sum(counts == least + 1))
    share = min(1.0, (outside + least * at) / total)
    return least, share, least * (least + 1) * above / total**2


def unseen(pair: FeaturePair, limits: Limits) -> list[Measured]:
    """The unseen share against what chance would bring, in points."""
    before, after = pair.training.categories, pair.serving.categories
    if before is None or after is None or pair.edges.categories is None:
        return []
    n0, n = before.n, after.n
    if min(n0, n) < limits.min_rows:
        return []
    least, share, extra = expected_unseen(
        before.counts, before.unseen, pair.edges.categories.complete
    )
    known = before.counts >= least
    if not known.any():
        return []  # every value is rare: there are no known values to be outside of
    outside = int(after.counts[~known].sum()) + after.unseen
    outside0 = round(share * n0)
    if outside + outside0 == 0:
        return []
    p_value, z, widening = _evidence(outside, n, outside0, n0, extra, pair)
    low, high = rate_difference(outside, n, outside0, n0, limits.confidence)
    difference = outside / n - share
    low = difference - (difference - low) * widening
    high = difference + (high - difference) * widening
    return [
        Measured(
            pair.name, Quantity.UNSEEN, 100 * difference, "difference of rates", "points",
            n0, n, "Good-Turing expectation", _reason(pair, after, outside / n, share, least),
            p_value=p_value, statistic=z, low=100 * low, high=100 * high,
            threshold=limits.rate, dead_band=limits.rate * limits.dead,
            ceiling=Level.ALERT if difference > 0 else Level.OK,
            training=100 * share, serving=100 * outside / n, value_unit="%",
        )
    ]  # fmt: skip


def _evidence(
    outside: int, n: int, outside0: int, n0: int, extra: float, pair: FeaturePair
) -> tuple[float, float, float]:
    """p-value, z, and how much wider than two binomials the difference spreads. Elements of one
    row are not independent: their number is divided by the elements per row."""
    pooled = (outside + outside0) / (n + n0)
    binomial = pooled * (1 - pooled) * (1 / n + 1 / n0)
    variance = (binomial + extra) * pair.design
    difference = outside / n - outside0 / n0
    z = difference / math.sqrt(variance) if variance > 0 else 0.0
    p_normal = float(2 * special.ndtr(-abs(z)))
    exact = float(evidence.rate_test(outside, n, outside0, n0).p_value)
    widening = math.sqrt(variance / binomial) if binomial > 0 else 1.0
    return max(p_normal, exact), z, widening


def _reason(
    pair: FeaturePair, after: CategoryState, share: float, expected: float, least: int
) -> str:
    known = "training never had" if least == 1 else f"training had fewer than {least} times"
    items = sorted(after.unseen_items.items, key=lambda v: -after.unseen_items.items[v])
    named = f", such as {quoted(items)}" if items and after.unseen else ""
    what = f"{percent(share)} of {pair.name} are values that {known}"
    if share <= expected:
        return f"{what}, {percent(expected)} were expected"
    more = number(100 * (share - expected))
    return f"{what} ({percent(expected)} expected by chance){named}; +{more} points"
