"""Python values as Arrow arrays, also where the values of one column are of different types.

Arrow infers nested types itself and quickly; only what it refuses is looked at value by value.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from trueup.datasets.encoding import encodable


def array_of(values: Sequence[Any]) -> tuple[pa.Array, bool]:
    """``values`` as an array, and whether they had different types (then it is string).

    >>> array_of([1, None, 2.5])[0].type, array_of([1, "a", {"b": 2}])[0].to_pylist()
    (DataType(double), ['1', 'a', '{"b":2}'])
    """
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _mixed(values)
    if pa.types.is_boolean(array.type) or not _has_boolean(array.type, values):
        return array, False
    return _mixed(values)


def _has_boolean(kind: pa.DataType, values: Sequence[Any]) -> bool:
    """Arrow reads ``[1, True]`` as integers; here that is a conflict."""
    return bool(
        (pa.types.is_integer(kind) or pa.types.is_floating(kind)) and bool in set(map(type, values))
    )


def _mixed(values: Sequence[Any]) -> tuple[pa.Array, bool]:
    present = [value for value in values if value is not None]
    kinds = {_kind(value) for value in present}
    if kinds == {"number"}:
        return pa.array([None if v is None else _float(v) for v in values], pa.float64()), False
    if "list" in kinds and "object" not in kinds:
        return _mixed_lists(values)
    if kinds == {"object"}:
        return _mixed_objects(values)
    if kinds == {"binary", "string"} or kinds == {"string"}:
        return pa.array([None if v is None else text_of(v) for v in values], pa.string()), False
    conflict = len(kinds) > 1 or kinds == {
        "time"
    }  # values of one foreign class, such as UUID, agree
    return pa.array([None if v is None else text_of(v) for v in values], pa.string()), conflict


def _float(value: Any) -> float:
    """Infinite for integers beyond the range of floats."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _kind(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "bool"
    if isinstance(value, int | float | decimal.Decimal | np.number):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, bytes):
        return "binary"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return "list"
    if isinstance(value, datetime.datetime | datetime.date):
        return "time"
    return type(value).__name__


def _mixed_lists(values: Sequence[Any]) -> tuple[pa.Array, bool]:
    """Lists whose elements differ in type, or lists among scalars (each a list of one)."""
    rows = [_elements(value) for value in values]
    flat, conflict = array_of([element for row in rows if row is not None for element in row])
    lengths = np.array([0 if row is None else len(row) for row in rows], dtype=np.int64)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    mask = np.array([row is None for row in rows] + [False])
    return pa.ListArray.from_arrays(pa.array(offsets, mask=mask), flat), conflict


def _elements(value: Any) -> list[Any] | None:
    if value is None:
        return None
    return list(value) if _kind(value) == "list" else [value]


def _mixed_objects(values: Sequence[Any]) -> tuple[pa.Array, bool]:
    names = list(dict.fromkeys(name for value in values if value is not None for name in value))
    children, conflict = [], False
    for name in names:
        child, conflicts = array_of([None if v is None else v.get(name) for v in values])
        children.append(child)
        conflict = conflict or conflicts
    return pa.StructArray.from_arrays(children, [encodable(str(name)) for name in names]), conflict


def text_of(value: Any) -> str:
    """A value as text: strings as they are, structures as JSON.

    >>> text_of(1.5), text_of(True), text_of([1, 2]), text_of(b"\\xff")
    ('1.5', 'true', '[1,2]', '\\\\xff')
    """
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, dict | list | tuple):
        try:
            return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:
            return str(value)
    return str(value)
