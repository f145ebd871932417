"""Captured rows, read back by the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Engine, select

from trueup.datasets.infer import closest
from trueup.errors import BadInputError, StoreError
from trueup.monitor.capture.drift import conformed_table, held_schema
from trueup.monitor.capture.event_time import microseconds
from trueup.monitor.capture.moved_files import Moved
from trueup.monitor.capture.parquet_file import read_file
from trueup.monitor.capture.row_schema import FIXED, type_of
from trueup.monitor.capture.window_profiles import table_of
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading
from trueup.store.tables import ManifestKind, manifest

_LABEL_NEEDS = ("row_id", "event_time")


class Labels(Protocol):
    """Labels of rows (:func:`trueup.monitor.capture.labels_read.labels_of`)."""

    @property
    def schema(self) -> pa.Schema: ...

    def beside(self, row_ids: pa.Array, event_times: pa.Array) -> pa.Table:
        """A row with :attr:`schema` for each of these, null where there is no label."""
        ...


@dataclass(frozen=True)
class Capture:
    """Captured rows of one model in a stretch of event time.

    :param schema: the columns of all batches: types that hold the values of every file.
    :param rows: in these files; those outside of the stretch of time are among them.
    """

    schema: pa.Schema
    rows: int
    files: int
    _uris: tuple[str, ...]
    _between: tuple[int, int]
    _blobs: BlobRoot
    _labels: Labels | None
    _moved: Moved

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, file by file; in order of event time within each.

        Files that others replace or drop meanwhile are no failure: what is erased or past its
        retention time is left out, what is elsewhere is read there.
        """
        beside = self._labels.schema if self._labels is not None else pa.schema([])
        own = pa.schema([field for field in self.schema if field.name not in beside.names])
        needed = {*own.names, "event_time", *(_LABEL_NEEDS if beside.names else ())}
        for uri in self._uris:
            for batch in self._read(uri, needed):
                table = self._within(table_of(batch))
                if not table.num_rows:
                    continue
                found = conformed_table(table, own)
                if self._labels is not None:
                    ids, times = (table.column(n).combine_chunks() for n in _LABEL_NEEDS)
                    found = _joined(found, self._labels.beside(ids, times))
                yield from found.select(self.schema.names).combine_chunks().to_batches()

    def _read(self, uri: str, columns: set[str]) -> Iterator[pa.RecordBatch]:
        while True:
            found = read_file(self._blobs, uri, columns=columns, between=self._between)
            try:
                # A local file that is open stays readable when it is deleted; another one has to
                # be read as a whole before any of its rows is given away.
                first = next(found, None) if self._blobs.is_local else None
                rest = found if self._blobs.is_local else iter(list(found))
            except StoreError:
                follower = self._moved.follower(uri)
                if follower is None:
                    return
                uri = follower
                continue
            if first is not None:
                yield first
            yield from rest
            return

    def _within(self, table: pa.Table) -> pa.Table:
        event = table.column("event_time").cast(pa.int64())
        first, last = self._between
        inside = pc.and_(pc.greater_equal(event, first), pc.less(event, last))
        return table if pc.all(inside).as_py() else table.filter(inside)


def read_capture(
    engine: Engine,
    blobs: BlobRoot,
    model: str,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    columns: Sequence[str] | None = None,
    labels: Labels | None = None,
) -> Capture:
    """Rows of ``model`` with event times in ``[start, end)``; all of them without bounds.

    :param columns: of docs/capture.md, and of ``labels``; all when absent.
    :param labels: those to put beside the rows.
    :raises BadInputError: when one of ``columns`` is in none of the files.
    """
    moved = Moved(engine, model, datetime.now(timezone.utc))
    with reading(engine) as connection:
        files = _files(connection, model, start, end)
    schema = _schema(files, labels)
    if columns is not None:
        schema = _chosen(schema, columns, model)
    between = (
        microseconds(start) if start is not None else -(1 << 63),
        microseconds(end) if end is not None else (1 << 63) - 1,
    )
    return Capture(
        schema, sum(file.rows for file in files), len(files),
        tuple(file.uri for file in files), between, blobs, labels, moved,
    )  # fmt: skip


def _files(
    connection: Connection, model: str, start: datetime | None, end: datetime | None
) -> Sequence[Any]:
    wanted = [manifest.c.model == model, manifest.c.kind == ManifestKind.ROWS.value]
    if start is not None:
        wanted.append(manifest.c.last_event_at >= start)
    if end is not None:
        wanted.append(manifest.c.first_event_at < end)
    return connection.execute(
        select(manifest.c.uri, manifest.c.rows, manifest.c.details)
        .where(*wanted)
        .order_by(manifest.c.first_event_at, manifest.c.id)
    ).all()


def _schema(files: Sequence[Any], labels: Labels | None) -> pa.Schema:
    schemas = [
        pa.schema(
            [(n, type_of(kind)) for n, kind in (file.details or {}).get("columns", {}).items()]
        )
        for file in files
    ]
    found = sorted(held_schema(schemas), key=lambda field: field.name)
    beside = list(labels.schema) if labels is not None else []
    return pa.schema([*(pa.field(f.name, f.type) for f in FIXED), *found, *beside])


def _chosen(schema: pa.Schema, columns: Sequence[str], model: str) -> pa.Schema:
    for name in columns:
        if name not in schema.names:
            raise BadInputError(
                f"the capture of {model} has no column {name!r} in that time",
                remedy=closest(name, schema.names),
            )
    return pa.schema([schema.field(name) for name in dict.fromkeys(columns)])


def _joined(rows: pa.Table, labels: pa.Table) -> pa.Table:
    for name in labels.column_names:
        rows = rows.append_column(name, labels.column(name))
    return rows
