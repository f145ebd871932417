"""Bounded summaries that merge: distinct values, frequent items, frequent exact numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

HLL_PRECISION = 10
"""2**10 registers: standard error 1.04/sqrt(1024) = 3.3 % (Flajolet et al. 2007)."""

FREQUENT_ITEMS = 32
"""Unseen categories that are named, per feature and window."""

ATOMS = 32
"""Frequent exact numbers that are kept, per feature and window."""


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
        """From uint64 ``hashes``, shape ``(n,)``."""
        raise NotImplementedError

    def merge(self, other: Hll) -> Hll:
        return Hll(np.maximum(self.registers, other.registers))

    def estimate(self) -> float:
        """Number of distinct values, standard error 3.3 %; linear counting when few."""
        raise NotImplementedError


@dataclass(frozen=True)
class FrequentItems:
    """Misra-Gries summary of strings: each count is low by at most ``error``.

    :param items: value → count, at most ``FREQUENT_ITEMS``.
    """

    items: dict[str, int] = field(default_factory=dict)
    error: int = 0

    def merge(self, other: FrequentItems) -> FrequentItems:
        raise NotImplementedError


@dataclass(frozen=True)
class Atoms:
    """Frequent exact numbers, Misra-Gries over a deterministic sample of the values.

    :param sampled: how many values the sample has; ``counts[v] / sampled`` estimates the share.
    """

    sampled: int = 0
    counts: dict[float, int] = field(default_factory=dict)

    def merge(self, other: Atoms) -> Atoms:
        raise NotImplementedError
