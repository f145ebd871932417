"""Bounded summaries that merge: distinct values, frequent items, frequent exact numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

HLL_PRECISION = 10
"""2**10 registers: standard error 1.04/sqrt(1024) = 3.3 % (Flajolet et al. 2007)."""

FREQUENT_ITEMS = 32
"""Unseen categories that are named, per feature and window."""

ATOMS = 32
"""Frequent exact numbers that are kept, per feature and window."""

LEAST_SHARE = 0.001
"""What a number's share must be for an atom, where more than ``ATOMS`` numbers occur."""


@dataclass(frozen=True)
class Hll:
    """HyperLogLog of distinct values, fed by 64-bit hashes.

    :param registers: uint8, shape ``(2**HLL_PRECISION,)``.
    """

    registers: np.ndarray = field(
        default_factory=lambda: np.zeros(1 << HLL_PRECISION, dtype=np.uint8)
    )

    @classmethod
    def of(cls, hashes: np.ndarray) -> Hll:
        """From uint64 ``hashes``, shape ``(n,)``, of :mod:`trueup.profile.hashing`."""
        from trueup.profile.distinct import HllBuilder

        builder = HllBuilder()
        builder.add(np.asarray(hashes, np.uint64))
        return builder.sketch()

    def merge(self, other: Hll) -> Hll:
        return Hll(np.maximum(self.registers, other.registers))

    def estimate(self) -> float:
        """Number of distinct values, standard error 3.3 %; 0.0 of nothing.

        The improved raw estimator of Ertl, "New cardinality estimation algorithms for
        HyperLogLog sketches" (arXiv:1702.01284, algorithm 6): no switch between small and large
        ranges, hence no bias where they meet.
        """
        m = self.registers.size
        q = 64 - HLL_PRECISION
        counts = np.bincount(self.registers, minlength=q + 2)
        if counts[0] == m:
            return 0.0
        z = m * _tau(1.0 - counts[q + 1] / m)
        for k in range(q, 0, -1):
            z = 0.5 * (z + counts[k])
        z += m * _sigma(counts[0] / m)
        return float(m * m / (2.0 * math.log(2.0) * z))


def _sigma(x: float) -> float:
    """``x + sum(x**(2**k) * 2**(k-1), k >= 1)``; x in [0, 1)."""
    y, z = 1.0, x
    while True:
        x *= x
        before = z
        z += x * y
        y += y
        if z == before:
            return z


def _tau(x: float) -> float:
    """``(1 - x - sum((1 - x**(2**-k))**2 * 2**-k, k >= 1)) / 3``; x in [0, 1]."""
    if x in (0.0, 1.0):
        return 0.0
    y, z = 1.0, 1.0 - x
    while True:
        x = math.sqrt(x)
        before = z
        y *= 0.5
        z -= (1.0 - x) ** 2 * y
        if z == before:
            return z / 3.0


@dataclass(frozen=True)
class FrequentItems:
    """Misra-Gries summary of strings: each count is low by at most ``error``.

    An item that is not kept occurred at most ``error`` times, and ``error <= n / 33``
    (Misra, Gries 1982; merging: Agarwal et al., "Mergeable summaries", 2012).

    :param items: value → count, at most ``FREQUENT_ITEMS``, most frequent first.
    """

    items: dict[str, int] = field(default_factory=dict)
    error: int = 0

    @classmethod
    def of(
        cls, counts: dict[str, int], error: int = 0, size: int = FREQUENT_ITEMS
    ) -> FrequentItems:
        """The summary of counted items, of which at most ``size`` are kept.

        >>> FrequentItems.of({"a": 5, "b": 3, "c": 1}, size=2)
        FrequentItems(items={'a': 4, 'b': 2}, error=1)
        """
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        cut = ordered[size][1] if len(ordered) > size else 0
        return cls({item: n - cut for item, n in ordered[:size] if n > cut}, error + cut)

    def merge(self, other: FrequentItems) -> FrequentItems:
        counts = dict(self.items)
        for item, n in other.items.items():
            counts[item] = counts.get(item, 0) + n
        return FrequentItems.of(counts, self.error + other.error)


@dataclass(frozen=True)
class Atoms:
    """Frequent exact numbers, from a deterministic sample of the values.

    Every value of small sets is looked at, and every 37th of what lies beyond; what is sampled is
    counted 37-fold, so that ``counts[v] / sampled`` estimates the share of v whatever was merged.

    :param sampled: how many values the counts speak for.
    :param counts: number → estimated count, at most ``ATOMS``, most frequent first.
    :param error: a number that is not kept was counted at most ``error`` times, and a kept count is
        low by at most ``error`` (on top of the sampling error).
    """

    sampled: int = 0
    counts: dict[float, int] = field(default_factory=dict)
    error: int = 0

    @classmethod
    def of(
        cls, values: np.ndarray, weights: np.ndarray, sampled: int, error: int = 0, least: int = 0
    ) -> Atoms:
        """From distinct ``values`` (float64) and their counts (int64), both of shape ``(n,)``.

        Where there are more than ``ATOMS``, a number with less than ``LEAST_SHARE``, or with a
        count below ``least``, is no atom.
        """
        order = np.lexsort((values, -weights))
        if values.size > ATOMS:
            least = max(least, int(weights[order[ATOMS]]), math.ceil(LEAST_SHARE * sampled))
            frequent = order[:ATOMS]
            frequent = frequent[weights[frequent] >= least]
            error += int(weights[order[frequent.size]])
            order = frequent
        return cls(
            sampled,
            dict(zip(values[order].tolist(), weights[order].tolist(), strict=True)),
            error,
        )

    def merge(self, other: Atoms) -> Atoms:
        counts = dict(self.counts)
        for value, n in other.counts.items():
            counts[value] = counts.get(value, 0) + n
        values = np.fromiter(counts.keys(), np.float64, len(counts))
        weights = np.fromiter(counts.values(), np.int64, len(counts))
        return Atoms.of(values, weights, self.sampled + other.sampled, self.error + other.error)
