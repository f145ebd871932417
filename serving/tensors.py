"""JSON values to arrays, a whole column at a time, under TensorFlow Serving's rules.

The rules are those of ``AddValueToTensor`` and ``FillTensorProto`` in TensorFlow Serving's
``util/json_tensor.cc``; where it wraps small integers silently, we refuse them.
Values are looked at one by one only to say which one does not fit.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, islice
from types import NoneType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trueup.errors import BadInputError
from trueup.serving.signature import TensorSpec

Array = NDArray[Any]
Dims = tuple[int, ...]

# What a variable that must be given has in place of an encoding of "missing".
REQUIRED: Any = object()

# NumPy 1.x has arrays of at most 32 dimensions, and one of them is the batch's.
HIGHEST_RANK = 31
# TensorFlow Serving cuts what it shows of a value at as many bytes (kMaxJsonDebugStringBytes).
_SHOWN_CHARACTERS = 256
_SHOWN_ITEMS = 16

_NUMBERS = frozenset({float, int})
_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
_INTEGERS = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})
# TensorFlow's names of types in its messages (DataTypeString).
_TYPE_NAMES = {"float32": "float", "float64": "double", "float16": "half"}


class InvalidRequest(BadInputError):
    """A request that is not as it must be: HTTP 400, with the message as the ``error``."""

    status: ClassVar[int] = 400


class Misfit(Exception):
    """A value that does not fit its tensor.

    :param row: its place in the column.
    """

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row = row
        self.reason = reason


def shape_of(value: Any) -> Dims:
    """The shape that a JSON value claims: that of its first elements; ``()`` for a scalar."""
    dims: list[int] = []
    while type(value) is list:
        dims.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(dims)


def shape_text(shape: Sequence[int | None] | None) -> str:
    """A shape as TensorFlow Serving prints it.

    >>> shape_text((None, 8))
    '[-1,8]'
    """
    if shape is None:
        return "[?]"
    return "[" + ",".join("-1" if dim is None else str(dim) for dim in shape) + "]"


def array_of(spec: TensorSpec, column: Sequence[Any], dims: Dims, missing: Any = REQUIRED) -> Array:
    """The array of a column of row values.

    :param column: one JSON value per row.
    :param dims: the shape of each row.
    :param missing: what ``null`` stands for; ``REQUIRED`` refuses it.
    :return: shape ``(len(column), *dims)``, of the spec's dtype (strings: ``object``).
    :raises Misfit: where a value has another type, range or shape.
    """
    try:
        array = _converted(spec, column, dims, missing)
    except _Unfit:
        raise _misfit(spec, column, dims, missing) from None
    return array.reshape((len(column), *dims)) if dims else array


def _converted(spec: TensorSpec, column: Sequence[Any], dims: Dims, missing: Any) -> Array:
    values = flatten(column, dims, missing) if dims else column
    return _CONVERTERS.get(spec.dtype, _unsupported)(values, spec.dtype, missing)


def flatten(column: Sequence[Any], dims: Dims, missing: Any = REQUIRED) -> Sequence[Any]:
    """The values of nested lists of shape ``dims``, in order."""
    level = column
    for depth, dim in enumerate(dims):
        kinds = set(map(type, level))
        if NoneType in kinds and missing is not REQUIRED:
            filler = filled(dims[depth:], missing)
            level = [filler if value is None else value for value in level]
            kinds.discard(NoneType)
            kinds.add(list)
        if kinds - {list} or set(map(len, level)) - {dim}:
            raise _Unfit
        level = list(chain.from_iterable(level))
    return level


def filled(dims: Dims, value: Any) -> Any:
    """Nested lists of one value."""
    for dim in reversed(dims):
        value = [value] * dim
    return value


def is_base64_object(value: Any) -> bool:
    """Whether it is ``{"b64": "…"}``: bytes that JSON cannot hold otherwise."""
    return type(value) is dict and len(value) == 1 and type(value.get("b64")) is str


def shown(value: Any) -> str:
    """A JSON value for a message, cut so that its cost is bounded."""
    text = json.dumps(_bounded(value, 4), ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def numpy_dtype(dtype: str) -> Any:
    """NumPy's type of a spec's; ``bfloat16`` is TensorFlow's own."""
    if dtype == "bfloat16":
        import tensorflow as tf

        return np.dtype(tf.bfloat16.as_numpy_dtype)
    return np.dtype(np.object_ if dtype == "string" else dtype)


class _Unfit(Exception):
    """Somewhere in a column; which value it is has not been looked for."""


def _without_null(values: Sequence[Any], kinds: set[type], missing: Any) -> Sequence[Any]:
    if NoneType not in kinds or missing is REQUIRED:
        raise _Unfit
    kinds.discard(NoneType)
    kinds.add(type(missing))
    return [missing if value is None else value for value in values]


def _floats(values: Sequence[Any], dtype: str, missing: Any) -> Array:
    kinds = set(map(type, values))
    if not kinds <= _NUMBERS:
        values = _without_null(values, kinds, missing)
        if not kinds <= _NUMBERS:
            raise _Unfit
    if dtype == "bfloat16":
        return np.fromiter(values, np.float32, len(values)).astype(numpy_dtype(dtype))
    return np.fromiter(values, dtype, len(values))


def _integers(values: Sequence[Any], dtype: str, missing: Any) -> Array:
    kinds = set(map(type, values))
    if kinds - {int}:
        values = _without_null(values, kinds, missing)
        if kinds - {int}:
            raise _Unfit
    try:
        if dtype == "uint64":
            if values and min(values) < 0:
                raise _Unfit
            return np.fromiter(values, np.uint64, len(values))
        array: Array = np.fromiter(values, np.int64, len(values))
    except OverflowError:
        raise _Unfit from None
    if dtype == "int64":
        return array
    limits = np.iinfo(dtype)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise _Unfit
    return array.astype(dtype)


def _booleans(values: Sequence[Any], dtype: str, missing: Any) -> Array:
    kinds = set(map(type, values))
    if kinds - {bool}:
        values = _without_null(values, kinds, missing)
        if kinds - {bool}:
            raise _Unfit
    return np.fromiter(values, np.bool_, len(values))


def _strings(values: Sequence[Any], dtype: str, missing: Any) -> Array:
    kinds = set(map(type, values))
    if kinds - {str}:
        if NoneType in kinds:
            values = _without_null(values, kinds, missing)
        if kinds - {str, bytes, dict}:
            raise _Unfit
        if dict in kinds:
            values = [_bytes(value) if type(value) is dict else value for value in values]
    # TensorFlow encodes `str` as UTF-8 itself.
    return np.fromiter(values, np.object_, len(values))


def _unsupported(values: Sequence[Any], dtype: str, missing: Any) -> Array:
    raise _Unfit


_CONVERTERS: Mapping[str, Callable[[Sequence[Any], str, Any], Array]] = {
    **dict.fromkeys(_FLOATS, _floats),
    **dict.fromkeys(_INTEGERS, _integers),
    "bool": _booleans,
    "string": _strings,
}


def _bytes(value: dict[str, Any]) -> bytes:
    """As absl::Base64Unescape: the standard alphabet, padding optional, white space ignored."""
    if not is_base64_object(value):
        raise _Unfit
    text = "".join(value["b64"].split())
    body = text.rstrip("=")
    padding = -len(body) % 4
    if padding == 3 or len(text) - len(body) not in (0, padding):
        raise _Unfit
    try:
        return base64.b64decode(body + "=" * padding, validate=True)
    except (binascii.Error, ValueError):
        raise _Unfit from None


def _misfit(spec: TensorSpec, column: Sequence[Any], dims: Dims, missing: Any) -> Misfit:
    """Which value of the column does not fit, and why."""
    row = _first_unfit(spec, column, dims, missing)
    reason = _reason(spec, column[row], dims, missing) if column else ""
    return Misfit(row, reason or f"value is not of expected type: {_type_name(spec.dtype)}")


def _first_unfit(spec: TensorSpec, items: Sequence[Any], dims: Dims, missing: Any) -> int:
    """The first of some items, each of shape ``dims``, that does not fit; the last if all do.

    By halves, so that one wrong value of millions is found as fast as they are converted.
    """
    low, high = 0, max(len(items), 1)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _converted(spec, items[low:middle], dims, missing)
            low = middle
        except _Unfit:
            high = middle
    return low


def _reason(spec: TensorSpec, value: Any, dims: Dims, missing: Any) -> str:
    """Why a row's value does not fit; empty where it does."""
    own = shape_of(value) if missing is REQUIRED else dims
    if len(own) > HIGHEST_RANK:
        return f"Expecting at most {HIGHEST_RANK} levels of lists but got: {len(own)}"
    reason = _reason_within(spec, value, own, missing)
    if reason or own == dims:
        return reason
    sizes = [int(np.prod(shape, dtype=np.float64)) for shape in (dims, own)]
    if sizes[0] != sizes[1]:
        return f"Expecting tensor size: {sizes[0]} but got: {sizes[1]}"
    return f"Expecting shape {shape_text(dims)} but got: {shape_text(own)}"


def _reason_within(spec: TensorSpec, value: Any, dims: Dims, missing: Any) -> str:
    """Why a value is none of shape ``dims`` and the spec's type: TensorFlow Serving's words."""
    for level, dim in enumerate(dims):
        if value is None and missing is not REQUIRED:
            return ""
        if type(value) is not list:
            return (
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1}"
                f" in the JSON DOM. Expected at level: {len(dims)}"
            )
        if len(value) != dim:
            return (
                f"Encountered list at unexpected size: {len(value)} at level: {level}"
                f" expected size: {dim}"
            )
        if not value:
            return ""
        value = value[_first_unfit(spec, value, dims[level + 1 :], missing)]
    if type(value) is list:
        return f"Encountered list at unexpected level: {len(dims)} expected < {len(dims)}"
    return "" if value is None and missing is not REQUIRED else _type_reason(spec, value)


def _type_reason(spec: TensorSpec, value: Any) -> str:
    convert = _CONVERTERS.get(spec.dtype)
    if convert is None:
        return f"Conversion of JSON Value: {shown(value)} to type: {_type_name(spec.dtype)}"
    try:
        convert([value], spec.dtype, REQUIRED)
    except _Unfit:
        if spec.dtype == "string" and is_base64_object(value):
            return "Unable to base64 decode"
        if spec.dtype == "string" and type(value) is dict:
            return f"JSON Value: {shown(value)} not formatted correctly for base64 data"
        return (
            f"JSON Value: {shown(value)} Type: {json_type(value)}"
            f" is not of expected type: {_type_name(spec.dtype)}"
        )
    return ""


def json_type(value: Any) -> str:
    """The name that rapidjson gives to the type of a JSON value."""
    if type(value) is bool:
        return "True" if value else "False"
    names: dict[type, str] = {NoneType: "Null", dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")


def _type_name(dtype: str) -> str:
    return _TYPE_NAMES.get(dtype, dtype)


def _bounded(value: Any, depth: int) -> Any:
    """The beginning of a value: a few items of a few levels."""
    if type(value) is str:
        return value[:_SHOWN_CHARACTERS]
    if type(value) is list:
        items = value[:_SHOWN_ITEMS] if depth else []
        return [_bounded(item, depth - 1) for item in items]
    if type(value) is dict:
        keys = islice(value, _SHOWN_ITEMS if depth else 0)
        return {key[:_SHOWN_CHARACTERS]: _bounded(value[key], depth - 1) for key in keys}
    return value
