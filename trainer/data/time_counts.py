"""How many rows there are by event time, in bounded memory: where the newest share begins."""

from __future__ import annotations

import numpy as np

MOST_BUCKETS = 1 << 16
_FIRST_WIDTH = 1_000_000  # a second, in microseconds


class TimeCounts:
    """Counts of rows in buckets of one width, which doubles when there are too many of them.

    >>> counts = TimeCounts()
    >>> counts.add(np.arange(100) * 1_000_000)
    >>> counts.rows, counts.newest, counts.rows_before(90_000_000)
    (100, 99000000, 90)
    >>> counts.start_of_newest(0.1, 90_000_000)
    81000000
    """

    def __init__(self) -> None:
        self._width = _FIRST_WIDTH
        self._index = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)
        self.oldest: int | None = None
        self.newest: int | None = None

    @property
    def rows(self) -> int:
        return int(self._counts.sum())

    def add(self, times: np.ndarray) -> None:
        """:param times: int64, microseconds since 1970."""
        if not times.size:
            return
        low, high = int(times.min()), int(times.max())
        self.oldest = low if self.oldest is None else min(self.oldest, low)
        self.newest = high if self.newest is None else max(self.newest, high)
        found, counts = np.unique(np.floor_divide(times, self._width), return_counts=True)
        self._put(np.concatenate((self._index, found)), np.concatenate((self._counts, counts)))
        while len(self._index) > MOST_BUCKETS:
            self._width *= 2
            self._put(np.floor_divide(self._index, 2), self._counts)

    def _put(self, index: np.ndarray, counts: np.ndarray) -> None:
        self._index, place = np.unique(index, return_inverse=True)
        sums = np.bincount(place.reshape(-1), counts, minlength=len(self._index))
        self._counts = sums.astype(np.int64)

    def rows_before(self, time: int) -> int:
        """Rows of buckets that begin before ``time``."""
        return int(self._counts[self._index * self._width < time].sum())

    def start_of_newest(self, share: float, before: int) -> int:
        """The border of buckets before ``before`` behind which as near to ``share`` of the rows
        before it lie as borders allow; neither side is empty where there are two buckets."""
        inside = self._index * self._width < before
        starts, counts = self._index[inside] * self._width, self._counts[inside]
        if share <= 0.0 or not len(starts):
            return before
        behind = np.cumsum(counts[::-1])[::-1]  # rows from each bucket on
        if len(starts) == 1:
            return before
        best = 1 + int(np.argmin(np.abs(behind[1:] - share * counts.sum())))
        return int(starts[best])
