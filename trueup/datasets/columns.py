"""The few Arrow types that a data set's columns have, how types of several files are unified, and
how an array becomes one of another type.

Leaf types: null, bool, integers, float32, float64, string, binary, ``timestamp[us, UTC]``, and
lists of these.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TIME = pa.timestamp("us", "UTC")
_NAIVE_TIME = pa.timestamp("us")
_UNITS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def leaf_type(kind: pa.DataType) -> pa.DataType:
    """The leaf type that values of ``kind`` are read as.

    Times of day and durations become seconds, decimals float64, dates and times
    ``timestamp[us, UTC]``, categories their values, nested lists one list.

    >>> leaf_type(pa.decimal128(9, 2)), leaf_type(pa.date32())
    (DataType(double), TimestampType(timestamp[us, tz=UTC]))
    """
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return leaf_type(kind.storage_type)
    if t.is_dictionary(kind):
        return leaf_type(kind.value_type)
    if is_list(kind):
        inner = leaf_type(kind.value_type)
        return inner if t.is_list(inner) else pa.list_(inner)
    if t.is_float16(kind):
        return pa.float32()
    if t.is_decimal(kind) or t.is_time(kind) or t.is_duration(kind):
        return pa.float64()
    if t.is_temporal(kind) and not t.is_interval(kind):
        return TIME
    if _is_binary_like(kind):
        return pa.binary()
    if t.is_null(kind) or t.is_boolean(kind) or t.is_integer(kind) or t.is_floating(kind):
        return kind
    return pa.string()  # strings, and what has no better form (intervals)


def is_list(kind: pa.DataType) -> bool:
    """Whether ``kind`` is a list of any width."""
    t = pa.types
    return bool(t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind))


def unify_all(kinds: Iterable[pa.DataType]) -> tuple[pa.DataType, bool]:
    """The leaf type that holds values of all ``kinds``, and whether they conflict.

    >>> unify_all([pa.int64(), pa.float64(), pa.null()])
    (DataType(double), False)
    >>> unify_all([pa.int64(), pa.string()])
    (DataType(string), True)
    """
    result, conflict = pa.null(), False
    for kind in kinds:
        result, conflicts = unify(result, kind)
        conflict = conflict or conflicts
    return result, conflict


def unify(a: pa.DataType, b: pa.DataType) -> tuple[pa.DataType, bool]:
    """The leaf type that holds values of both leaf types, and whether they conflict (then it is
    string). Integers widen, integers and floats become float64, a scalar and a list a list."""
    t = pa.types
    if a == b or t.is_null(b):
        return a, False
    if t.is_null(a):
        return b, False
    if t.is_list(a) or t.is_list(b):
        inner_a = a.value_type if t.is_list(a) else a
        inner_b = b.value_type if t.is_list(b) else b
        inner, conflict = unify(inner_a, inner_b)
        return pa.list_(inner), conflict
    if _is_number(a) and _is_number(b):
        return _wider(a, b), False
    return pa.string(), True


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_binary_like(kind: pa.DataType) -> bool:
    t = pa.types
    view = getattr(t, "is_binary_view", None)  # arrow >= 16
    return bool(
        t.is_binary(kind)
        or t.is_large_binary(kind)
        or t.is_fixed_size_binary(kind)
        or (view is not None and view(kind))
    )


def _wider(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    if pa.types.is_integer(a) and pa.types.is_integer(b):
        both = np.promote_types(a.to_pandas_dtype(), b.to_pandas_dtype())
        return pa.from_numpy_dtype(both)  # int64 with uint64 is float64
    return pa.float64()


def coerce(array: pa.Array, target: pa.DataType) -> pa.Array:
    """``array`` as leaf type ``target``, which must come from :func:`leaf_type` and
    :func:`unify` over its type; so it never fails on values."""
    t = pa.types
    if array.type == target:
        return array
    if isinstance(array, pa.ExtensionArray):
        return coerce(array.storage, target)
    if t.is_null(array.type):
        return pa.nulls(len(array), target)
    if t.is_dictionary(array.type):
        return coerce(array.dictionary_decode(), target)
    if is_list(array.type):
        return _coerce_list(array, target)
    if t.is_list(target):
        return _wrap(coerce(array, target.value_type))
    plain = _plain(array)
    if plain.type == target:
        return plain
    if t.is_string(target):
        return _as_string(plain)
    return plain.cast(target)


def _coerce_list(array: pa.Array, target: pa.DataType) -> pa.Array:
    lengths = pc.list_value_length(array)
    values = array.flatten()
    if is_list(values.type):  # list<list<x>>: the elements of all inner lists, in order
        inner = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
        ends = np.concatenate(([0], np.cumsum(inner)))
        bounds = _offsets(lengths)
        lengths = pa.array(np.diff(ends[bounds]), mask=_null_mask(lengths))
        return _coerce_list(list_of(lengths, values.flatten()), target)
    return list_of(lengths, coerce(values, target.value_type))


def _offsets(lengths: pa.Array) -> np.ndarray:
    filled = pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)
    return np.concatenate(([0], np.cumsum(filled, dtype=np.int64)))


def _null_mask(array: pa.Array) -> np.ndarray:
    mask: np.ndarray = array.is_null().to_numpy(zero_copy_only=False)
    return mask


def list_of(lengths: pa.Array, values: pa.Array) -> pa.ListArray:
    """Lists of ``lengths`` (null: a null list) over consecutive ``values``."""
    offsets = _offsets(lengths).astype(np.int32)
    if not lengths.null_count:
        return pa.ListArray.from_arrays(pa.array(offsets), values)
    mask = np.append(_null_mask(lengths), False)
    return pa.ListArray.from_arrays(pa.array(offsets, mask=mask), values)


def _wrap(array: pa.Array) -> pa.ListArray:
    """Each value as a list of one; null stays null."""
    lengths = pa.array(np.ones(len(array), dtype=np.int64), mask=_null_mask(array))
    return list_of(lengths, array.drop_null())


def _plain(array: pa.Array) -> pa.Array:
    """The array with its natural leaf type."""
    t, kind = pa.types, array.type
    if t.is_float16(kind):
        values = np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float32)
        return pa.array(values, mask=_null_mask(array))
    if t.is_decimal(kind):
        return array.cast(pa.float64())
    if t.is_time(kind) or t.is_duration(kind):
        whole = array.cast(pa.int32() if t.is_time32(kind) else pa.int64())
        return pc.divide(whole.cast(pa.float64(), safe=False), float(_per_second(kind)))
    if t.is_timestamp(kind):
        return _microseconds(array, pa.timestamp("us", kind.tz))
    if t.is_date(kind):
        return _microseconds(array, _NAIVE_TIME)
    if _is_binary_like(kind):
        return array.cast(pa.binary())
    if kind == leaf_type(kind):
        return array
    try:
        return array.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([None if v is None else str(v) for v in array.to_pylist()], pa.string())


def _microseconds(times: pa.Array, target: pa.DataType) -> pa.Array:
    """Times and dates as :data:`TIME`; null where 64 bits of microseconds do not reach (beyond
    the year 290,000). Nanoseconds are cut."""
    kind = times.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return times.cast(target, safe=False).view(TIME)
    try:
        return times.cast(target).view(TIME)
    except pa.ArrowInvalid:
        far = (1 << 63) // _microseconds_per_tick(kind) - 1
        ticks = times.view(pa.int32() if pa.types.is_date32(kind) else pa.int64())
        near = pc.and_(pc.greater_equal(ticks, -far), pc.less_equal(ticks, far))
        reached = pc.if_else(near, times, pa.scalar(None, kind))
        return reached.cast(target).view(TIME)


def _microseconds_per_tick(kind: pa.DataType) -> int:
    if pa.types.is_date32(kind):
        return 86_400_000_000
    return 1_000 if pa.types.is_date64(kind) else 1_000_000 // _UNITS_PER_SECOND[kind.unit]


def _per_second(kind: pa.DataType) -> int:
    return _UNITS_PER_SECOND[str(kind).partition("[")[2].rstrip("]")]  # arrow 10 has no time.unit


def _as_string(array: pa.Array) -> pa.Array:
    if array.type == TIME:
        return pc.binary_join_element_wise(array.view(_NAIVE_TIME).cast(pa.string()), "Z", "")
    if pa.types.is_binary(array.type):
        return decode(array)
    return array.cast(pa.string())


def sound(array: pa.Array) -> pa.Array:
    """``array``, of a leaf type, with backslash escapes where its text is not UTF-8.

    Parquet and Arrow do not check what a writer calls a string, and the first value that Python
    has to see would fail.

    >>> broken = pa.array([b"ok", b"a\\xff"]).view(pa.string())
    >>> sound(broken).to_pylist()
    ['ok', 'a\\\\xff']
    """
    t = pa.types
    if t.is_string(array.type):
        return decode(array.cast(pa.binary()))
    if t.is_list(array.type) and t.is_string(array.type.value_type):
        elements = array.flatten()
        if sound(elements).equals(elements):
            return array
        return list_of(pc.list_value_length(array), sound(elements))
    return array


def decode(array: pa.Array) -> pa.Array:
    """Binary as string; bytes that are not UTF-8 are replaced by backslash escapes.

    >>> decode(pa.array([b"ok", b"a\\xff", None])).to_pylist()
    ['ok', 'a\\\\xff', None]
    """
    try:
        return array.cast(pa.string())
    except pa.ArrowInvalid:
        texts = [
            None if value is None else value.decode("utf-8", "backslashreplace")
            for value in array.to_pylist()
        ]
        return pa.array(texts, pa.string())
