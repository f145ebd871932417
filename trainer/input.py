"""The input pipeline: shards of TFRecord to batches of tensors, by operations of the graph only,
so that it runs wherever a worker is.

Rows come in one endless stream per task: pass after pass over the rows, each in another order that
depends on the seed and the pass alone. So a position in the stream is a number of rows, and a task
that starts anew goes on where the last backup was, with no row left out and none seen twice but
those since the backup. The position is a file, which the graph reads when an iterator is made, on
the worker that makes it.

Each of ``parts`` tasks has a share of the rows in a pass, and the shares move on by one with every
pass: where workers are not of one speed, or one is lost, the others come to its rows too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trueup.records.training import Shard

if TYPE_CHECKING:
    import tensorflow as tf

#: Files that are read side by side.
_CYCLE = 4
#: Rows taken of one before the next: long runs cost less, and the buffer mixes them.
_RUN = 256
#: Rows that are mixed, and what they may take; a row of twelve features takes some 300 bytes.
_BUFFER_ROWS = 32_768
_BUFFER_BYTES = 64 << 20
_READ_BYTES = 1 << 20
_NO_END = 2**62


@dataclass(frozen=True)
class Piece:
    """Rows ``skip`` to ``skip + take`` of a file."""

    path: str
    skip: int
    take: int


def shares(shards: Sequence[Shard], parts: int) -> tuple[tuple[Piece, ...], ...]:
    """Rows in ``parts`` shares of the same size, ``ceil(rows / parts)``; where that does not divide
    them, the last share takes some of the first rows again.

    >>> one = Shard(path="a", rows=3, bytes=1, sha256="")
    >>> [[(p.skip, p.take) for p in share] for share in shares([one], 2)]
    [[(0, 2)], [(2, 1), (0, 1)]]
    """
    rows = sum(shard.rows for shard in shards)
    size = ceil(rows / parts)
    return tuple(
        tuple(_cut(shards, rows, part * size, size)) if rows else () for part in range(parts)
    )


def _cut(shards: Sequence[Shard], rows: int, first: int, count: int) -> list[Piece]:
    found: list[Piece] = []
    at, begin = first % rows, 0
    while count > 0:
        for shard in shards:
            if begin <= at < begin + shard.rows and count > 0:
                take = min(count, begin + shard.rows - at)
                found.append(Piece(shard.path, at - begin, take))
                at, count = at + take, count - take
            begin += shard.rows
        at, begin = at % rows, 0
    return found


@dataclass(frozen=True)
class Rows:
    """Rows of a split, as tasks read them.

    :param folder: of the data. :param position: file with the number of rows that all tasks
        together have seen; ``None`` begins at the first.
    """

    folder: Path
    shards: tuple[Shard, ...]
    parts: int
    seed: int
    position: Path | None = None

    def stream(self, part: Any) -> tf.data.Dataset:
        """Blocks of serialized examples without end, of task ``part`` (a number, or a tensor that
        says it on the worker)."""
        import tensorflow as tf

        pieces = shares(self.shards, self.parts)
        size = sum(piece.take for piece in pieces[0])
        width = max(map(len, pieces))
        filled = [[*share, *[Piece("", 0, 0)] * (width - len(share))] for share in pieces]
        paths = tf.constant(
            [[str(self.folder / p.path) if p.path else "" for p in share] for share in filled]
        )
        skips = tf.constant([[p.skip for p in share] for share in filled], tf.int64)
        takes = tf.constant([[p.take for p in share] for share in filled], tf.int64)
        seen = self._position() // self.parts

        def one_pass(number: tf.Tensor) -> tf.data.Dataset:
            share = (tf.cast(part, tf.int64) + number) % self.parts
            mark = number * self.parts + share
            used = tf.where(takes[share] > 0)[:, 0]
            keys = tf.random.stateless_uniform(
                tf.shape(used), seed=tf.stack([tf.cast(self.seed, tf.int64), mark])
            )
            order = tf.gather(used, tf.argsort(keys))
            files = tf.data.Dataset.from_tensor_slices(
                tuple(tf.gather(column[share], order) for column in (paths, skips, takes))
            )
            rows = files.interleave(_read, cycle_length=_CYCLE, block_length=_RUN)
            blocks = rows.batch(self.mixed(size))
            return blocks.enumerate().map(
                lambda place, block: _mixed(block, self.seed, mark, place)
            )

        passes = tf.data.Dataset.range(seen // size, _NO_END)
        return passes.flat_map(one_pass).scan(seen % size, _without).filter(_is_filled)

    def mixed(self, size: int) -> int:
        """How many rows are mixed, of ``size``."""
        rows = sum(shard.rows for shard in self.shards)
        mean_bytes = sum(shard.bytes for shard in self.shards) / max(1, rows)
        return max(1, min(_BUFFER_ROWS, size, int(_BUFFER_BYTES / max(1.0, mean_bytes))))

    def once(self) -> tf.data.Dataset:
        """Every serialized example once, in blocks, in the order of the files."""
        import tensorflow as tf

        paths = [str(self.folder / shard.path) for shard in self.shards]
        return tf.data.TFRecordDataset(paths, buffer_size=_READ_BYTES).batch(_RUN)

    def _position(self) -> tf.Tensor:
        import tensorflow as tf

        if self.position is None:
            return tf.constant(0, tf.int64)
        return tf.strings.to_number(tf.io.read_file(str(self.position)), tf.int64)


def _mixed(block: tf.Tensor, seed: int, mark: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """A block of rows in another order. One by one, they would cost as much as parsing them."""
    import tensorflow as tf

    keys = tf.random.stateless_uniform(
        tf.shape(block), seed=tf.stack([tf.cast(seed, tf.int64) + mark, place])
    )
    return tf.gather(block, tf.argsort(keys))


def _without(left_out: tf.Tensor, block: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What is still to be left out after this block, and the block without its share of that."""
    import tensorflow as tf

    here = tf.minimum(left_out, tf.size(block, tf.int64))
    return left_out - here, block[here:]


def _is_filled(block: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.size(block) > 0


def _read(path: tf.Tensor, skip: tf.Tensor, take: tf.Tensor) -> tf.data.Dataset:
    import tensorflow as tf

    return tf.data.TFRecordDataset(path, buffer_size=_READ_BYTES).skip(skip).take(take)


def batches(
    rows: tf.data.Dataset, size: int, parse: Callable[[Any], Any], *, whole: bool, threads: int
) -> tf.data.Dataset:
    """Parsed batches of ``size`` rows, of blocks of any size.

    :param whole: leave out a last batch that is not full; an endless stream has none.
    """
    import tensorflow as tf

    options = tf.data.Options()
    # Rows are shared out above, by row and not by file.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return (
        rows.rebatch(size, drop_remainder=whole)
        .map(parse, num_parallel_calls=max(1, threads), deterministic=True)
        .prefetch(2)
        .with_options(options)
    )
