"""Parquet files: types from the footer, one unit per row group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from trueup.datasets.nested import flatten, leaf_fields, leaf_types, top_names
from trueup.datasets.parts import BATCH_BYTES, BATCH_ROWS, Scan
from trueup.datasets.sources import File, pyarrow_file
from trueup.errors import DataError

_LEAST_BUFFERED, _MOST_BUFFERED = 1 << 16, 1 << 18
"""Bytes of a column read at a time: each process holds as much of every column, and more was no
faster, with a cold cache neither."""


@dataclass(frozen=True)
class ParquetUnit:
    """One row group.

    :param weight: its uncompressed bytes.
    :param rows: its rows. :param columns: its columns, nested ones by their leaves.
    """

    file: File
    group: int
    weight: int
    rows: int
    columns: int

    def read(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        wanted = set(schema.names)
        with ExitStack() as stack, _mishaps(self.file):
            source = pyarrow_file(self.file, stack)
            reader = pq.ParquetFile(source, buffer_size=self._buffer_size())
            fields = reader.schema_arrow
            tops = dict(zip(fields.names, top_names(fields.names)[0], strict=True))
            columns = [
                field.name
                for field in fields
                if any(name in wanted for name, _ in leaf_fields(tops[field.name], field.type))
            ]
            share = self.weight * max(len(columns), 1) // max(len(fields), 1)
            per_row = max(1, share // max(self.rows, 1))
            size = max(1, min(BATCH_ROWS, BATCH_BYTES // per_row))
            for batch in reader.iter_batches(
                size, row_groups=[self.group], columns=columns, use_threads=False
            ):
                names = [tops[name] for name in batch.schema.names]
                yield flatten(pa.RecordBatch.from_arrays(batch.columns, names=names))

    def _buffer_size(self) -> int:
        """Bytes of each column that are read at a time, 0 for the whole column of the group: a
        group may hold all rows of the file. A stream is read whole, for going to and fro between
        columns fetches its blocks again and again."""
        chunk = self.weight // max(self.columns, 1)
        if chunk <= _MOST_BUFFERED or self.file.remote or self.file.compression:
            return 0
        return max(_LEAST_BUFFERED, min(_MOST_BUFFERED, BATCH_BYTES // self.columns))


def scan_parquet(file: File) -> Scan:
    """Names, types, rows and units of one Parquet file, from its footer alone.

    :raises DataError: when the file is damaged or cut short, or two columns share a name.
    """
    with ExitStack() as stack, _mishaps(file):
        reader = pq.ParquetFile(pyarrow_file(file, stack))
        meta, schema = reader.metadata, reader.schema_arrow
        groups = [meta.row_group(index) for index in range(meta.num_row_groups)]
        units = [
            ParquetUnit(file, index, group.total_byte_size, group.num_rows, group.num_columns)
            for index, group in enumerate(groups)
            if group.num_rows
        ]
        rows = meta.num_rows
    types, notes = leaf_types(schema, file.path)
    return Scan(file.path, types, list(units), rows, notes)


class _mishaps:
    """Turns what pyarrow raises about a file into a :class:`DataError` that names it."""

    def __init__(self, file: File) -> None:
        self.file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (pa.ArrowException, OSError)):
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"{self.file.path} cannot be read as Parquet: {reason}",
                remedy="it may be damaged or cut short; write it again",
            ) from error
