"""Masses in bins and at points, and the two histograms that TFDV makes of them.

TFDV's buckets are ``(low, high]``, the first one closed, and a value that spans several quantiles
appears as repeated buckets without width; ours are ``[low, high)``. Here both are bins with an even
spread of mass inside, and points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trueup.profile.edges import NumericEdges

#: TFDV's defaults (StatsOptions.num_histogram_buckets, num_quantiles_histogram_buckets).
STANDARD_BUCKETS = 10
QUANTILE_BUCKETS = 10

#: Differences of numbers up to here do not overflow.
_HALF_RANGE = np.finfo(np.float64).max / 2


@dataclass(frozen=True, slots=True)
class Buckets:
    """Rows of a histogram: float64 arrays of one length, possibly 0."""

    low: np.ndarray
    high: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[tuple[float, float, float]]) -> Buckets:
        table = np.array(rows, dtype=np.float64).reshape(-1, 3)
        return cls(table[:, 0], table[:, 1], table[:, 2])


@dataclass(frozen=True, slots=True)
class Binned:
    """Masses in bins that do not overlap, in order; ``low == high`` is a point.

    :param low, high, mass: float64, shape ``(bins,)``, mass > 0.
    """

    low: np.ndarray
    high: np.ndarray
    mass: np.ndarray

    @classmethod
    def of_points(cls, values: np.ndarray, counts: np.ndarray) -> Binned:
        """From distinct finite ``values`` and how often they occur, both ``(n,)``."""
        order = np.argsort(values)
        order = order[counts[order] > 0]
        points = np.asarray(values, dtype=np.float64)[order]
        return cls(points, points, np.asarray(counts, dtype=np.float64)[order])

    @classmethod
    def of_counts(
        cls, edges: NumericEdges, counts: np.ndarray, minimum: float, maximum: float
    ) -> Binned:
        """From a profile's counts (underflow, bins, overflow), narrowed to what occurred.

        Between whole edges only whole numbers are taken to occur, so that ``[3, 4)`` is the
        point 3.
        """
        some = counts > 0
        if not some.any():
            return cls(np.zeros(0), np.zeros(0), np.zeros(0))
        low = np.concatenate([[-np.inf], edges.edges])
        high = np.concatenate([edges.edges, [np.inf]])
        last_closed = high.copy()
        point = np.nextafter(low, np.inf) >= high
        point |= np.isin(low, edges.atoms)
        point[[0, -1]] = False
        if _whole_numbers(np.append(edges.edges, (minimum, maximum))):
            low, last_closed[:-2] = np.ceil(low), np.ceil(high[:-2]) - 1.0
        low, high = np.maximum(low, minimum), np.minimum(last_closed, maximum)
        high = np.maximum(np.where(point, low, high), low)
        return cls(low[some], high[some], counts[some].astype(np.float64))

    @property
    def total(self) -> float:
        return float(self.mass.sum())

    def up_to(self, x: np.ndarray) -> np.ndarray:
        """Mass of values ``<= x``, shape of ``x``."""
        x = np.asarray(x, dtype=np.float64)[..., None]
        wide = self.high > self.low
        scale = 0.5 if np.any(np.abs([self.low, self.high]) > _HALF_RANGE) else 1.0
        width = np.where(wide, self.high * scale - self.low * scale, 1.0)
        within = (np.clip(x, self.low, self.high) * scale - self.low * scale) / width
        share = np.where(wide, within, x >= self.low)
        return np.asarray((share * self.mass).sum(axis=-1))

    def quantiles(self, shares: np.ndarray) -> np.ndarray:
        """Values that the given shares of the mass (in [0, 1]) do not exceed; needs mass."""
        above = np.cumsum(self.mass)
        rank = np.asarray(shares, dtype=np.float64) * above[-1]
        index = np.minimum(np.searchsorted(above, rank, side="left"), len(above) - 1)
        before = above[index] - self.mass[index]
        part = np.clip((rank - before) / self.mass[index], 0.0, 1.0)
        return self.low[index] * (1.0 - part) + self.high[index] * part


def _whole_numbers(values: np.ndarray) -> bool:
    """Whether all values are whole, or next to a whole number (the upper end of an atom's bin)."""
    return bool(
        ((values == np.round(values)) | (values == np.nextafter(np.floor(values), np.inf))).all()
    )


def quantile_buckets(binned: Binned, buckets: int = QUANTILE_BUCKETS) -> Buckets:
    """Buckets between equal shares, as TFDV writes them (quantiles_util.py): mass that belongs to
    one upper end is divided evenly among the buckets that share it."""
    if not binned.mass.size:
        return Buckets.of([])
    ends = binned.quantiles(np.linspace(0.0, 1.0, buckets + 1))
    ends[0], ends[-1] = binned.low[0], binned.high[-1]
    below = binned.up_to(ends)
    low, high, count = ends[:-1], ends[1:], np.diff(below)
    _, group, size = np.unique(high, return_inverse=True, return_counts=True)
    count = (np.bincount(group, weights=count) / size)[group]
    first = (low == low[0]) & (high == high[0])
    count[first] += below[0] / first.sum()
    return Buckets(low, high, count)


def standard_buckets(binned: Binned, buckets: int = STANDARD_BUCKETS) -> Buckets:
    """Buckets of equal width from minimum to maximum; one bucket for a constant."""
    if not binned.mass.size:
        return Buckets.of([])
    low, high = binned.low[0], binned.high[-1]
    if low == high:
        return Buckets.of([(low, high, binned.total)])
    if max(-low, high) > _HALF_RANGE:
        return Buckets.of([])  # the range overflows; TFDV writes none either
    ends = np.linspace(low, high, buckets + 1)
    count = np.diff(binned.up_to(ends))
    count[0] += float(binned.up_to(ends[:1])[0])
    return Buckets(ends[:-1], ends[1:], count)


def whole_counts(mass: np.ndarray, total: int) -> np.ndarray:
    """``mass`` scaled and rounded to integers with the sum ``total`` (largest remainders).

    >>> whole_counts(np.array([0.5, 0.5, 1.0]), 2).tolist()
    [1, 0, 1]
    """
    whole = float(mass.sum())
    if not whole:
        return np.zeros(len(mass), dtype=np.int64)
    exact = mass * (total / whole)
    counts = np.floor(exact + 1e-9).astype(np.int64)
    missing = total - int(counts.sum())
    if missing > 0:
        counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    return counts
