"""The gate's rows: Parquet with all variables, for a version with other inputs scores them too."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trueup.frames.writer import sync_folder
from trueup.records.training import Shard

GROUP_ROWS = 1 << 16
_GROUP_BYTES = 32 << 20
_BLOCK = 1 << 20


class GateWriter:
    """Writes tables of one schema to ``folder``; files have their names when they are whole."""

    def __init__(self, folder: Path, schema: pa.Schema, shard_rows: int) -> None:
        self._folder, self._schema, self._shard_rows = folder, schema, shard_rows
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = self._waiting_bytes = 0
        self._writer: pq.ParquetWriter | None = None
        self._rows_in_file = 0
        self._done: list[Shard] = []

    def add(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        self._waiting_bytes += batch.nbytes
        if self._waiting_rows >= GROUP_ROWS or self._waiting_bytes >= _GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting, self._schema)
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path(".unfinished"), self._schema, compression="zstd", version="2.6",
                coerce_timestamps="us",
            )  # fmt: skip
        self._writer.write_table(table, row_group_size=GROUP_ROWS)
        self._rows_in_file += table.num_rows
        if self._rows_in_file >= self._shard_rows:
            self._finish_file()

    def _path(self, suffix: str) -> Path:
        return self._folder / f"gate-{len(self._done):05d}{suffix}"

    def _finish_file(self) -> None:
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        writer.close()
        unfinished, target = self._path(".unfinished"), self._path(".parquet")
        digest = hashlib.sha256()
        with unfinished.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
            size = file.tell()
            os.fsync(file.fileno())
        unfinished.replace(target)
        self._done.append(
            Shard(path=target.name, rows=self._rows_in_file, bytes=size, sha256=digest.hexdigest())
        )
        self._rows_in_file = 0

    def finish(self) -> tuple[Shard, ...]:
        self._write_group()
        self._finish_file()
        if self._done:
            sync_folder(self._folder)
        return tuple(self._done)

    def abandon(self) -> None:
        """Close what is open, without a word on what cannot be written any more."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError, pa.ArrowException):
                writer.close()
