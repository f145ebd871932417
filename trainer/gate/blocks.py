"""Which rows are drawn together: those of one block of time, or of one entity.

Rows of one hour share weather, traffic and outages; drawn one by one they would pass for more
evidence than they are. Neighbouring blocks may depend on each other, too: then they are put
together, two by two, until they do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trueup.config.duration import write_duration

Array = NDArray[Any]

MOST_BLOCKS = 1_000
"""More are put together: a thousand blocks estimate a standard error to within 2 %, and the memory
of the bootstrap stays bounded."""
LEAST_AFTER_MERGING = 10
"""Dependent neighbours are not put together below so many blocks: of fewer, the standard error is
less certain than the dependence."""
ROWS_WITHOUT_BLOCKS = 200
"""Groups of neighbouring rows where rows have neither time nor entity."""
HIGHEST_CORRELATION = 0.9


@dataclass(frozen=True, eq=False)
class Blocks:
    """A partition of the rows.

    :param ids: ``(n,)``, block of each row, ``0 … count - 1``; in the order of time if ``ordered``.
    :param words: what they are, such as ``"168 blocks of 1h"``.
    """

    ids: Array
    count: int
    ordered: bool
    words: str
    length: timedelta | None = None

    def sums(self, columns: Array) -> Array:
        """Sums of ``columns (n, k)`` by block: ``(count, k)``."""
        return np.column_stack([np.bincount(self.ids, column, self.count) for column in columns.T])


def by_time(seconds: Array, length: timedelta) -> Blocks:
    """Blocks of event time, aligned with the epoch; only those that hold rows. Longer ones where
    there would be more than ``MOST_BLOCKS``.

    :param seconds: ``(n,)`` since 1970, finite.
    """
    while True:
        places = np.floor(np.asarray(seconds) / length.total_seconds()).astype(np.int64)
        present, ids = np.unique(places, return_inverse=True)
        if len(present) <= MOST_BLOCKS:
            break
        length *= 2
    return _timed(ids.reshape(-1), len(present), length)


def by_entity(entities: Sequence[Any] | Array) -> Blocks:
    """One block per entity (any values that can be sorted); beyond ``MOST_BLOCKS`` several
    entities share a block, which leaves blocks independent."""
    present, ids = np.unique(np.asarray(entities), return_inverse=True)
    ids = ids.reshape(-1)
    if len(present) <= MOST_BLOCKS:
        return Blocks(ids, len(present), False, f"{len(present)} entities")
    words = f"{len(present):,} entities in {MOST_BLOCKS:,} groups"
    return Blocks(ids % MOST_BLOCKS, MOST_BLOCKS, False, words)


def by_order(rows: int) -> Blocks:
    """Rows without time and entity: groups of neighbours in the order of the files."""
    count = min(rows, ROWS_WITHOUT_BLOCKS)
    ids = np.arange(rows, dtype=np.int64) * count // max(rows, 1)
    return Blocks(ids, count, True, f"{count} groups of neighbouring rows")


def correlation_of_neighbours(series: Array) -> float:
    """Lag-1 correlation of values ``(B,)`` in order, the bias of its estimate added back
    (Marriott, Pope 1954): ``r + (1 + 3r)/B``; 0 for fewer than 3 values or no spread.

    >>> correlation_of_neighbours(np.array([1.0, 1.0, -1.0, -1.0] * 25)).__round__(2)
    0.0
    """
    if len(series) < 3:
        return 0.0
    centred = series - series.mean()
    spread = float(centred @ centred)
    if spread <= 0.0:
        return 0.0
    r = float(centred[1:] @ centred[:-1]) / spread
    return r + (1.0 + 3.0 * r) / len(series)


def widening(series: Array) -> float:
    """By how much dependence of neighbours widens a standard error: ``√((1 + ρ)/(1 - ρ))`` with ρ
    in ``[0, 0.9]``; 1 below ``LEAST_AFTER_MERGING`` values."""
    if len(series) < LEAST_AFTER_MERGING:
        return 1.0
    rho = min(max(correlation_of_neighbours(series), 0.0), HIGHEST_CORRELATION)
    return float(np.sqrt((1.0 + rho) / (1.0 - rho)))


def merged(blocks: Blocks, influence: Array) -> Blocks:
    """Blocks put together, neighbours two by two, while their correlation is above its own standard
    error ``1/√B``.

    :param influence: ``(n,)``, what each row adds to the deviation of the estimate.
    """
    while blocks.ordered and blocks.count // 2 >= LEAST_AFTER_MERGING:
        series = np.bincount(blocks.ids, influence, blocks.count)
        if correlation_of_neighbours(series) <= 1.0 / np.sqrt(blocks.count):
            break
        count = blocks.count // 2  # an odd one out joins the last pair
        ids = np.minimum(blocks.ids // 2, count - 1)
        if blocks.length is None:
            blocks = Blocks(ids, count, True, f"{count} groups of neighbouring rows")
        else:
            blocks = _timed(ids, count, 2 * blocks.length)
    return blocks


def _timed(ids: Array, count: int, length: timedelta) -> Blocks:
    return Blocks(ids, count, True, f"{count:,} blocks of {write_duration(length)}", length)
