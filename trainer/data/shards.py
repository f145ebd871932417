"""TFRecord shards whose rows are in random order, from rows in order of time.

Each row is dealt to a shard by a hash of its number, and a shard, when it is full, is put into a
random order in memory: each order of all rows is as likely as any other (Rao 1961; Sandelius 1962),
and no more than one shard is in memory. Beyond ``MOST_OPEN`` shards rows are dealt in groups: then
the order is random within some million rows that follow each other, and readers that begin with
shards in random order do the rest. So training reads shards one after the other, and needs no large
shuffle buffer to forget what the time was.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from trueup.frames.writer import sync_folder
from trueup.profile.hashing import mix
from trueup.records.training import Shard, Split
from trueup.trainer.data.example_encoder import Frames
from trueup.trainer.data.ragged import Ragged, copy, ends_of

MOST_OPEN = 64
"""Shards of one split that are written at once; each is two open files."""

SHARD_BYTES = 128 << 20
"""A shard is about this large at most, whatever its rows: it is in memory once."""

_BUFFER_BYTES = 1 << 18
_PIECE_BYTES = 8 << 20


@dataclass
class _Open:
    """A shard in the order in which its rows came: frames, and beside them their lengths."""

    path: Path
    frames: IO[bytes]
    lengths: IO[bytes]
    rows: int = 0


@dataclass
class ShardWriter:
    """Writes the rows of one split to ``folder``; files have their names when they are whole.

    :param expected: rows that will come, about; the number of shards is made of it.
    :param shard_rows: rows of one shard, about. :param seed: of the order.
    """

    folder: Path
    split: Split
    expected: int
    shard_rows: int
    seed: int = 1
    rows: int = 0
    done: list[Shard] = field(default_factory=list)
    _shards: int = 0
    _group: int = 0
    _open: list[_Open] = field(default_factory=list)

    def dealt(self, rows: int) -> np.ndarray:
        """The shards of the next ``rows`` rows, int64 ``(rows,)``; they are to be given to
        :meth:`add` ordered by it."""
        shards = self._shards
        groups = math.ceil(shards / MOST_OPEN)
        numbers = np.arange(self.rows, self.rows + rows, dtype=np.uint64)
        hashed = mix(numbers + np.uint64(self.seed) * np.uint64(0x9E3779B97F4A7C15))
        group_rows = max(1, math.ceil(self.expected / groups))
        group = np.minimum(numbers // np.uint64(group_rows), np.uint64(groups - 1)).astype(np.int64)
        size = np.minimum(shards - group * MOST_OPEN, MOST_OPEN)
        within: np.ndarray = (hashed >> np.uint64(11)).astype(np.int64) % size
        return group * MOST_OPEN + within

    def plan(self, row_bytes: float) -> None:
        """Fix how many shards there will be, now that it is known how large a row is; once, before
        the first rows are dealt."""
        by_bytes = math.ceil(self.expected * row_bytes / SHARD_BYTES)
        self._shards = max(1, math.ceil(self.expected / self.shard_rows), by_bytes)

    @property
    def planned(self) -> bool:
        return self._shards > 0

    def add(self, frames: Frames, shards: np.ndarray) -> None:
        """:param shards: the shard of each record, in ascending order."""
        self.rows += len(frames)
        numbers, firsts = np.unique(shards, return_index=True)
        bounds = [*firsts.tolist(), len(shards)]
        for number, first, last in zip(numbers.tolist(), bounds, bounds[1:], strict=False):
            shard = self._shard(number)
            shard.frames.write(frames.data[frames.ends[first] : frames.ends[last]].data)
            lengths = np.diff(frames.ends[first : last + 1]).astype("<u4")
            shard.lengths.write(lengths.data)
            shard.rows += last - first

    def _shard(self, number: int) -> _Open:
        group, within = divmod(number, MOST_OPEN)
        if group != self._group:
            self._finish_open()
            self._group = group
        while len(self._open) <= within:
            path = self.folder / f"{self.split.value}-{len(self.done) + len(self._open):05d}"
            self._open.append(
                _Open(
                    path,
                    path.with_suffix(".frames").open("w+b", _BUFFER_BYTES),
                    path.with_suffix(".lengths").open("w+b", _BUFFER_BYTES >> 2),
                )
            )
        return self._open[within]

    def finish(self) -> tuple[Shard, ...]:
        """All shards, shuffled, whole and durable."""
        self._finish_open()
        if self.done:
            sync_folder(self.folder)
        return tuple(shard for shard in self.done if shard.rows)

    def _finish_open(self) -> None:
        for shard in self._open:
            self.done.append(self._finished(shard))
        self._open = []

    def _finished(self, shard: _Open) -> Shard:
        with shard.frames, shard.lengths:
            lengths = _content(shard.lengths, "<u4").astype(np.int64)
            data = _content(shard.frames, np.uint8)
        for suffix in (".frames", ".lengths"):
            shard.path.with_suffix(suffix).unlink()
        order = np.random.default_rng([self.seed, len(self.done)]).permutation(shard.rows)
        target = shard.path.with_suffix(".tfrecord")
        if not shard.rows:
            return Shard(path=target.name, rows=0, bytes=0, sha256="")
        digest = hashlib.sha256()
        unfinished = target.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            for piece in _in_order(data, lengths, order):
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
        return Shard(path=target.name, rows=shard.rows, bytes=data.size, sha256=digest.hexdigest())

    def abandon(self) -> None:
        """Close what is open, without a word on what cannot be written any more."""
        for shard in self._open:
            for file in (shard.frames, shard.lengths):
                with suppress(OSError):
                    file.close()
        self._open = []


def _content(file: IO[bytes], kind: object) -> np.ndarray:
    file.flush()
    file.seek(0)
    return np.fromfile(file, kind)  # type: ignore[call-overload]  # of a dtype or its name


def _in_order(data: np.ndarray, lengths: np.ndarray, order: np.ndarray) -> Iterator[memoryview]:
    """The records of ``data`` in ``order``, in pieces of some megabytes, as buffers."""
    starts = ends_of(lengths)[:-1]
    sizes = ends_of(lengths[order])
    first = 0
    while first < len(order):
        last = int(np.searchsorted(sizes, sizes[first] + _PIECE_BYTES, side="right")) - 1
        last = min(max(last, first + 1), len(order))
        chosen = order[first:last]
        places = sizes[first:last] - sizes[first]
        piece = np.empty(int(sizes[last] - sizes[first]), np.uint8)
        copy(Ragged(data, starts[chosen], lengths[chosen]), piece, places)
        yield piece.data
        first = last
