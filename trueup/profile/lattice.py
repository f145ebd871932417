"""Counting numbers that are whole multiples of a step: integers, money, rounded measurements.

Most real columns are such. One table of counts then holds everything that a profile asks of them,
exactly, for a fraction of the cost per value.
"""

from __future__ import annotations

import numpy as np

_SIZE = 1 << 15  # largest table: it stays in a second-level cache beside a chunk
_SMALLEST = 1 << 10
_PER_UNIT = (1, 2, 4, 8, 10, 100, 1000)
_SAMPLE = 256
_GIVE_UP_SHARE = 0.25  # of values off the lattice, from which on it does not pay


class LatticeCounter:
    """Exact counts of ``k / per_unit`` for integers k of one range, decided by the first values.

    ``k / per_unit`` is the float64 nearest to the decimal number (division rounds correctly), so
    12.3 is recognized where ``12.3 == 123 / 10``.
    """

    def __init__(self) -> None:
        self._table: np.ndarray | None = None
        self._origin = 0
        self._per_unit = 1
        self._active = True

    def take(self, values: np.ndarray) -> np.ndarray:
        """Count those of ``values`` (float64 or integers) that lie on the lattice.

        :returns: the others.
        """
        if not self._active or not values.size:
            return values
        if self._table is None and not self._plan(values):
            return values
        rest = self._floats(values) if values.dtype.kind == "f" else self._integers(values)
        if rest.size > _GIVE_UP_SHARE * values.size:
            self._active = False
        return rest

    def counted(self) -> tuple[np.ndarray, np.ndarray]:
        """Distinct values, ascending float64, and how often each was taken, int64."""
        if self._table is None:
            return np.zeros(0), np.zeros(0, np.int64)
        present = np.flatnonzero(self._table)
        return (present + self._origin) / self._per_unit, self._table[present]

    def _plan(self, values: np.ndarray) -> bool:
        sample = np.sort(values[:: max(values.size // _SAMPLE, 1)].astype(np.float64))
        for per_unit in _PER_UNIT if values.dtype.kind == "f" else (1,):
            with np.errstate(over="ignore"):
                multiples = np.rint(sample * per_unit)
                if not np.array_equal(multiples / per_unit, sample):
                    continue
            trim = sample.size // 64
            low, high = float(multiples[trim]), float(multiples[-1 - trim])
            if not high - low < _SIZE // 2 or not abs(low) < 2**52:
                break
            span = int(high - low) + 1
            size = max(1 << (2 * span).bit_length(), _SMALLEST)
            size = min(size, _SIZE)
            self._origin, self._per_unit = int(low) - (size - span) // 2, per_unit
            self._table = np.zeros(size, np.int64)
            return True
        self._active = False
        return False

    def _floats(self, values: np.ndarray) -> np.ndarray:
        if self._per_unit == 1:
            multiples = np.rint(values)
            on = multiples == values
        else:
            with np.errstate(over="ignore"):
                multiples = values * self._per_unit
            np.rint(multiples, out=multiples)
            on = multiples / self._per_unit == values
        multiples -= self._origin
        return self._count(values, multiples, on)

    def _integers(self, values: np.ndarray) -> np.ndarray:
        if values.dtype == np.uint64 and int(values.max()) >= 2**63:
            return values
        multiples = values.astype(np.int64)
        if self._per_unit != 1:  # the first values had decimals, these are integers
            return self._floats(values.astype(np.float64))
        multiples -= self._origin
        return self._count(values, multiples, None)

    def _count(
        self, values: np.ndarray, multiples: np.ndarray, on: np.ndarray | None
    ) -> np.ndarray:
        assert self._table is not None
        size = self._table.size
        rest = values[:0]
        outside = multiples.min() < 0 or multiples.max() >= size
        if outside or (on is not None and not on.all()):
            inside = (multiples >= 0) & (multiples < size)
            if on is not None:
                inside &= on
            rest = values[np.flatnonzero(~inside)]
            multiples = multiples[np.flatnonzero(inside)]
        self._table += np.bincount(multiples.astype(np.intp, copy=False), minlength=size)
        return rest
