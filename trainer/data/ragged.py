"""Bytes of many lengths, moved by NumPy: rows of one length at a time.

A copy of a fixed number of bytes to (or from) any place of a buffer is a take of an item of that
size from an array whose items overlap; so a batch costs a few calls per length that occurs, and
none per row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """A piece of bytes per row.

    :param data: uint8, one piece somewhere in it per row.
    :param starts, lengths: int64, ``(rows,)``.
    """

    data: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)


def overlapping(data: np.ndarray, size: int) -> np.ndarray:
    """``data`` (uint8, contiguous) as items of ``size`` bytes that begin at each of its places;
    what is written to an item is written to ``data``.

    >>> items = overlapping(np.frombuffer(b"abcd", np.uint8), 2)
    >>> [bytes(item) for item in items[[0, 2]]]
    [b'ab', b'cd']
    """
    count = max(data.size - size + 1, 0)
    kind = np.dtype((np.void, size))
    return np.ndarray((count,), kind, data.data if data.size else b"", 0, (1,))


def by_length(lengths: np.ndarray) -> Iterator[tuple[int, np.ndarray | None]]:
    """Each length that occurs, with the places of its rows (``None``: all of them).

    :param lengths: int64, ``(rows,)``.

    >>> [(size, rows.tolist()) for size, rows in by_length(np.array([3, 1, 3]))]
    [(1, [1]), (3, [0, 2])]
    """
    if not lengths.size:
        return
    low, high = int(lengths.min()), int(lengths.max())
    if low == high:
        yield low, None
        return
    # Places in order of length; 16 bits are sorted by radix, which is linear.
    narrow = (lengths - low).astype(np.uint16) if high - low < 1 << 16 else lengths - low
    order = np.argsort(narrow, kind="stable")
    ordered = narrow[order]
    cuts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    firsts = np.concatenate(([0], cuts))
    for rows, first in zip(np.split(order, cuts), firsts, strict=True):
        yield int(ordered[first]) + low, rows


def copy(source: Ragged, target: np.ndarray, places: np.ndarray) -> None:
    """Write each piece of ``source`` to ``target`` (uint8) from ``places`` (int64, ``(rows,)``)."""
    for size, rows in by_length(source.lengths):
        if size:
            starts, to = (
                (source.starts, places) if rows is None else (source.starts[rows], places[rows])
            )
            overlapping(target, size)[to] = overlapping(source.data, size)[starts]


def ends_of(lengths: np.ndarray) -> np.ndarray:
    """Offsets of consecutive pieces, int64, ``(rows + 1,)``: piece k lies in ``[k, k + 1)``."""
    ends = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    return ends


def packed(lengths: np.ndarray, data: np.ndarray) -> Ragged:
    """Pieces that lie one behind the other."""
    ends = ends_of(lengths)
    return Ragged(data, ends[:-1], np.asarray(lengths, np.int64))
