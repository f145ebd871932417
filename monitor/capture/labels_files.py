"""Parquet files of labels: those that wait for their row, and those that found it.

Files are immutable. A file of resolved labels holds labels of rows of one day, ordered by row id,
so that a reader opens only what can hold the labels of its rows.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trueup.datasets.columns import coerce, leaf_type
from trueup.datasets.json_values import array_of
from trueup.monitor.capture.event_time import moment_of
from trueup.monitor.capture.labels_items import WAITING
from trueup.monitor.capture.parquet_file import (
    GROUP_ROWS,
    SEGMENTS,
    NewFile,
    file_name,
    read_file,
)
from trueup.store.blobs import BlobRoot
from trueup.store.tables import ManifestKind

LABEL = "label."
"""What the names of label columns begin with."""

_TIME = pa.timestamp("us", "UTC")

RESOLVED = pa.schema(
    [
        pa.field("row_id", pa.string()),
        pa.field("event_time", _TIME),  # of the row
        pa.field("shadow", pa.bool_()),  # whether the row is a shadow's
        *WAITING,
    ]
)
"""Columns of a file of resolved labels; then ``label.<name>`` of each name in it."""


@dataclass(frozen=True)
class LabelFile:
    """A file of labels in the manifest.

    :param first_at, last_at: event times of the labelled rows; of labels that wait, their arrival.
    """

    id: int
    segment_id: str
    kind: ManifestKind
    uri: str
    rows: int
    first_at: datetime
    last_at: datetime
    details: dict[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None

    def may_hold(self, sources: Collection[str]) -> bool:
        """Whether rows of one of these segments may be in this file of rows."""
        bounds = self.details.get(SEGMENTS)
        if bounds is None:
            return self.segment_id in sources
        return any(bounds[0] <= source <= bounds[1] for source in sources)


def write_waiting(blobs: BlobRoot, model: str, table: pa.Table, *, tried: bool) -> NewFile:
    """Write labels that wait, with columns :data:`WAITING`.

    :param tried: whether they were looked up among all rows that there were.
    """
    details = {**_ways(table), "tried": tried}
    return _write(blobs, model, ManifestKind.WAITING_LABELS, table, "arrived_at", details)


def write_resolved(blobs: BlobRoot, model: str, table: pa.Table) -> NewFile:
    """Write resolved labels of one day, with columns :data:`RESOLVED`."""
    table = table.sort_by([("row_id", "ascending"), ("label_id", "ascending")])
    named = label_columns(table.column("label"))
    for name, values in named.items():
        table = table.append_column(f"{LABEL}{name}", values)
    details = {**_ways(table), "labels": {name: str(v.type) for name, v in named.items()}}
    return _write(blobs, model, ManifestKind.LABELS, table, "event_time", details)


def label_columns(texts: pa.ChunkedArray) -> dict[str, pa.Array]:
    """The values that JSON objects hold, by name, each as an array of its own type.

    >>> label_columns(pa.chunked_array([['{"a":1}', '{"a":2.5,"b":"x"}']]))["b"].to_pylist()
    [None, 'x']
    """
    encoded = texts.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    objects = [orjson.loads(text) for text in encoded.dictionary.to_pylist()]
    found = {}
    for name in sorted({name for each in objects for name in each}):
        values, _ = array_of([each.get(name) for each in objects])
        found[name] = coerce(values, leaf_type(values.type)).take(encoded.indices)
    return found


def _ways(table: pa.Table) -> dict[str, Any]:
    """By what these labels name their rows, so that a reader may pass over the file."""
    keys = pc.unique(table.column("key")).to_pylist()
    counts = pc.value_counts(table.column("by"))
    by = {entry["values"]: entry["counts"] for entry in counts.to_pylist()}
    return {"by": by, "keys": sorted(key for key in keys if key != "[]")}


def _write(
    blobs: BlobRoot, model: str, kind: ManifestKind, table: pa.Table, time: str, details: Any
) -> NewFile:
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, row_group_size=GROUP_ROWS, compression="zstd", version="2.6",
        coerce_timestamps="us",
    )  # fmt: skip
    data = sink.getvalue().to_pybytes()
    bounds = pc.min_max(table.column(time).cast(pa.int64())).as_py()
    first, last = moment_of(bounds["min"]), moment_of(bounds["max"])
    name = file_name(model, kind, first, uuid.uuid4().hex)
    values = {
        "model": model,
        "kind": kind.value,
        "uri": blobs.put_atomic(name, data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "rows": table.num_rows,
        "bytes": len(data),
        "first_event_at": first,
        "last_event_at": last,
        "details": details,
    }
    return NewFile(name, values)


def read_tables(blobs: BlobRoot, uri: str, columns: Collection[str] | None) -> Iterator[pa.Table]:
    """Rows of a file in parts of bounded size; a column that it does not have is left out.

    :param columns: all when absent.
    """
    for batch in read_file(blobs, uri, columns=columns):
        yield pa.Table.from_batches([batch])
