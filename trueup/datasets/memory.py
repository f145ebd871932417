"""Frames in memory: pandas, polars, Arrow. Columns are shared with the frame where Arrow can."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from trueup.datasets.columns import TIME
from trueup.datasets.encoding import encodable
from trueup.datasets.json_values import array_of
from trueup.datasets.nested import flat_names, flatten, leaf_types, quoted, some, top_names
from trueup.datasets.parts import BATCH_ROWS, Scan, Unit
from trueup.errors import DataError

if TYPE_CHECKING:
    import pandas

UNIT_ROWS = 16 * BATCH_ROWS


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
    """A polars DataFrame, or a LazyFrame, which is collected."""
    try:
        eager = frame.collect() if hasattr(frame, "collect") else frame
    except Exception as error:  # polars raises its Rust panics and errors under many types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{source} cannot be collected: {reason}") from error
    arrays, mixed = [], []
    for column in eager.get_columns():
        array, conflict = _polars_array(column, source)
        arrays.append(array)
        if conflict:
            mixed.append(column.name)
    scan = scan_table(pa.table(arrays, names=list(eager.columns)), source)
    if mixed:
        scan.notes.insert(0, f"{some(mixed)}: values of different types, read as strings")
    return scan


def _polars_array(column: Any, source: str) -> tuple[pa.Array | pa.ChunkedArray, bool]:
    if str(column.dtype) == "Object":  # Arrow would hold the addresses of Python objects
        return array_of([_missing_to_none(value) for value in column.to_list()])
    try:
        return column.to_arrow(), False
    except Exception:  # noqa: BLE001  as above; Arrow lacks integers of 128 bits, and more
        try:
            return array_of(column.to_list())
        except Exception as error:
            raise DataError(
                f"column {quoted(column.name)} of {source} cannot be read as Arrow: {error}"
            ) from error


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
        return ".".join(encodable(str(part)) for part in label)
    if label is None or label != label:  # None and NaN are no names
        return ""
    return encodable(str(label))


def _pandas_array(
    series: pandas.Series[Any], name: str, source: str, notes: list[str]
) -> tuple[pa.Array | pa.ChunkedArray, bool]:
    dtype = series.dtype
    if dtype.kind == "O" and str(dtype) == "object":
        return _object_array(series, name, source, notes)
    if str(dtype).startswith("complex"):
        raise _complex(name, source)
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
    if kind == "complex":
        raise _complex(name, source)
    try:
        return pa.array(series, from_pandas=True), False
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return array_of([_missing_to_none(value) for value in series.tolist()])


def _complex(name: str, source: str) -> DataError:
    return DataError(
        f"column {quoted(name)} of {source} holds complex numbers",
        remedy="split it into real and imaginary part",
    )


def _aware_array(series: pandas.Series[Any], name: str, notes: list[str]) -> pa.Array:
    """Python datetimes, perhaps of several zones, as times in UTC. (Not by pandas, whose times
    end in 2262.)"""
    values = [_missing_to_none(value) for value in series]
    zones = {str(value.tzinfo or "no zone") for value in values if value is not None}
    if len(zones) > 1:
        said = ", ".join(sorted(zones))
        notes.append(f"{quoted(name)}: times of several zones ({said}), read as UTC")
    elif zones == {"no zone"}:
        notes.append(f"{quoted(name)}: times without a zone, taken as UTC")
    times = [_in_utc(value) for value in values]
    lost = times.count(None) - values.count(None)
    if lost:
        what = "1 time" if lost == 1 else f"{lost} times"
        notes.append(f"{quoted(name)}: {what} outside the years 1 to 9999, read as missing")
    return pa.array(times, TIME)


def _in_utc(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    try:
        return value.astimezone(timezone.utc)
    except OverflowError:
        return None


def _missing_to_none(value: Any) -> Any:
    import pandas

    missing = pandas.isna(value) if pandas.api.types.is_scalar(value) else False
    return None if missing else value
