"""Columns of Parquet as the arrays that a SavedModel's signature takes; no TensorFlow in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trueup.errors import BadInputError, DataError
from trueup.records.input_spec import InputSpec

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a signature.

    :param dtype: NumPy's name of it, or ``"string"``.
    :param row_shape: of one row; -1 for a dimension that varies.
    :param missing: what stands for a missing value; ``None`` where nothing can (an integer or
        boolean of a version without an InputSpec that says so).
    """

    name: str
    dtype: str
    row_shape: tuple[int, ...]
    missing: Any

    @property
    def numpy_dtype(self) -> Any:
        return np.object_ if self.dtype == "string" else np.dtype(self.dtype)


def missing_encoding(name: str, dtype: str, spec: InputSpec | None) -> Any:
    """What a missing value of a variable is in the graph: what its InputSpec says, else NaN for
    floats and the empty string for texts."""
    known = None if spec is None else spec.by_name.get(name)
    given = None if known is None else known.missing.graph
    if dtype == "string":
        return b"" if given is None else str(given).encode()
    if np.dtype(dtype).kind == "f":
        return float("nan") if given is None or isinstance(given, str) else float(given)
    return None if given is None or isinstance(given, str) else given


def check_columns(inputs: Mapping[str, Input], columns: Mapping[str, Any], where: str) -> None:
    """Every input has a column, or something that stands for missing.

    :raises DataError: one has neither.
    """
    for one in inputs.values():
        if one.name not in columns and one.missing is None:
            raise DataError(
                f"{where} has no column {one.name!r}, which the model takes as {one.dtype}",
                remedy="bring rows with it, or a version whose InputSpec says how it is missing",
            )


def tensor(one: Input, column: pa.Array | None, rows: int, where: str) -> Array:
    """``(rows, *row_shape)``; lists of different lengths are filled up with what is missing.

    :param column: ``None`` where the rows do not have the variable: all missing.
    :param where: file and first row, for messages.
    :raises DataError: values that do not fit, or are missing where nothing stands for that.
    """
    if column is None:
        shape = (rows, *(max(size, 0) for size in one.row_shape))
        return np.full(shape, one.missing, dtype=one.numpy_dtype)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type):
        return tensor(one, None, rows, where)
    try:
        if not one.row_shape:
            return _scalars(one, column, where)
        return _lists(one, column, rows, where)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError) as error:
        raise DataError(
            f"{where}: values of {one.name!r} ({column.type}) do not fit the model's {one.dtype}: "
            f"{str(error).splitlines()[0]}",
            remedy="score rows of the variables that the version was trained on",
        ) from error


def _scalars(one: Input, column: pa.Array, where: str) -> Array:
    if one.dtype == "string":
        values = _as_bytes(column).fill_null(one.missing)
        return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.object_)
    if column.null_count and one.missing is None:
        place = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(
            f"{where}: {one.name!r} is missing {place:,} rows on, and nothing stands for a missing "
            f"{one.dtype} in the model",
            remedy="give the version's InputSpec, which says what does",
        )
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    dtype = np.dtype(one.dtype)
    if dtype.kind == "f":  # digits may be lost
        values = column.cast(pa.float64(), safe=False)
    elif dtype.kind == "b":
        values = column.cast(pa.bool_())
    else:  # a number that is not whole, or too large, is an error
        values = column.cast(pa.from_numpy_dtype(dtype))
    if column.null_count:
        values = values.fill_null(pa.scalar(one.missing, values.type))
    with np.errstate(over="ignore"):
        return values.to_numpy(zero_copy_only=False).astype(dtype)


def _as_bytes(column: pa.Array) -> pa.Array:
    """Texts as UTF-8; times as ISO 8601 to the second, as training's examples have them."""
    if pa.types.is_timestamp(column.type):
        # Written so by training's examples, too.
        seconds = column.cast(pa.timestamp("s", "UTC"), safe=False).view(pa.timestamp("s"))
        texts = pc.replace_substring(seconds.cast(pa.string()), " ", "T", max_replacements=1)
        column = pc.binary_join_element_wise(texts, "Z", "")
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return column.cast(pa.binary())
    return column.cast(pa.string()).cast(pa.binary())


def _lists(one: Input, column: pa.Array, rows: int, where: str) -> Array:
    """Values of rows in row-major order. One dimension may vary: the first."""
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        column = _wrapped(column)
    inner = column.flatten()
    while pa.types.is_nested(inner.type):  # of several dimensions, written as lists of lists
        column, inner = _flattened_once(column), inner.flatten()
    lengths = np.asarray(pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False))
    element = Input(one.name, one.dtype, (), one.missing)
    values = _scalars(element, inner, where)
    fixed = [size for size in one.row_shape if size >= 0]
    of_one = int(np.prod(fixed, dtype=np.int64))
    varies = len(fixed) < len(one.row_shape)
    if len(one.row_shape) - len(fixed) > 1 or (varies and one.row_shape[0] >= 0):
        raise BadInputError(
            f"the model's input {one.name!r} has the shape {one.row_shape}, and only its first "
            "dimension may vary",
            remedy="export the model with fixed dimensions",
        )
    longest = int(lengths.max(initial=0))
    width = (-(-longest // max(of_one, 1)) if varies else 1) * of_one
    if longest > width or (not varies and np.any((lengths != width) & (lengths != 0))):
        raise DataError(
            f"{where}: {one.name!r} has {longest} values in a row, and the model takes {width}",
            remedy="score rows of the variables that the version was trained on",
        )
    if one.missing is None and np.any(lengths != width):
        raise DataError(
            f"{where}: {one.name!r} has lists of different lengths, and nothing stands for a "
            f"missing {one.dtype} in the model",
            remedy="give the version's InputSpec, which says what does",
        )
    result = np.full((rows, width), one.missing, dtype=one.numpy_dtype)
    result[np.arange(width) < lengths[:, None]] = values
    return result.reshape(rows, *_sizes(one.row_shape, width, of_one))


def _sizes(row_shape: tuple[int, ...], width: int, of_one: int) -> tuple[int, ...]:
    return tuple(width // max(of_one, 1) if size < 0 else size for size in row_shape)


def _wrapped(column: pa.Array) -> pa.Array:
    """Single values as lists of one; a missing one is an empty list."""
    there = column.is_valid().to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(there)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), column.drop_null())


def _flattened_once(column: pa.Array) -> pa.Array:
    """Lists of lists as lists of their elements."""
    outer = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    inner = column.flatten()
    lengths = pc.list_value_length(inner).fill_null(0).to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    offsets = ends[np.concatenate([[0], np.cumsum(outer)])].astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), inner.flatten())
