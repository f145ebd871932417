"""Variables of one value per row, all of one type in one matrix: the number of operations of the
graph does not grow with the number of variables, and a server's small batches pay per operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trueup.records.input_spec import Variable
from trueup.trainer.graph.keys import decimal, keys_of
from trueup.trainer.graph.variables import (
    MISSING_INTEGER,
    graph_dtype,
    missing_numbers,
    missing_texts,
)

DTYPES = ("float32", "int64", "bool", "string")


class Scalars:
    """Rows of a matrix ``(variables, batch)``, ordered by type.

    :param variables: those of one value per row.
    """

    def __init__(self, variables: Sequence[Variable]) -> None:
        self._groups: dict[str, list[Variable]] = {dtype: [] for dtype in DTYPES}
        for variable in variables:
            self._groups[graph_dtype(variable)].append(variable)
        ordered = [v.name for dtype in DTYPES for v in self._groups[dtype]]
        self.row = {name: row for row, name in enumerate(ordered)}

    def read(self, raw: Mapping[str, Any]) -> ScalarBatch:
        """The matrices of a batch."""
        import tensorflow as tf

        matrices = {
            dtype: tf.stack([tf.reshape(raw[v.name], [-1]) for v in group])
            for dtype, group in self._groups.items()
            if group
        }
        missing = [missing_of(self._groups[dtype], matrix) for dtype, matrix in matrices.items()]
        return ScalarBatch(matrices, tf.concat(missing, 0) if missing else None)


class ScalarBatch:
    """One batch.

    :param matrices: by type.
    :ivar missing: bool, shape ``(variables, batch)``; ``None`` where there are no variables.
    """

    def __init__(self, matrices: Mapping[str, Any], missing: Any) -> None:
        self._matrices = matrices
        self.missing = missing

    def numbers(self, rows: Sequence[int]) -> Any:
        """float64 of some rows (of numbers and booleans), shape ``(len(rows), batch)``."""
        import tensorflow as tf

        return self._selected(rows, lambda dtype, matrix: tf.cast(matrix, tf.float64))

    def keys(self, rows: Sequence[int]) -> Any:
        """int64 keys of some rows, shape ``(len(rows), batch)``."""
        return self._selected(rows, keys_of)

    def texts(self, rows: Sequence[int]) -> Any:
        """Some rows as strings, numbers in decimal form, shape ``(len(rows), batch)``."""
        return self._selected(rows, decimal)

    def _selected(self, rows: Sequence[int], convert: Callable[[str, Any], Any]) -> Any:
        import tensorflow as tf

        parts, order, start = [], [], 0
        for dtype, matrix in self._matrices.items():
            stop = start + matrix.shape[0]
            mine = sorted({row for row in rows if start <= row < stop})
            if mine:
                chosen = matrix
                if len(mine) < stop - start:
                    chosen = tf.gather(matrix, [row - start for row in mine])
                parts.append(convert(dtype, chosen))
                order += mine
            start = stop
        found = parts[0] if len(parts) == 1 else tf.concat(parts, 0)
        if order == list(rows):
            return found
        return tf.gather(found, [order.index(row) for row in rows])


def missing_of(variables: Sequence[Variable], values: Any) -> Any:
    """Where values are missing.

    :param variables: of one type, one for each row of ``values``.
    :param values: shape ``(variables, n)``.
    :returns: bool, of the same shape.
    """
    import tensorflow as tf

    dtype = graph_dtype(variables[0])
    if dtype == "bool":
        return tf.zeros_like(values)
    if dtype == "string":
        words = [missing_texts(variable) for variable in variables]
        return _any_equal(values, _padded(words, object))
    encoded = tf.math.is_nan(values) if dtype == "float32" else tf.equal(values, MISSING_INTEGER)
    numbers = [missing_numbers(variable) for variable in variables]
    if not any(numbers):
        return encoded
    filled = [found or ((np.nan,) if dtype == "float32" else (MISSING_INTEGER,))
              for found in numbers]  # fmt: skip
    if dtype == "int64":
        whole = [tuple(int(n) for n in found if n == int(n)) or (MISSING_INTEGER,)
                 for found in filled]  # fmt: skip
        return encoded | _any_equal(values, _padded(whole, np.int64))
    return encoded | _any_equal(values, _padded(filled, np.float32))


def _any_equal(values: Any, constants: np.ndarray) -> Any:
    """Whether each of ``values`` (v, n) is one of the row's ``constants`` (v, k)."""
    import tensorflow as tf

    found = None
    for column in constants.T:  # few: nearly always one
        same = tf.equal(values, tf.constant(column.tolist(), values.dtype)[:, tf.newaxis])
        found = same if found is None else found | same
    return found


def _padded(rows: Sequence[Sequence[Any]], dtype: Any) -> np.ndarray:
    """Rows of one length; the last of a row is repeated."""
    width = max(len(row) for row in rows)
    return np.array([[*row, *[row[-1]] * (width - len(row))] for row in rows], dtype)
