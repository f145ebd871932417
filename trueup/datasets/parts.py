"""A data set put together from units of reading: one schema over all of them, batches of bounded
size, partitions of similar weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from trueup.datasets.columns import coerce, sound, unify
from trueup.datasets.encoding import encodable
from trueup.datasets.nested import quoted, some
from trueup.errors import DataError

BATCH_ROWS = 65_536
BATCH_BYTES = 32 << 20
"""A batch is cut so that it stays near this, also with thousands of columns."""


class Unit(Protocol):
    """The smallest part of a data set that is read at once; picklable."""

    @property
    def weight(self) -> int:
        """Bytes or rows, the same for all units of a data set."""
        ...

    def read(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Batches that hold those columns of ``schema`` that this unit has (others may be there
        too), in types that :func:`~trueup.datasets.columns.coerce` turns into the schema's."""
        ...


@dataclass
class Scan:
    """What one file (or frame) was found to hold.

    :param source: its path, for messages.
    :param types: leaf type by column name, in order.
    """

    source: str
    types: dict[str, pa.DataType]
    units: list[Unit]
    rows: int
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Slice:
    """A run of units of one data set: a :class:`trueup.records.dataset.Partition`."""

    units: tuple[Unit, ...]
    schema: pa.Schema

    @property
    def weight(self) -> int:
        return sum(unit.weight for unit in self.units)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        schema = self.schema if columns is None else select(self.schema, columns)
        for unit in self.units:
            for batch in unit.read(schema):
                yield from bounded(conform(batch, schema))


@dataclass(frozen=True)
class UnitDataset:
    """A :class:`trueup.records.dataset.Dataset` of units.

    :param rows: number of rows, counted when the data set was opened.
    :param files: number of files, or 0 for data in memory.
    """

    name: str
    schema: pa.Schema
    units: tuple[Unit, ...]
    rows: int
    files: int = 0
    notes: tuple[str, ...] = ()

    def partitions(self, target: int) -> list[Slice]:
        """At most ``target`` runs of consecutive units of similar weight; all rows are in one."""
        total = sum(unit.weight for unit in self.units)
        share = max(total / max(target, 1), 1)
        groups: list[list[Unit]] = []
        seen, last = 0, -1
        for unit in self.units:
            group = min(int(seen / share), max(target, 1) - 1)
            if group > last:
                groups.append([])
                last = group
            groups[-1].append(unit)
            seen += unit.weight
        return [Slice(tuple(group), self.schema) for group in groups]


def select(schema: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    """The fields named ``columns``, in that order; :class:`DataError` when one is not there."""
    by_name = {field.name: field for field in schema}
    for column in columns:
        if column not in by_name:
            raise DataError(f"there is no column {quoted(column)} in the data")
    return pa.schema([by_name[column] for column in columns])


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """``batch`` with exactly the fields of ``schema`` and text that is valid; a column it lacks is
    all null."""
    have = {name: index for index, name in enumerate(batch.schema.names)}
    arrays = [
        sound(coerce(batch.column(have[field.name]), field.type))
        if field.name in have
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return batch_of(arrays, schema, batch.num_rows)


def batch_of(arrays: list[pa.Array], schema: pa.Schema, rows: int) -> pa.RecordBatch:
    """A batch of ``rows`` rows, also when there are no columns to tell it."""
    if arrays:
        return pa.RecordBatch.from_arrays(arrays, schema=schema)
    empty = pa.StructArray.from_buffers(pa.struct([]), rows, [None])
    return pa.RecordBatch.from_struct_array(empty)


def bounded(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """``batch`` in slices of at most 64 thousand rows and about 32 MB (at least one row)."""
    rows = batch.num_rows
    limit = BATCH_ROWS
    if batch.num_columns and batch.nbytes > BATCH_BYTES:
        limit = max(1, min(limit, rows * BATCH_BYTES // batch.nbytes))
    if rows <= limit:
        if rows:
            yield batch
        return
    for start in range(0, rows, limit):
        yield batch.slice(start, limit)


def assemble(name: str, scans: Sequence[Scan], *, notes: Sequence[str] = ()) -> UnitDataset:
    """One data set of what was found; types unified, no column dropped.

    :raises DataError: when there are no columns or no rows at all.
    """
    types, conflicts = _unify_scans(scans)
    rows = sum(scan.rows for scan in scans)
    if not types:
        raise DataError(
            f"{name} is empty: it has no columns", remedy="give data with rows and columns"
        )
    if not rows:
        raise DataError(
            f"{name} has columns ({some(list(types))}) but no rows",
            remedy="give data with rows and columns",
        )
    said = list(notes)
    for scan in scans:
        said += scan.notes
        absent = [column for column in types if column not in scan.types]
        if absent and len(scans) > 1:
            said.append(
                f"{scan.source} lacks {some(absent)}, which other files have: null in its rows"
            )
    said += [
        f"column {quoted(column)} has values of different types ({', '.join(kinds)}): read as "
        "strings"
        for column, kinds in conflicts.items()
    ]
    schema = pa.schema([pa.field(column, kind) for column, kind in types.items()])
    units = tuple(unit for scan in scans for unit in scan.units)
    shown = tuple(dict.fromkeys(map(encodable, said)))  # paths need not be UTF-8
    return UnitDataset(encodable(name), schema, units, rows, len(scans), shown)


def _unify_scans(
    scans: Sequence[Scan],
) -> tuple[dict[str, pa.DataType], dict[str, list[str]]]:
    types: dict[str, pa.DataType] = {}
    conflicts: dict[str, list[str]] = {}
    for scan in scans:
        for column, kind in scan.types.items():
            before = types.get(column)
            if before is None:
                types[column] = kind
                continue
            types[column], conflict = unify(before, kind)
            if conflict:
                named = conflicts.setdefault(column, [plain_name(before)])
                if plain_name(kind) not in named:
                    named.append(plain_name(kind))
    return _without_hollow(types), conflicts


def _without_hollow(types: dict[str, pa.DataType]) -> dict[str, pa.DataType]:
    """``types`` without a nested column's own name, which a part has where all its structures
    are missing: its leaves, known from other parts, say the same."""
    inner = {name[:place] for name in types for place, sign in enumerate(name) if sign in ".["}
    return {
        name: kind
        for name, kind in types.items()
        if name not in inner or kind not in (pa.null(), pa.list_(pa.null()))
    }


def plain_name(kind: pa.DataType) -> str:
    """A type in a user's words.

    >>> plain_name(pa.list_(pa.float32())), plain_name(pa.timestamp("us", "UTC"))
    ('list of numbers', 'time')
    """
    t = pa.types
    if t.is_list(kind):
        return f"list of {plain_name(kind.value_type)}s"
    if t.is_integer(kind):
        return "integer"
    if t.is_floating(kind):
        return "number"
    if t.is_boolean(kind):
        return "true/false"
    if t.is_temporal(kind):
        return "time"
    return str(kind)
