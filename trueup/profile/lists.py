"""Lists in Arrow arrays: their lengths and elements, and lists that stand for scalars."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.profile.arrow import plain_values, validity


def list_lengths(array: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Lengths of the lists that are not null, int64, and all their elements in order."""
    present = array.drop_null()
    if pa.types.is_fixed_size_list(array.type):
        lengths = np.full(len(present), array.type.list_size, np.int64)
    else:
        lengths = plain_values(pc.list_value_length(present)).astype(np.int64)
    return lengths, present.flatten()


def as_scalars(array: pa.Array) -> tuple[pa.Array, int]:
    """Lists of at most one element as scalars: an empty list is null.

    :returns: an array of the same length, and how many lists had more (null there too).
    """
    lengths, elements = list_lengths(array)
    valid = validity(array)
    of_row = np.zeros(len(array), np.int64)
    of_row[slice(None) if valid is None else valid] = lengths
    starts = np.cumsum(of_row) - of_row
    single = of_row == 1
    positions = pa.array(np.where(single, starts, 0), mask=~single)
    return elements.take(positions), int(np.count_nonzero(of_row > 1))
