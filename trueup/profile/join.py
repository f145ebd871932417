"""Rows of two data sets that have the same key, in batches of bounded memory.

Both sides are read twice: first their keys alone, as 64-bit hashes; then the rows whose keys are
unique and on both sides go to buckets by hash, in a temporary folder, and each bucket is joined in
memory. Two different keys meet in one hash with a chance of n²/2⁶⁵ (3 in 10,000 for 10⁸ rows).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.profile.arrow import encoded
from trueup.profile.canonical import spelled
from trueup.profile.hashing import hash_strings, mix
from trueup.records.dataset import Dataset

PARTITIONS = 64
BUCKET_ROWS = 1 << 18
"""Rows per bucket and side, about; a hundred numeric columns of them take 200 MB."""

MAX_BUCKETS = 512
"""Each is an open file; processes may open 1,024 by default."""

_NO_KEY = np.uint64(0)  # the hash that stands for a row without a key


@dataclass(frozen=True)
class JoinCounts:
    """How the keys of both sides met; all numbers count rows."""

    training_rows: int
    serving_rows: int
    joined: int
    training_duplicates: int = 0
    serving_duplicates: int = 0
    training_unmatched: int = 0
    serving_unmatched: int = 0
    training_without_key: int = 0
    serving_without_key: int = 0

    def notes(self, keys: Sequence[str]) -> tuple[str, ...]:
        """What to say of the join, in sentences."""
        by = ", ".join(keys)
        said = [
            f"{self.joined:,} rows were joined by {by} ({self.training_rows:,} training, "
            f"{self.serving_rows:,} serving rows)"
        ]
        for side, twice, alone, without in (
            ("training", self.training_duplicates, self.training_unmatched,
             self.training_without_key),
            ("serving", self.serving_duplicates, self.serving_unmatched, self.serving_without_key),
        ):  # fmt: skip
            if twice:
                said.append(f"{twice:,} {side} rows repeat a key of {by} and were left out")
            if alone:
                said.append(f"{alone:,} {side} rows have a key that the other side lacks")
            if without:
                said.append(f"{without:,} {side} rows have no value of {by}")
        return tuple(said)


@dataclass(frozen=True)
class JoinedRows:
    """Equally many rows of both sides in the same order of keys.

    :param previous: training's row of the same entity at the time before (null where there is
        none); absent unless one of the keys is a time.
    """

    training: pa.Table
    serving: pa.Table
    previous: pa.Table | None = None


class KeyJoin:
    """The join of two data sets by key columns; :meth:`counts` first, then :meth:`batches`.

    :param time: that one of ``keys`` which is the event time, if any: the others name an entity.
    """

    def __init__(
        self, training: Dataset, serving: Dataset, keys: Sequence[str], time: str | None = None
    ) -> None:
        self._sides = (training, serving)
        self._keys = tuple(keys)
        self._time = time if len(keys) > 1 and time in keys else None
        self._entity = tuple(key for key in keys if key != self._time)
        self._found: tuple[JoinCounts, np.ndarray] | None = None

    def counts(self) -> JoinCounts:
        """How the keys met (reads the key columns of both sides, once)."""
        return self._matched()[0]

    def batches(self, columns: Sequence[str]) -> Iterator[JoinedRows]:
        """All joined rows, ``columns`` of them, bucket by bucket."""
        counts, matched = self._matched()
        rows = max(counts.training_rows, counts.serving_rows)
        buckets = min(MAX_BUCKETS, 1 + rows // BUCKET_ROWS)
        wanted = [*columns, *(key for key in self._keys if key not in columns)]
        with tempfile.TemporaryDirectory(prefix="trueup-join-") as folder:
            spilled = [_Spill(Path(folder) / side, buckets) for side in ("training", "serving")]
            for dataset, spill in zip(self._sides, spilled, strict=True):
                with spill:
                    self._scatter(dataset, wanted, matched, spill)
            for bucket in range(buckets):
                before, after = (spill.read(bucket) for spill in spilled)
                if before is not None and after is not None:
                    yield self._joined(before, after, matched, columns)

    def _matched(self) -> tuple[JoinCounts, np.ndarray]:
        """The counts, and the sorted hashes of the keys that join."""
        if self._found is None:
            self._found = _matched(*(self._key_hashes(dataset) for dataset in self._sides))
        return self._found

    def _key_hashes(self, dataset: Dataset) -> np.ndarray:
        parts = [
            key_hashes(batch, self._keys)
            for part in dataset.partitions(PARTITIONS)
            for batch in part.batches(list(self._keys))
        ]
        return np.concatenate([np.zeros(0, np.uint64), *parts])

    def _scatter(
        self, dataset: Dataset, columns: Sequence[str], matched: np.ndarray, spill: _Spill
    ) -> None:
        """Rows that join go to the bucket of their entity; with a time, all rows do, because the
        one before need not join itself."""
        there = [name for name in columns if name in dataset.schema.names]
        for part in dataset.partitions(PARTITIONS):
            for batch in part.batches(there):
                hashes = key_hashes(batch, self._keys)
                entities = key_hashes(batch, self._entity) if self._time else hashes
                keep = hashes != _NO_KEY
                if self._time is None:
                    keep &= _is_in(hashes, matched)
                batch = _with_hashes(batch, hashes, entities)
                spill.add(batch, np.where(keep, (mix(entities) >> np.uint64(32)), 0), keep)

    def _joined(
        self, before: pa.Table, after: pa.Table, matched: np.ndarray, columns: Sequence[str]
    ) -> JoinedRows:
        hashes0, hashes = (_hashes(side, _HASH) for side in (before, after))
        rows0, rows = (np.flatnonzero(_is_in(h, matched)) for h in (hashes0, hashes))
        rows0 = rows0[np.argsort(hashes0[rows0], kind="stable")]
        rows = rows[np.argsort(hashes[rows], kind="stable")]
        previous = None
        if self._time is not None:
            earlier = _previous(before, self._time)[rows0]
            places = pa.array(np.maximum(earlier, 0), mask=earlier < 0)
            previous = _select(before, columns).take(places)
        return JoinedRows(
            _select(before, columns).take(pa.array(rows0)),
            _select(after, columns).take(pa.array(rows)),
            previous,
        )


_HASH, _ENTITY = "\0key", "\0entity"


def key_hashes(batch: pa.RecordBatch, keys: Sequence[str]) -> np.ndarray:
    """A hash per row over the canonical text of ``keys``, uint64, shape ``(rows,)``; 0 where one
    of them is null. The text is the same whatever type the key arrived in (``7``, ``7.0``, "7").

    >>> batch = pa.RecordBatch.from_pydict({"id": [7, None, 8], "day": ["a", "b", "a"]})
    >>> key_hashes(batch, ["id", "day"]).tolist()[1]
    0
    """
    hashes = np.zeros(batch.num_rows, np.uint64)
    missing = np.zeros(batch.num_rows, bool)
    for key in keys:
        column = batch.column(batch.schema.names.index(key))
        if pa.types.is_null(column.type):
            missing[:] = True
            continue
        values, codes = encoded(column)
        missing |= codes < 0
        of_values = hash_strings(spelled(values)) if len(values) else np.zeros(1, np.uint64)
        hashes = mix(hashes * np.uint64(0x9E3779B97F4A7C15) + of_values[np.maximum(codes, 0)])
    hashes[hashes == _NO_KEY] = np.uint64(1)
    hashes[missing] = _NO_KEY
    return hashes


def _matched(training: np.ndarray, serving: np.ndarray) -> tuple[JoinCounts, np.ndarray]:
    unique, duplicates, without = [], [], []
    for hashes in (training, serving):
        keyed = hashes[hashes != _NO_KEY]
        values, counts = np.unique(keyed, return_counts=True)
        unique.append(values[counts == 1])
        duplicates.append(int(keyed.size - np.count_nonzero(counts == 1)))
        without.append(int(hashes.size - keyed.size))
    matched = np.intersect1d(unique[0], unique[1], assume_unique=True)
    counts = JoinCounts(
        training.size, serving.size, matched.size, duplicates[0], duplicates[1],
        unique[0].size - matched.size, unique[1].size - matched.size, without[0], without[1],
    )  # fmt: skip
    return counts, matched


def _is_in(hashes: np.ndarray, matched: np.ndarray) -> np.ndarray:
    if not matched.size:
        return np.zeros(hashes.size, bool)
    place = np.minimum(np.searchsorted(matched, hashes), matched.size - 1)
    return matched[place] == hashes


def _with_hashes(batch: pa.RecordBatch, hashes: np.ndarray, entities: np.ndarray) -> pa.RecordBatch:
    names = [*batch.schema.names, _HASH, _ENTITY]
    return pa.RecordBatch.from_arrays(
        [*batch.columns, pa.array(hashes), pa.array(entities)], names=names
    )


def _hashes(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table.column(name).to_numpy(), np.uint64)


def _select(table: pa.Table, columns: Iterable[str]) -> pa.Table:
    return table.select([name for name in columns if name in table.schema.names])


def _previous(table: pa.Table, time: str) -> np.ndarray:
    """Per row the row of the same entity with the latest earlier time, or -1; int64."""
    order = pc.sort_indices(
        table.select([_ENTITY, time]), sort_keys=[(_ENTITY, "ascending"), (time, "ascending")]
    ).to_numpy()
    entity = _hashes(table, _ENTITY)[order]
    previous = np.full(len(order), -1, np.int64)
    same = entity[1:] == entity[:-1]
    previous[order[1:][same]] = order[:-1][same]
    return previous


class _Spill:
    """Rows in buckets: one Arrow file per bucket, opened when its first rows come."""

    def __init__(self, folder: Path, buckets: int) -> None:
        self._folder, self._buckets = folder, buckets
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        self._open = ExitStack()

    def __enter__(self) -> _Spill:
        self._folder.mkdir()
        return self

    def __exit__(self, *error: object) -> None:
        for writer in self._writers.values():
            writer.close()
        self._open.close()

    def add(self, batch: pa.RecordBatch, spread: np.ndarray, keep: np.ndarray) -> None:
        """:param spread: uint64 per row; its remainder is the bucket. :param keep: bool."""
        bucket = (spread % np.uint64(self._buckets)).astype(np.int64)
        for number in np.unique(bucket[keep]).tolist():
            chosen = batch.filter(pa.array(keep & (bucket == number)))
            if number not in self._writers:
                sink = self._open.enter_context(pa.OSFile(str(self._path(number)), "wb"))
                self._writers[number] = pa.ipc.new_stream(sink, chosen.schema)
            self._writers[number].write_batch(chosen)

    def read(self, bucket: int) -> pa.Table | None:
        path = self._path(bucket)
        if not path.exists():
            return None
        with pa.OSFile(str(path), "rb") as source:
            return pa.ipc.open_stream(source).read_all()

    def _path(self, bucket: int) -> Path:
        return self._folder / str(bucket)
