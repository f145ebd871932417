"""Slices: the rows in which one variable has one value, or lies in one quarter of its range."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trueup.errors import BadInputError
from trueup.records.gate import Slice

Array = NDArray[Any]

MISSING, OTHERS = "(missing)", "(other values)"
MOST_NUMBERS = 10
"""A numeric variable with more different values is cut at its quartiles."""
_LONGEST_VALUE = 80


@dataclass(frozen=True, eq=False)
class SliceRows:
    """One slice and which rows it has (places, ascending). Slices of one variable share no row, and
    together have all rows."""

    slice: Slice
    rows: Array


def slices_of(variable: str, column: Any, most: int) -> Iterator[SliceRows]:
    """Slices by one variable: its ``most`` frequent values, one for all other values, one for
    missing; numbers of more than ten different values by their quartiles.

    :param column: a pyarrow array ``(n,)`` of numbers, booleans, texts or times; NaN is missing.
    :raises BadInputError: values that cannot be told apart (lists, nested).
    """
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(column, pa.ChunkedArray):  # without rows, in some releases
        column = pa.array([], column.type)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        raise BadInputError(
            f"gate.slices: {variable} has several values in a row, and makes no slices",
            remedy="name variables of one value",
        )
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    encoded = column.dictionary_encode()
    missing = np.asarray(pc.is_null(column).to_numpy(zero_copy_only=False), dtype=bool)
    if number and len(encoded.dictionary) > MOST_NUMBERS:
        values = column.cast(pa.float64(), safe=False).fill_null(np.nan)
        yield from _quartiles(variable, values.to_numpy(zero_copy_only=False), ~missing)
    else:
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        yield from _frequent(variable, encoded.dictionary.to_pylist(), codes, most)
    if missing.any():
        yield SliceRows(Slice(variable=variable, value=MISSING), np.flatnonzero(missing))


def _frequent(variable: str, values: list[Any], codes: Array, most: int) -> Iterator[SliceRows]:
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    # By count, then by value, so that ties do not depend on the order of rows.
    order = sorted(range(len(values)), key=lambda code: (-counts[code], str(values[code])))
    for code in order[:most]:
        shown = str(values[code])[:_LONGEST_VALUE]
        yield SliceRows(Slice(variable=variable, value=shown), np.flatnonzero(codes == code))
    if len(order) > most:
        rest = np.zeros(len(values) + 1, dtype=bool)
        rest[order[most:]] = True
        yield SliceRows(Slice(variable=variable, value=OTHERS), np.flatnonzero(rest[codes]))


def _quartiles(variable: str, values: Array, present: Array) -> Iterator[SliceRows]:
    edges = np.unique(np.quantile(values[present], [0.25, 0.5, 0.75], method="lower"))
    places = np.digitize(values, edges, right=True)
    shown = [f"{edge:.6g}" for edge in edges]
    for place in range(len(edges) + 1):
        if place == 0:
            text = f"up to {shown[0]}"
        elif place == len(edges):
            text = f"above {shown[-1]}"
        else:
            text = f"above {shown[place - 1]}, up to {shown[place]}"
        rows = np.flatnonzero(present & (places == place))
        if len(rows):
            yield SliceRows(Slice(variable=variable, value=text), rows)
