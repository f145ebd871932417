"""Reading labels back beside the rows that they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Connection, Engine, select

from trueup.datasets.columns import coerce, unify
from trueup.errors import StoreError
from trueup.monitor.capture.labels_files import LABEL
from trueup.monitor.capture.labels_match import Held
from trueup.monitor.capture.labels_rules import latest_per_row
from trueup.monitor.capture.parquet_file import blob_name
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading
from trueup.store.tables import ManifestKind, manifest

LABELLED_AT = "labelled_at"
_TIME = pa.timestamp("us", "UTC")
_ORDER = ("row_id", "label_id", LABELLED_AT, "arrived_at")
_NAMED = {
    str(kind): kind
    for scalar in (
        pa.null(), pa.bool_(), pa.int64(), pa.uint64(), pa.float64(), pa.string(), pa.binary(),
        pa.float32(), pa.int32(), _TIME,
    )
    for kind in (scalar, pa.list_(scalar))
}  # fmt: skip


def labels_of(
    engine: Engine,
    blobs: BlobRoot,
    model: str,
    start: datetime | None = None,
    end: datetime | None = None,
) -> LabelsOf:
    """The labels of rows with event times in ``[start, end)``; all of them without bounds."""

    def look() -> list[_Source]:
        with reading(engine) as connection:
            return _sources(connection, model, start, end)

    return LabelsOf(look, blobs)


def _sources(
    connection: Connection, model: str, start: datetime | None, end: datetime | None
) -> list[_Source]:
    chosen = select(manifest.c.uri, manifest.c.first_event_at, manifest.c.last_event_at,
                    manifest.c.details).where(
        manifest.c.model == model, manifest.c.kind == ManifestKind.LABELS.value
    )  # fmt: skip
    if start is not None:
        chosen = chosen.where(manifest.c.last_event_at >= start)
    if end is not None:
        chosen = chosen.where(manifest.c.first_event_at < end)
    return [_Source(*row) for row in connection.execute(chosen.order_by(manifest.c.id))]


class _Source:
    """One file of resolved labels."""

    def __init__(self, uri: str, first: datetime, last: datetime, details: Any) -> None:
        self.uri, self.first, self.last = uri, first, last
        self.labels: dict[str, str] = (details or {}).get("labels", {})


class LabelsOf:
    """The labels of a stretch of event time, looked up by row id."""

    def __init__(self, look: Callable[[], list[_Source]], blobs: BlobRoot) -> None:
        self._look, self._blobs = look, blobs
        self._sources = look()
        self._types = _types(self._sources)
        self._ranges = lru_cache(maxsize=4096)(self._group_ranges)

    @property
    def schema(self) -> pa.Schema:
        """``label.<name>`` of each name that any of these labels has, and ``labelled_at``."""
        fields = [pa.field(f"{LABEL}{name}", kind) for name, kind in self._types.items()]
        return pa.schema([*fields, pa.field(LABELLED_AT, _TIME)])

    def beside(self, row_ids: pa.Array, event_times: pa.Array) -> pa.Table:
        """The labels of rows, in their order, null for a row (or name) that has none.

        :param row_ids, event_times: of up to some ten thousand rows, of one file as a rule: files
            of labels are opened that can hold labels of such rows.
        :returns: a table with :attr:`schema`, shape ``(len(row_ids),)``. Of several labels for one
            row and name the latest counts; ``labelled_at`` is that of the latest that counts.
        """
        rows = len(row_ids)
        found = self._found_now(row_ids, event_times) if rows else None
        if found is None or not found.num_rows:
            return pa.table([pa.nulls(rows, field.type) for field in self.schema], self.schema)
        place = np.asarray(found.column("place"))
        labelled = found.column(LABELLED_AT).cast(pa.int64()).to_numpy()
        arrived = found.column("arrived_at").cast(pa.int64()).to_numpy()
        rank = _rank(found.column("label_id"))
        columns: list[pa.Array] = []
        latest = np.full(rows, np.iinfo(np.int64).min)
        for name in self._types:
            values = found.column(f"{LABEL}{name}").combine_chunks()
            said = np.flatnonzero(np.asarray(values.is_valid()))
            best = said[latest_per_row(place[said], labelled[said], arrived[said], rank[said])]
            at = np.full(rows, -1)
            at[place[best]] = best
            columns.append(values.take(pa.array(at, mask=at < 0)))
            np.maximum.at(latest, place[best], labelled[best])
        none = latest == np.iinfo(np.int64).min
        columns.append(pa.array(np.where(none, 0, latest), pa.int64(), mask=none).cast(_TIME))
        return pa.table(columns, schema=self.schema)

    def _found_now(self, row_ids: pa.Array, event_times: pa.Array) -> pa.Table | None:
        """As :meth:`_found`, also when a file was put together with others meanwhile."""
        try:
            return self._found(row_ids, event_times)
        except StoreError:
            self._sources = self._look()
            return self._found(row_ids, event_times)

    def _found(self, row_ids: pa.Array, event_times: pa.Array) -> pa.Table | None:
        """All labels of these rows, with the row of each as ``place``."""
        held = Held(row_ids)
        bounds, times = pc.min_max(row_ids).as_py(), pc.min_max(event_times).as_py()
        parts = []
        for source in self._sources:
            if source.last < times["min"] or source.first > times["max"]:
                continue
            ranges = self._ranges(source.uri)
            groups = [
                group
                for group, low, high in ranges
                if low is None or (low <= bounds["max"] and high >= bounds["min"])
            ]
            if groups:
                parts += self._of_groups(source, groups, held)
        return pa.concat_tables(parts).combine_chunks() if parts else None

    def _of_groups(self, source: _Source, groups: list[int], held: Held) -> list[pa.Table]:
        names = [f"{LABEL}{name}" for name in source.labels]
        parts = []
        with _opened(self._blobs, source.uri) as file:
            for batch in file.iter_batches(
                row_groups=groups, columns=[*_ORDER, *names], use_threads=False
            ):
                ours, theirs = held.pairs(batch.column(batch.schema.get_field_index("row_id")))
                if len(ours):
                    chosen = pa.Table.from_batches([batch]).take(pa.array(theirs))
                    parts.append(self._conformed(chosen, ours))
        return parts

    def _conformed(self, labels: pa.Table, places: np.ndarray) -> pa.Table:
        columns = {"place": pa.array(places, pa.int64())}
        for name in _ORDER[1:]:
            columns[name] = labels.column(name)
        for name, kind in self._types.items():
            column = f"{LABEL}{name}"
            if column in labels.column_names:
                columns[column] = coerce(labels.column(column).combine_chunks(), kind)
            else:
                columns[column] = pa.nulls(labels.num_rows, kind)
        return pa.table(columns)

    def _group_ranges(self, uri: str) -> list[tuple[int, str | None, str | None]]:
        """Least and greatest row id of each row group; ``None`` where that is not known."""
        found = []
        with _opened(self._blobs, uri) as file:
            place = file.schema_arrow.get_field_index("row_id")
            for group in range(file.num_row_groups):
                statistics = file.metadata.row_group(group).column(place).statistics
                known = statistics is not None and statistics.has_min_max
                low, high = (statistics.min, statistics.max) if known else (None, None)
                found.append((group, low, high))
        return found


def _types(sources: Sequence[_Source]) -> dict[str, pa.DataType]:
    found: dict[str, pa.DataType] = {}
    for source in sources:
        for name, kind in source.labels.items():
            found[name] = unify(found.get(name, pa.null()), _NAMED.get(kind, pa.string()))[0]
    return dict(sorted(found.items()))


def _rank(ids: pa.ChunkedArray) -> np.ndarray:
    """The place of each id in their order."""
    order = pc.sort_indices(ids).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


@contextmanager
def _opened(blobs: BlobRoot, uri: str) -> Iterator[pq.ParquetFile]:
    with blobs.reading(blob_name(blobs, uri)) as stream:
        try:
            yield pq.ParquetFile(stream)
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"{uri} of the capture cannot be read: {error}") from error
