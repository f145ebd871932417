"""JSON values as a column of the type that a variable is declared with, one value at a time where
it must be: what does not fit is null and named, so that nothing is lost in silence.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from trueup.datasets.encoding import encodable
from trueup.datasets.json_values import array_of
from trueup.datasets.times import parse_times
from trueup.monitor.capture.json_rows import dumped
from trueup.monitor.capture.row_schema import DEEPEST, TIME, nested, unnested

MISFIT = object()
"""What a converter gives for a value that is none of its type."""

_EXACT = 1 << 53
_INT64, _UINT64 = (-(1 << 63), 1 << 63), (0, 1 << 64)

Converter = Callable[[Any], Any]


def typed(values: Sequence[Any], kind: pa.DataType) -> tuple[pa.Array, np.ndarray | None]:
    """``values`` as an array of ``kind``, and which of them do not fit (null there), if any.

    Fractions among declared integers fit and make the array float64: they are what shows that
    another unit arrived. ``[x]`` fits where a scalar is declared, as models with an axis of one
    are called; a scalar fits where a list is declared.

    >>> array, misfits = typed([1, "2", None], pa.float64())
    >>> array.to_pylist(), misfits.tolist()
    ([1.0, None, None], [False, True, False])
    """
    leaf, depth = unnested(kind)
    if leaf == TIME:
        return _times(values, depth)
    quick = _quick(values, kind)
    if quick is not None:
        return quick, None
    if pa.types.is_integer(leaf) and _has_fraction(values):
        leaf = pa.float64()
    convert = _converter(leaf)
    found = [None if value is None else _shaped(value, depth, convert) for value in values]
    wrong = np.array([value is MISFIT for value in found], bool)
    array = pa.array([None if value is MISFIT else value for value in found], nested(leaf, depth))
    return array, wrong if wrong.any() else None


def inferred(values: Sequence[Any]) -> pa.Array:
    """``values`` of an undeclared variable as an array of the type that holds them all: objects as
    JSON text, ``{"b64": …}`` as bytes, strings where types are mixed."""
    plain = [dumped(value) if _is_deep(value) else _plain(value) for value in values]
    kinds = set(map(type, plain)) - {type(None)}
    if len(kinds) == 1 or kinds == {int, float}:
        try:
            return pa.array(plain)  # NaN stays NaN, and is not null
        except (pa.ArrowException, OverflowError):
            pass
    return array_of(plain)[0]


def _quick(values: Sequence[Any], kind: pa.DataType) -> pa.Array | None:
    """By Arrow alone, where all values are of one class that it reads as JSON means it."""
    if pa.types.is_list(kind):
        return None
    kinds = set(map(type, values)) - {type(None)}
    if pa.types.is_floating(kind):
        if not kinds <= {float, int}:
            return None
        try:
            wide = pa.array(values, pa.float64(), from_pandas=False)
        except (pa.ArrowException, OverflowError):  # an integer beyond 2**53, or beyond float
            return None
        return wide if kind == pa.float64() else narrowed(wide, kind)
    expected = bool if pa.types.is_boolean(kind) else str if pa.types.is_string(kind) else int
    if pa.types.is_binary(kind) or not kinds <= {expected}:
        return None
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return None


def narrowed(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """float64 as float32: what is beyond it is infinite, as TensorFlow reads it."""
    with np.errstate(over="ignore"):
        values = np.asarray(array.fill_null(0.0)).astype(np.float32)
    missing = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    return pa.array(values, kind, mask=missing, from_pandas=False)


def _shaped(value: Any, depth: int, convert: Converter) -> Any:
    """``value`` in ``depth`` lists, its leaves converted."""
    if value is None:
        return None
    if depth:
        elements = value if isinstance(value, list) else [value]
        found = [_shaped(element, depth - 1, convert) for element in elements]
        return MISFIT if any(element is MISFIT for element in found) else found
    while isinstance(value, list):
        if len(value) != 1:
            return MISFIT
        value = value[0]
        if value is None:
            return None
    return convert(value)


def _converter(leaf: pa.DataType) -> Converter:
    if pa.types.is_floating(leaf):
        single = leaf == pa.float32()
        return lambda value: _float(value, single)
    if pa.types.is_integer(leaf):
        low, high = _UINT64 if leaf == pa.uint64() else _INT64
        return lambda value: _integer(value, low, high)
    if pa.types.is_boolean(leaf):
        return lambda value: value if isinstance(value, bool) else MISFIT
    return _bytes if pa.types.is_binary(leaf) else _string


def _float(value: Any, single: bool) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return MISFIT
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    if single:
        with np.errstate(over="ignore"):
            return float(np.float32(number))
    return number


def _integer(value: Any, low: int, high: int) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < high:
        return MISFIT
    return value


def _has_fraction(values: Any) -> bool:
    if isinstance(values, list | tuple):
        return any(_has_fraction(value) for value in values)
    return isinstance(values, float) and not values.is_integer()  # NaN and infinities too


def _string(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    raw = unpacked(value)
    return MISFIT if raw is None else raw.decode("utf-8", "backslashreplace")


def _bytes(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace")
    raw = unpacked(value)
    return MISFIT if raw is None else raw


def unpacked(value: Any) -> bytes | None:
    """The bytes of ``{"b64": "…"}``; ``None`` of anything else."""
    if not isinstance(value, dict) or len(value) != 1 or not isinstance(value.get("b64"), str):
        return None
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError):
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        raw = unpacked(value)
        return dumped(value) if raw is None else raw
    if isinstance(value, list):
        return [_plain(element) for element in value]
    if isinstance(value, str) and not value.isascii():
        return encodable(value)
    return value


def _is_deep(value: Any) -> bool:
    """Whether there are more than :data:`DEEPEST` lists in one another."""
    if not isinstance(value, list):
        return False
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for each in level for inner in each if isinstance(inner, list)]
        if not level:
            return False
    return True


def _times(values: Sequence[Any], depth: int) -> tuple[pa.Array, np.ndarray | None]:
    """ISO 8601 texts; a number says nothing of its unit, so it is none."""
    texts, wrong = typed(values, nested(pa.string(), depth))
    if depth:
        return texts, wrong  # lists of times stay texts: no kind of statistics reads them
    times, failed = parse_times(texts)
    if failed:
        unread = times.is_null().to_numpy(zero_copy_only=False) & texts.is_valid().to_numpy(
            zero_copy_only=False
        )
        wrong = unread if wrong is None else wrong | unread
    return times, wrong
