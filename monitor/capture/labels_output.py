"""What a run of the join writes: files of bounded size, gathered in memory first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.monitor.capture.labels_files import write_resolved, write_waiting
from trueup.monitor.capture.parquet_file import NewFile
from trueup.store.blobs import BlobRoot

MOST_ROWS = 1 << 18
"""Rows gathered in memory, and of a file at most."""

_DAY_US = 86_400_000_000


class _Gathered:
    """Tables put together until they have :data:`MOST_ROWS` rows."""

    def __init__(self, write: Callable[[pa.Table], list[NewFile]]) -> None:
        self._write = write
        self._parts: list[pa.Table] = []
        self._held = 0
        self.rows = 0
        self.files: list[NewFile] = []

    def add(self, table: pa.Table) -> None:
        for start in range(0, table.num_rows, MOST_ROWS):
            part = table.slice(start, MOST_ROWS)
            self.rows += part.num_rows
            self._parts.append(part)
            self._held += part.num_rows
            if self._held >= MOST_ROWS:
                self.flush()

    def flush(self) -> list[NewFile]:
        """Write what is held; all files so far."""
        if self._held:
            table = pa.concat_tables(self._parts).combine_chunks()
            self._parts, self._held = [], 0
            self.files += self._write(table)
        return self.files


class ResolvedOutput(_Gathered):
    """Files of resolved labels, each of rows of one day. A pair that comes twice is written once,
    if both lie in what is held together."""

    def __init__(self, blobs: BlobRoot, model: str) -> None:
        super().__init__(lambda table: _by_day(blobs, model, table))


class WaitingOutput(_Gathered):
    """Files of labels that wait."""

    def __init__(self, blobs: BlobRoot, model: str) -> None:
        super().__init__(lambda table: [write_waiting(blobs, model, table, tried=True)])


def _by_day(blobs: BlobRoot, model: str, table: pa.Table) -> list[NewFile]:
    table = _distinct(table)
    days = pc.floor(
        pc.divide(table.column("event_time").cast(pa.int64()).cast(pa.float64()), _DAY_US)
    )
    files = []
    for day in sorted(pc.unique(days).to_pylist()):
        files.append(write_resolved(blobs, model, table.filter(pc.equal(days, day))))
    return files


def _distinct(table: pa.Table) -> pa.Table:
    """Without a second pair of the same label and row."""
    places = pa.array(range(table.num_rows), pa.int64())
    grouped = (
        table.select(["label_id", "row_id"])
        .append_column("place", places)
        .group_by(["label_id", "row_id"])
        .aggregate([("place", "min")])
    )
    if grouped.num_rows == table.num_rows:
        return table
    return table.take(pa.array(np.sort(grouped.column("place_min").to_numpy())))
