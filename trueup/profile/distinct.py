"""Feeding a HyperLogLog fast: most values are dismissed by one comparison."""

from __future__ import annotations

import numpy as np

from trueup.profile.sketches import HLL_PRECISION, Hll

_INDEX_SHIFT = np.uint64(64 - HLL_PRECISION)
_RANK_SHIFT = np.uint64(HLL_PRECISION)
_EXACT_BITS = 53  # bits of a hash that a float64 holds exactly, whose exponent counts the zeros
_ALL = np.uint64(2**64 - 1)


class HllBuilder:
    """Registers of a :class:`Hll` under construction.

    A register's rank is 1 + the number of leading zeros of the hash behind its index bits. Once
    every register holds at least r, only hashes below ``2**(64 - r)`` can change anything; that
    is one comparison per value, and after a few thousand values hardly any is left.
    """

    def __init__(self) -> None:
        self._registers = np.zeros(1 << HLL_PRECISION, np.uint8)
        self._limits = np.full(1 << HLL_PRECISION, _ALL)  # tails below can raise the register
        self._all_limit = _ALL

    def add(self, hashes: np.ndarray) -> None:
        """Count uint64 ``hashes``, shape ``(n,)``."""
        if not hashes.size:
            return
        tails = hashes << _RANK_SHIFT
        if self._all_limit != _ALL:
            few = np.flatnonzero(tails < self._all_limit)
            if not few.size:
                return
            hashes, tails = hashes[few], tails[few]
        index = (hashes >> _INDEX_SHIFT).astype(np.intp)
        raising = np.flatnonzero(tails < self._limits.take(index))
        if raising.size:
            self._raise(index[raising], tails[raising])

    def _raise(self, index: np.ndarray, tails: np.ndarray) -> None:
        bits = np.frexp((tails >> np.uint64(64 - _EXACT_BITS)).astype(np.float64))[1]
        ranks = (_EXACT_BITS + 1 - bits).astype(np.uint8)
        order = np.argsort(ranks, kind="stable")  # the last write to a register wins: its maximum
        highest = np.zeros_like(self._registers)
        highest[index[order]] = ranks[order]
        np.maximum(self._registers, highest, out=self._registers)
        shifts = np.uint64(64) - np.maximum(self._registers, 1).astype(np.uint64)
        self._limits = np.where(self._registers > 0, np.uint64(1) << shifts, _ALL)
        self._all_limit = self._limits.max()

    def sketch(self) -> Hll:
        return Hll(self._registers.copy())
