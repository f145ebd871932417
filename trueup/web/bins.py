"""Bins for the eye: a report's frozen bins (training quantiles, single values that repeat) turned
into bars of equal width over the range that holds nearly everything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trueup.records.report import Histogram

BARS = 40
"""Bars in a chart some 300 pixels wide."""

MAX_POINTS = 40
"""Up to so many distinct values each get a bar of their own."""

TAIL = 0.005
"""Share that may lie outside of the range shown, at each end and on each side."""

LONG_TAIL = 0.05
"""An end bin that is wider than all others together is cut off if no side has more than this."""

ATOM_WIDTH = 1e-9
"""A bin narrower than this share of the whole range holds one value."""


@dataclass(frozen=True)
class Bars:
    """Shares in bars over ``edges``, each side's shares of all its values.

    :param edges: float64, shape ``(bars + 1,)``, increasing.
    :param training, serving: float64, shape ``(bars,)``; they sum to 1 less ``outside``.
    :param outside: share of training and of serving beyond the edges.
    :param known: where training had values. Serving's beyond it were counted at either end in one
        bin, so that how they lie there is not known.
    :param below, above: share of serving below and above ``known``.
    """

    edges: np.ndarray
    training: np.ndarray
    serving: np.ndarray
    outside: tuple[float, float]
    known: tuple[float, float] = (-math.inf, math.inf)
    below: float = 0.0
    above: float = 0.0


def bars(histogram: Histogram) -> Bars | None:
    """What to draw of ``histogram``; None when neither side has a value.

    Few distinct values (hours, months, ratings) keep a bar each; otherwise the counts of a bin are
    spread evenly over it, and bars of equal width collect them.

    >>> shown = bars(Histogram(edges=(0.0, 1.0, 4.0), training=(4, 0), serving=(0, 2)))
    >>> round(float(shown.training.sum()), 6), round(float(shown.serving.sum()), 6)
    (1.0, 1.0)
    """
    edges = np.asarray(histogram.edges, dtype=np.float64)
    counts = np.array([histogram.training, histogram.serving], dtype=np.float64)
    totals = counts.sum(axis=1)
    if edges.size < 2 or not totals.any() or not np.isfinite(edges).all():
        return None
    shares = counts / np.maximum(totals, 1.0)[:, None]
    points = _points(edges, shares)
    if points is not None:
        return points
    low, high = _range(edges, shares)
    shown = np.linspace(low, high, BARS + 1)
    collected = np.stack([_collect(edges, side, shown) for side in shares])
    outside = np.clip(shares.sum(axis=1) - collected.sum(axis=1), 0.0, 1.0)
    first, last = (shares[0, end] == 0.0 < shares[1, end] for end in (0, -1))
    return Bars(
        shown, collected[0], collected[1], (float(outside[0]), float(outside[1])),
        (float(edges[1]) if first else -math.inf, float(edges[-2]) if last else math.inf),
        float(shares[1, 0]) if first else 0.0, float(shares[1, -1]) if last else 0.0,
    )  # fmt: skip


def _points(edges: np.ndarray, shares: np.ndarray) -> Bars | None:
    """One bar for each value, where single values hold everything and lie evenly enough."""
    span = edges[-1] - edges[0]
    widths = np.diff(edges)
    used = shares.any(axis=0)
    if span <= 0 or (widths[used] > ATOM_WIDTH * span).any():
        return None if span > 0 else _single(edges[0], shares)
    values = edges[:-1][used]
    if len(values) == 1:
        return _single(values[0], shares)
    gaps = np.diff(values)
    step = float(gaps.min())
    slots = round(float(values[-1] - values[0]) / step) + 1
    places = np.rint((values - values[0]) / step)
    if slots > MAX_POINTS or np.abs(values[0] + places * step - values).max() > step / 100:
        return None
    collected = np.zeros((2, slots))
    collected[:, places.astype(int)] = shares[:, used]
    shown = values[0] + step * (np.arange(slots + 1) - 0.5)
    return Bars(shown, collected[0], collected[1], (0.0, 0.0))


def _single(value: float, shares: np.ndarray) -> Bars:
    reach = abs(value) / 2 or 1.0
    shown = value + reach * np.array([-3.0, -1.0, 1.0, 3.0])
    sums = shares.sum(axis=1)
    empty = np.zeros(1)
    sides = [np.concatenate([empty, [total], empty]) for total in sums]
    return Bars(shown, sides[0], sides[1], (0.0, 0.0))


def _range(edges: np.ndarray, shares: np.ndarray) -> tuple[float, float]:
    """The range that leaves at most ``TAIL`` of either side out at each end."""
    edges, shares = _without_long_tails(edges, shares)
    lows, highs = [], []
    for side in shares:
        if not side.any():
            continue
        rising = np.concatenate([[0.0], np.cumsum(side)])
        lows.append(np.interp(TAIL, rising, edges))
        highs.append(np.interp(rising[-1] - TAIL, rising, edges))
    low, high = float(min(lows)), float(max(highs))
    span = edges[-1] - edges[0]
    if high - low > span / 2:  # little to gain: show everything
        low, high = float(edges[0]), float(edges[-1])
    if not high > low or not math.isfinite(high - low):
        low, high = float(edges[0]), float(edges[-1])
    return low, high


def _without_long_tails(edges: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bins without the ends whose width (one far value) says nothing of where values lie."""
    first, last = 0, shares.shape[1]
    while last - first > 2:
        if edges[last] - edges[last - 1] > edges[last - 1] - edges[first]:
            if shares[:, last - 1].max() > LONG_TAIL:
                break
            last -= 1
        elif edges[first + 1] - edges[first] > edges[last] - edges[first + 1]:
            if shares[:, first].max() > LONG_TAIL:
                break
            first += 1
        else:
            break
    return edges[first : last + 1], shares[:, first:last]


def _collect(edges: np.ndarray, side: np.ndarray, shown: np.ndarray) -> np.ndarray:
    rising = np.concatenate([[0.0], np.cumsum(side)])
    inside: np.ndarray = np.diff(np.interp(shown, edges, rising))
    return inside
