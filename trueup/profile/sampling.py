"""A uniform sample of values that does not depend on how the rows were divided into batches.

Each value has a pseudo-random priority from its position; the sample is the values of lowest
priority (bottom-k). Samples merge by keeping the lowest again. Half of a sketch's machinery, and
unlike a quantile sketch of the same size it is as good in the tails, relative to their mass, as in
the middle: KLL with k = 400 knows the rank of the .001 quantile to ± .0065, a sample of 65,536
values to ± .00012 (one standard error).
"""

from __future__ import annotations

import numpy as np

from trueup.profile.hashing import mix

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def priorities(first: int, count: int, seed: int) -> np.ndarray:
    """Pseudo-random uint64 priorities of positions ``first`` to ``first + count``."""
    positions = np.arange(first, first + count, dtype=np.uint64)
    positions += np.uint64(seed) << np.uint64(40)  # room for 10**12 positions per seed
    positions *= _GOLDEN
    return mix(positions)


class ValueSample:
    """Bottom-k sample of float64 values.

    :param size: values that are kept; with fewer in all, the sample is all of them.
    :param limit: leaves out values of this priority and above: the :meth:`limit` of a sample that
        this one is to be included in.
    """

    def __init__(self, size: int, limit: np.uint64 | None = None) -> None:
        self.size = size
        # One piece of memory for twice the sample, filled and cut in place: pieces that come and
        # go leave holes, which a process has to its end.
        self._values = np.zeros(0)
        self._priorities = np.zeros(0, np.uint64)
        self._held = 0
        self._limit = limit

    def add(self, values: np.ndarray, priorities: np.ndarray) -> None:
        """Offer ``values`` with their uint64 ``priorities``, both of shape ``(n,)``."""
        if self._limit is not None:
            few = np.flatnonzero(priorities < self._limit)
            values, priorities = values[few], priorities[few]
        start = 0
        while start < values.size:
            if self._held >= len(self._values):
                self._make_room()
            end = min(values.size, start + len(self._values) - self._held)
            self._put(slice(self._held, self._held + end - start), values[start:end],
                      priorities[start:end])  # fmt: skip
            start = end

    def include(self, other: ValueSample) -> None:
        """Make this the sample of both; the values of the other come behind."""
        if other._limit is not None:  # enough values lie below either
            limit = other._limit if self._limit is None else min(self._limit, other._limit)
            self._limit = limit
        self.add(other._values[: other._held], other._priorities[: other._held])

    def limit(self) -> np.uint64 | None:
        """The priority from which on values cannot come into this sample any more."""
        self._cut()
        return self._limit

    def values(self) -> np.ndarray:
        """The sample, ascending."""
        return np.sort(self.unsorted())

    def unsorted(self) -> np.ndarray:
        """The sample in no certain order."""
        self._cut()
        return self._values[: self._held]

    def __getstate__(self) -> dict[str, object]:
        """Only what counts goes to another process."""
        self._cut()
        held = slice(self._held)
        return {**self.__dict__, "_values": self._values[held],
                "_priorities": self._priorities[held]}  # fmt: skip

    def _put(self, at: slice, values: np.ndarray, priorities: np.ndarray) -> None:
        self._values[at], self._priorities[at], self._held = values, priorities, at.stop

    def _make_room(self) -> None:
        if len(self._values) >= 2 * self.size:
            self._cut()
            return
        values, order, held = self._values, self._priorities, slice(self._held)
        self._values = np.empty(2 * self.size)  # pages that are not used cost nothing
        self._priorities = np.empty(2 * self.size, np.uint64)
        self._put(held, values[held], order[held])

    def _cut(self) -> None:
        if self._held <= self.size:
            return
        values, order = self._values[: self._held], self._priorities[: self._held]
        self._limit = np.partition(order, self.size)[self.size]
        lowest = np.flatnonzero(order < self._limit)
        self._put(slice(lowest.size), values[lowest], order[lowest])
