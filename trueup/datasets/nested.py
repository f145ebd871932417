"""Nested columns as leaf columns: ``{"a": {"b": 1}}`` becomes ``a.b``, a list of structures the
multi-valued ``a[].b``, a map the two lists ``a[].key`` and ``a[].value``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.datasets.columns import is_list, leaf_type, list_of
from trueup.datasets.encoding import encodable
from trueup.errors import DataError


def leaf_fields(name: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    """Names and leaf types of the leaf columns of a column of type ``kind``.

    >>> list(leaf_fields("a", pa.list_(pa.struct([("b", pa.int64())]))))
    [('a[].b', ListType(list<item: int64>))]
    """
    if pa.types.is_struct(kind) and kind.num_fields:
        for field in kind:
            yield from leaf_fields(f"{name}.{field.name}", field.type)
    elif pa.types.is_map(kind):
        entry = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        yield from _element_fields(name, entry)
    elif is_list(kind) and _has_structures(kind.value_type):
        yield from _element_fields(name, kind.value_type)
    elif pa.types.is_struct(kind):
        yield name, pa.null()  # a structure without fields says nothing but its name
    else:
        yield name, leaf_type(kind)


def _has_structures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return bool(kind.num_fields)
    if pa.types.is_map(kind):
        return True
    return is_list(kind) and _has_structures(kind.value_type)


def _element_fields(name: str, element: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    for leaf, kind in leaf_fields(f"{name}[]", element):
        yield leaf, kind if pa.types.is_list(kind) else pa.list_(kind)


def leaf_arrays(name: str, array: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    """The leaf columns of one column, with the names of :func:`leaf_fields`. Types may still be
    wider than leaf types (see :func:`~trueup.datasets.columns.coerce`)."""
    kind = array.type
    if pa.types.is_struct(kind) and kind.num_fields:
        for field, child in zip(kind, array.flatten(), strict=True):
            yield from leaf_arrays(f"{name}.{field.name}", child)
    elif pa.types.is_map(kind):
        yield from _element_arrays(name, *_map_entries(array))
    elif is_list(kind) and _has_structures(kind.value_type):
        yield from _element_arrays(name, pc.list_value_length(array), array.flatten())
    elif pa.types.is_struct(kind):
        yield name, pa.nulls(len(array))
    else:
        yield name, array


def _map_entries(array: pa.MapArray) -> tuple[pa.Array, pa.Array]:
    offsets = array.offsets.to_numpy(zero_copy_only=False)
    lengths = pa.array(np.diff(offsets), mask=array.is_null().to_numpy(zero_copy_only=False))
    first, last = int(offsets[0]), int(offsets[-1])
    entries = pa.StructArray.from_arrays(
        [array.keys[first:last], array.items[first:last]], ["key", "value"]
    )
    return lengths, entries


def _element_arrays(
    name: str, lengths: pa.Array, elements: pa.Array
) -> Iterator[tuple[str, pa.Array]]:
    for leaf, child in leaf_arrays(f"{name}[]", elements):
        yield leaf, list_of(lengths, child)


def top_names(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of top-level columns with the empty and blank ones filled in, and notes about those.

    >>> top_names(["a", ""])
    (['a', 'column_2'], ["column 2 has no name: called 'column_2'"])
    """
    filled, notes = [], []
    for place, name in enumerate(names, start=1):
        if not name.strip():
            name = f"column_{place}"
            while name in names:
                name += "_"
            notes.append(f"column {place} has no name: called {name!r}")
        filled.append(name)
    return filled, notes


def key_name(key: str) -> str:
    """The column of a key of JSON lines or of an Example, which have no order to be named by.

    >>> key_name("fare"), key_name(" ")
    ('fare', 'unnamed')
    """
    return encodable(key) if key.strip() else "unnamed"


def flatten(batch: pa.RecordBatch) -> pa.RecordBatch:
    """``batch`` with leaf columns instead of nested ones."""
    names, arrays = [], []
    for name, array in zip(top_names(batch.schema.names)[0], batch.columns, strict=True):
        for leaf, child in leaf_arrays(name, array):
            names.append(leaf)
            arrays.append(child)
    return pa.RecordBatch.from_arrays(arrays, names=names) if names else batch


def leaf_types(schema: pa.Schema, source: str) -> tuple[dict[str, pa.DataType], list[str]]:
    """Leaf type by leaf name of all columns, and notes about what reading changes in values.

    :raises DataError: when two columns share a name.
    """
    names, notes = top_names(schema.names)
    notes = [f"{source}: {note}" for note in notes]
    leaves = [
        leaf
        for name, kind in zip(names, schema.types, strict=True)
        for leaf in leaf_fields(name, kind)
    ]
    flat_names([name for name, _ in leaves], source)
    said: dict[str, list[str]] = {}
    for name, kind in zip(names, schema.types, strict=True):
        for change in sorted(_changes(kind)):
            said.setdefault(change, []).append(name)
    notes += [f"{some(columns)}: {change}" for change, columns in said.items()]
    return dict(leaves), notes


def _changes(kind: pa.DataType) -> set[str]:
    """What reading changes in the values of a column of type ``kind``, in words."""
    t = pa.types
    if t.is_map(kind):
        inner = _changes(kind.key_type) | _changes(kind.item_type)
        return inner | {"a map, read as the lists [].key and [].value"}
    if t.is_struct(kind):
        return {change for field in kind for change in _changes(field.type)}
    if is_list(kind):
        inner = _changes(kind.value_type)
        if is_list(kind.value_type):
            inner |= {"lists of lists, read as one list per row"}
        return inner
    if t.is_timestamp(kind) and kind.tz is None:
        return {"times without a zone, taken as UTC"}
    if t.is_time(kind):
        return {"times of day, read as seconds since midnight"}
    if t.is_duration(kind):
        return {"durations, read as seconds"}
    return set()


def some(columns: Sequence[str], shown: int = 3) -> str:
    """The first columns by name and how many more there are.

    >>> some(["a", "b", "c", "d"], 2)
    "'a', 'b' and 2 more"
    """
    listed = ", ".join(map(quoted, columns[:shown]))
    more = len(columns) - shown
    return f"{listed} and {more} more" if more > 0 else listed


def quoted(name: str, limit: int = 80) -> str:
    """A column's name in quotes for a sentence: on one line, and cut where it is endless."""
    text = repr(name)
    return text if len(text) <= limit + 2 else f"{text[:limit]}…{text[-1]}"


def flat_names(names: Sequence[str], source: str) -> Sequence[str]:
    """``names`` as they are; :class:`DataError` where two columns share one."""
    if len(set(names)) != len(names):
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise DataError(
                    f"{source} has two columns named {quoted(name)}",
                    remedy="rename one of them; a column is known by its name alone",
                )
            seen.add(name)
    return names
