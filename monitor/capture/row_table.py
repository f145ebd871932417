"""Decoded rows as the columns of a Parquet file, and the tables of one file put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.monitor.capture.decode import Part, column_names
from trueup.monitor.capture.drift import conformed_table, held_schema
from trueup.monitor.capture.event_time import NONE, EventTimes
from trueup.monitor.capture.row_schema import FIXED, INPUT, SOURCES, TIME

CONSTANT = ("segment", "model")
"""Columns of :data:`FIXED` that are the same in a whole file: added when it is put together."""

_OF_FRAMES = ("request_id", "version", "alias", "arm", "signature", "status", "error", "latency_us")


def row_table(part: Part, times: EventTimes) -> pa.Table:
    """All columns of ``part`` but the constant ones and ``row_id``."""
    named = column_names(part)
    block, rows = part.block, part.rows
    of_row = None if rows == len(block) else np.repeat(np.arange(len(block)), part.counts)

    def spread(values: pa.Array | np.ndarray) -> pa.Array:
        array = values if isinstance(values, pa.Array) else pa.array(values)
        return array if of_row is None else array.take(pa.array(of_row))

    columns = {name: spread(block.column(name)) for name in _OF_FRAMES}
    columns["frame"] = spread(block.number)
    columns["shadow"] = spread(block.shadow)
    columns["sample_rate"] = spread(block.column("sample_rate"))
    columns["arrival_time"] = spread(block.column("arrival_us")).view(TIME)
    first = np.cumsum(part.counts) - part.counts
    columns["row"] = pa.array(np.arange(rows) - np.repeat(first, part.counts))
    columns["event_time"] = pa.array(times.us).view(TIME)
    columns["event_time_source"] = pa.array(SOURCES).take(pa.array(times.source))
    readable = part.readable
    columns["readable"] = pa.array(np.ones(rows, bool) if readable is None else readable)
    columns["raw_request"] = _sparse(part.raw, rows, pa.string())
    columns["type_errors"] = _sparse(part.misfits, rows, pa.list_(pa.string()))
    columns |= {**named.inputs, **named.outputs}
    return pa.table(columns)


def _sparse(values: Mapping[int, object], rows: int, kind: pa.DataType) -> pa.Array:
    """Null but where ``values`` has something."""
    if not values:
        return pa.nulls(rows, kind)
    return pa.array([values.get(row) for row in range(rows)], kind)


def whole_table(tables: Sequence[pa.Table], *, segment: str, model: str) -> pa.Table:
    """The rows of ``tables`` in order of event time (then of frame and row), with all columns in
    the order of the schema, in one chunk. An input that no row has is left out."""
    table = concatenated(tables)
    order = _order(table)
    if order is not None:
        table = table.take(pa.array(order)).combine_chunks()
    rows = table.num_rows
    constant = {"segment": segment, "model": model}
    table = table.append_column("segment", _repeated(segment, rows))
    table = table.append_column("model", _repeated(constant["model"], rows))
    frame, row = (table.column(name).cast(pa.string()) for name in ("frame", "row"))
    identity = pc.binary_join_element_wise(table.column("segment"), frame, row, "-")
    table = table.append_column("row_id", identity)
    variables = [name for name in table.column_names if name not in FIXED.names]
    inputs = sorted(name for name in variables if name.startswith(INPUT))
    outputs = sorted(name for name in variables if not name.startswith(INPUT))
    wrong = _named_errors(table)
    kept = [n for n in inputs if table.column(n).null_count < rows or n[len(INPUT) :] in wrong]
    kept += [name for name in outputs if table.column(name).null_count < rows]
    fields = [*FIXED, *(pa.field(name, table.schema.field(name).type) for name in kept)]
    return table.select([field.name for field in fields]).cast(pa.schema(fields))


def _named_errors(table: pa.Table) -> set[str]:
    return set(pc.unique(pc.list_flatten(table.column("type_errors"))).to_pylist())


def _repeated(text: str, rows: int) -> pa.Array:
    return pa.array([text], pa.string()).take(pa.array(np.zeros(rows, np.int64)))


def _order(table: pa.Table) -> np.ndarray | None:
    """How to sort ``table``; ``None`` where it is sorted."""
    event = table.column("event_time").combine_chunks().view(pa.int64()).to_numpy()
    frame, row = (table.column(name).to_numpy() for name in ("frame", "row"))
    if (np.diff(event) >= 0).all() and (np.diff(frame) >= 0).all():
        return None
    return np.lexsort((row, frame, event))


def concatenated(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows, with types that hold the values of each column in every table."""
    schema = held_schema(table.schema for table in tables)
    conformed = [conformed_table(table, schema) for table in tables]
    return pa.concat_tables(conformed).combine_chunks()


def header_us(part: Part) -> np.ndarray:
    """Event times of requests' headers by row, int64; ``NONE`` where there is none."""
    of_frames = part.block.column("event_us").fill_null(NONE).to_numpy()
    return np.repeat(of_frames, part.counts)


def arrival_us(part: Part) -> np.ndarray:
    return np.repeat(part.block.numbers("arrival_us").astype(np.int64), part.counts)
