"""Columns whose types differ between tables or files: the type that holds both, and rows in it."""

from __future__ import annotations

from collections.abc import Iterable

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
    """The type that holds both. Lists of lists are kept as such, where both sides have them."""
    if a == b:
        return a
    (leaf_a, depth_a), (leaf_b, depth_b) = unnested(a), unnested(b)
    if pa.types.is_null(a) or (pa.types.is_null(leaf_a) and depth_a <= depth_b):
        return b
    if pa.types.is_null(leaf_b) and depth_b <= depth_a:
        return a
    if depth_a == depth_b and depth_a > 1:
        return nested(unify(leaf_a, leaf_b)[0], depth_a)
    return unify(a, b)[0]


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
    if array.type == kind:
        return array
    if unnested(kind)[1] > 1:
        return array.cast(kind)
    return coerce(array, kind)
