"""Frames in memory: pandas, polars, Arrow. Columns are shared with the frame where Arrow can."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from trueup.datasets.json_values import array_of
from trueup.datasets.nested import flat_names, flatten, leaf_types, some, top_names
from trueup.datasets.parts import BATCH_ROWS, Scan, Unit
from trueup.errors import DataError

if TYPE_CHECKING:
    import pandas

UNIT_ROWS = 4 * BATCH_ROWS


@dataclass(frozen=True)
class TableUnit:
    """Some rows of a table; pickles as an Arrow IPC stream, because pickled slices would carry
    the whole table."""

    table: pa.Table

    @property
    def weight(self) -> int:
        return int(self.table.num_rows)

    def read(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        wanted = set(schema.names)
        tops = top_names(self.table.schema.names)[0]
        places = [
            place
            for place, name in enumerate(tops)
            if name in wanted or any(leaf.startswith((f"{name}.", f"{name}[")) for leaf in wanted)
        ]
        table = self.table.select(places).rename_columns([tops[place] for place in places])
        for batch in table.to_batches(max_chunksize=BATCH_ROWS):
            yield flatten(batch)

    def __getstate__(self) -> dict[str, bytes]:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.table.schema) as writer:
            writer.write_table(self.table)
        return {"ipc": sink.getvalue().to_pybytes()}

    def __setstate__(self, state: dict[str, bytes]) -> None:
        object.__setattr__(self, "table", pa.ipc.open_stream(state["ipc"]).read_all())


def scan_table(table: pa.Table, source: str) -> Scan:
    """An Arrow table."""
    types, notes = leaf_types(table.schema, source)
    units: list[Unit] = [
        TableUnit(table.slice(start, UNIT_ROWS)) for start in range(0, table.num_rows, UNIT_ROWS)
    ]
    return Scan(source, types, units, table.num_rows, notes)


def scan_polars(frame: Any, source: str) -> Scan:
    """A polars DataFrame."""
    try:
        table = frame.to_arrow()
    except Exception as error:  # polars raises its Rust panics and errors under many types
        raise DataError(f"{source} cannot be read as Arrow: {error}") from error
    return scan_table(table, source)


def scan_pandas(frame: pandas.DataFrame, source: str) -> Scan:
    """A pandas DataFrame; its index is not a column."""
    names, said = top_names([_label(label) for label in frame.columns])
    flat_names(names, source)
    notes = [f"{source}: {note}" for note in said]
    arrays, mixed = [], []
    for place, name in enumerate(names):
        series = frame.iloc[:, place]
        array, conflict = _pandas_array(series, name, source, notes)
        arrays.append(array)
        if conflict:
            mixed.append(name)
    if mixed:
        notes.append(f"{some(mixed)}: values of different types, read as strings")
    table = pa.table(arrays, names=names)
    scan = scan_table(table, source)
    scan.rows = len(frame)
    scan.notes[:0] = notes
    return scan


def _label(label: object) -> str:
    if isinstance(label, tuple):  # a MultiIndex of columns
        return ".".join(str(part) for part in label)
    return "" if label is None else str(label)


def _pandas_array(
    series: pandas.Series[Any], name: str, source: str, notes: list[str]
) -> tuple[pa.Array | pa.ChunkedArray, bool]:
    dtype = series.dtype
    if dtype.kind == "O" and str(dtype) == "object":
        return _object_array(series, name, source, notes)
    if str(dtype).startswith("complex"):
        raise DataError(
            f"column {name!r} of {source} holds complex numbers",
            remedy="split it into real and imaginary part",
        )
    if str(dtype).startswith(("period", "interval")) or str(dtype).startswith("Sparse"):
        series = _dense(series)
    try:
        return pa.array(series, from_pandas=True), False
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError):
        return array_of([_missing_to_none(value) for value in series.tolist()])


def _dense(series: Any) -> Any:
    kind = str(series.dtype)
    if kind.startswith("period"):
        return series.dt.to_timestamp()
    if kind.startswith("Sparse"):
        return series.sparse.to_dense()
    return series.astype("string")


def _object_array(
    series: pandas.Series[Any], name: str, source: str, notes: list[str]
) -> tuple[pa.Array | pa.ChunkedArray, bool]:
    import pandas

    kind = pandas.api.types.infer_dtype(series, skipna=True)
    if kind == "datetime":
        return _aware_array(series, name, notes), False
    try:
        return pa.array(series, from_pandas=True), False
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return array_of([_missing_to_none(value) for value in series.tolist()])


def _aware_array(series: pandas.Series[Any], name: str, notes: list[str]) -> pa.Array:
    """Python datetimes, perhaps of several zones, as times in UTC."""
    import pandas

    zones = {str(value.tzinfo) for value in series.dropna()}
    if len(zones) > 1:
        notes.append(f"{name!r}: times of several zones ({', '.join(sorted(zones))}), read as UTC")
    elif zones == {"None"}:
        notes.append(f"{name!r}: times without a zone, taken as UTC")
    return pa.array(pandas.to_datetime(series, utc=True, errors="coerce"), from_pandas=True)


def _missing_to_none(value: Any) -> Any:
    import pandas

    missing = pandas.isna(value) if pandas.api.types.is_scalar(value) else False
    return None if missing else value
