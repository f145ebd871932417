"""Columns whose types differ between tables or files: the type that holds both, and rows in it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from trueup.datasets.columns import coerce, unify
from trueup.monitor.capture.row_schema import nested, unnested


def held_schema(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """The columns of all ``schemas``, each of a type that holds its values in every one."""
    kinds: dict[str, pa.DataType] = {}
    for schema in schemas:
        for field in schema:
            kinds[field.name] = held_type(kinds.get(field.name, pa.null()), field.type)
    return pa.schema(list(kinds.items()))


def held_type(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """The type that holds both: as many lists as the deeper one has, around a leaf that holds both
    leaves. Of several types it is the same in whatever order they come.

    >>> held_type(held_type(pa.list_(pa.int64()), pa.string()), pa.list_(pa.list_(pa.null())))
    ListType(list<item: list<item: string>>)
    """
    if a == b:
        return a
    (leaf_a, depth_a), (leaf_b, depth_b) = unnested(a), unnested(b)
    return nested(unify(leaf_a, leaf_b)[0], max(depth_a, depth_b))


def conformed_table(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """``table`` with exactly the columns of ``schema``, which comes of :func:`held_schema`; one
    that it lacks is null."""
    arrays = []
    for field in schema:
        if field.name not in table.column_names:
            arrays.append(pa.nulls(table.num_rows, field.type))
            continue
        column = table.column(field.name)
        array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        arrays.append(_coerced(array, field.type))
    return pa.table(arrays, schema=schema)


def _coerced(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """``array`` as ``kind``, which comes of :func:`held_type` over its type: fails on no value."""
    if array.type == kind:
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), kind)
    if not pa.types.is_list(kind):
        return _leaves(array, kind)
    if not pa.types.is_list(array.type):  # a value is a list of one
        inner = _coerced(array, kind.value_type)
        counts = array.is_valid().to_numpy(zero_copy_only=False).astype(np.int32)
        ends = np.concatenate([np.zeros(1, np.int32), np.cumsum(counts, dtype=np.int32)])
        there = inner.filter(array.is_valid())
        offsets = pa.array(ends, pa.int32(), mask=np.append(counts == 0, False))
        return pa.ListArray.from_arrays(offsets, there)
    validity, offsets = array.buffers()[:2]
    inner = _coerced(array.values, kind.value_type)
    return pa.Array.from_buffers(
        kind, len(array), [validity, offsets], offset=array.offset, children=[inner]
    )


def _leaves(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_floating(kind) and not pa.types.is_null(array.type):
        return array.cast(kind, safe=False)  # integers beyond 2**53 are rounded
    return coerce(array, kind)
