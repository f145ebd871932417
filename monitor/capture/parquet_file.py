"""Rows as Parquet in the blob root, and back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trueup.errors import StoreError
from trueup.monitor.capture.event_time import moment_of
from trueup.monitor.capture.row_schema import FIXED, type_name
from trueup.store.blobs import BlobRoot
from trueup.store.tables import ManifestKind

PREFIX = "capture"
"""The folder of the blob root in which the files of the manifest are, and no others."""

SEGMENTS, REPLACES = "segments", "replaces"
"""In the details of a file of rows: the least and the greatest segment whose rows are in it, if
there are several; the files that it was before rows were erased from it."""

GROUP_ROWS = 1 << 16
"""Most rows of a row group: what a reader has in memory at once."""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class NewFile:
    """A file that is written, durable, and not yet in the manifest.

    :param name: of its blob. :param values: of its row in the manifest, but ``segment_id`` and
        ``created_at``.
    """

    name: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Placed:
    """Where a file belongs.

    :param unique: what no other file of the capture is called.
    """

    model: str
    kind: ManifestKind
    first: datetime
    last: datetime
    unique: str


def write_rows(
    blobs: BlobRoot,
    table: pa.Table,
    model: str,
    unique: str,
    kind: ManifestKind = ManifestKind.ROWS,
) -> NewFile:
    """Write ``table`` (columns of docs/capture.md, in order of event time).

    :param unique: what no other file of the capture is called.
    """
    event = table.column("event_time").cast(pa.int64()).to_numpy()
    first, last = moment_of(int(event[0])), moment_of(int(event[-1]))
    details = {"columns": variable_types(table.schema)}
    return put(blobs, table, Placed(model, kind, first, last, unique), details)


def put(blobs: BlobRoot, table: pa.Table, placed: Placed, details: dict[str, Any]) -> NewFile:
    """Write ``table`` as it is."""
    data = written(table)
    name = file_name(placed.model, placed.kind, placed.first, placed.unique)
    values = {
        "model": placed.model,
        "kind": placed.kind.value,
        "uri": blobs.put_atomic(name, data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "rows": table.num_rows,
        "bytes": len(data),
        "first_event_at": placed.first,
        "last_event_at": placed.last,
        "details": details,
    }
    return NewFile(name, values)


def variable_types(schema: pa.Schema) -> dict[str, str]:
    """The types of the columns of inputs and outputs, so that readers need not open the file."""
    return {field.name: type_name(field.type) for field in schema if field.name not in FIXED.names}


def written(table: pa.Table) -> bytes:
    """``table`` as the bytes of a Parquet file: zstd, row groups of bounded size."""
    sink = pa.BufferOutputStream()
    repeating = [
        field.name
        for field in table.schema
        if not pa.types.is_floating(field.type) and field.name not in ("row_id", "event_time")
    ]
    pq.write_table(
        table, sink, row_group_size=GROUP_ROWS, compression="zstd", version="2.6",
        use_dictionary=repeating, coerce_timestamps="us", write_statistics=True,
    )  # fmt: skip
    data: bytes = sink.getvalue().to_pybytes()
    return data


def file_name(model: str, kind: ManifestKind, first: datetime, unique: str) -> str:
    """The name of a blob of the capture. Models that a client made up may have any name."""
    plain = _PLAIN.fullmatch(model)
    folder = model if plain else "_" + hashlib.sha256(model.encode()).hexdigest()[:16]
    return f"{PREFIX}/{folder}/{kind.value}/{first.strftime('%Y-%m-%d')}/{unique}.parquet"


def blob_name(blobs: BlobRoot, uri: str) -> str:
    """The name of the blob at ``uri``, also where the blob root has moved since it was written."""
    root = blobs.uri(PREFIX)
    if uri.startswith(root + "/"):
        return PREFIX + uri.removeprefix(root)
    _, sign, rest = uri.rpartition(f"/{PREFIX}/")
    if not sign:
        raise StoreError(f"{uri} is no file of the capture in {blobs.shown}")
    return f"{PREFIX}/{rest}"


def read_file(
    blobs: BlobRoot,
    uri: str,
    *,
    columns: Collection[str] | None = None,
    between: tuple[int, int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows of one file, a row group at a time.

    :param columns: those to read, in the file's order; all when absent.
    :param between: microseconds since 1970, ``[first, last)``: row groups without rows in there are
        not read (rows of others may lie outside).
    :raises StoreError: when it is not there or cannot be read.
    """
    with blobs.reading(blob_name(blobs, uri)) as stream:
        try:
            file = pq.ParquetFile(stream)
            names = [n for n in file.schema_arrow.names if columns is None or n in columns]
            for group in range(file.num_row_groups):
                if between is None or _overlaps(file, group, between):
                    table = file.read_row_group(group, columns=names)
                    yield from table.combine_chunks().to_batches()
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"{uri} of the capture cannot be read: {error}") from error


def _overlaps(file: pq.ParquetFile, group: int, between: tuple[int, int]) -> bool:
    metadata = file.metadata.row_group(group)
    for place in range(metadata.num_columns):
        column = metadata.column(place)
        if column.path_in_schema == "event_time" and column.is_stats_set:
            low, high = (
                int(np.datetime64(moment.replace(tzinfo=None), "us").astype(np.int64))
                for moment in (column.statistics.min, column.statistics.max)
            )
            return low < between[1] and high >= between[0]
    return True
