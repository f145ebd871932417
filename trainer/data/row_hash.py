"""A number per row that stays the same: what decides on which side of a split an entity is.

It depends on values alone, not on their place, on the type of a column (``7``, ``7.0`` and ``"7"``
are one key), or on columns in which the row has no value. Its constants are part of the meaning of
stored versions: with others, rows that the gate kept for itself would have been trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.profile.arrow import encoded, plain_values, validity
from trueup.profile.canonical import spelled
from trueup.profile.hashing import hash_numbers, hash_strings, mix

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd (Knuth, TAOCP 6.4)
_MISSING = np.uint64(0xD6E8FEB86659FD93)  # stands for a key that is missing beside one that is not


def shares(hashes: np.ndarray, purpose: str) -> np.ndarray:
    """``hashes`` (uint64) as numbers in [0, 1), independent of those for another ``purpose``.

    >>> low = shares(np.arange(10_000, dtype=np.uint64), "gate") < 0.05
    >>> bool(400 < low.sum() < 600)
    True
    """
    salt = np.uint64(int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little"))
    return (mix(hashes ^ salt) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def hashes_of_keys(
    columns: Mapping[str, pa.Array], keys: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """A hash per row of its values of ``keys``, uint64, and whether it has any of them, bool.

    :param columns: arrays by name, of any types.
    """
    rows = len(columns[keys[0]])
    hashes, known = np.zeros(rows, np.uint64), np.zeros(rows, bool)
    for key in keys:
        found, there = _of_texts(columns[key])
        known |= there
        hashes = mix(hashes * _GOLDEN + np.where(there, found, _MISSING))
    return hashes, known


def hashes_of_rows(columns: Mapping[str, pa.Array], rows: int) -> np.ndarray:
    """A hash per row of all its values and the names of their variables, uint64.

    :param columns: typed arrays by name, as the InputSpec declares them.
    """
    hashes = np.zeros(rows, np.uint64)
    for name, array in columns.items():
        found, there = _of_values(array)
        named = hash_strings(pa.array([name]))[0]
        hashes += np.where(there, mix(found ^ named), np.uint64(0))  # in any order of columns
    return mix(hashes)


def _of_values(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    kind = array.type
    if pa.types.is_list(kind):
        return _of_lists(array)
    if pa.types.is_timestamp(kind):
        array = array.view(pa.int64())
    elif pa.types.is_boolean(kind):
        array = array.cast(pa.uint8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return _of_texts(array)
    numbers = plain_values(array)
    if pa.types.is_timestamp(kind):
        hashed = mix(numbers.view(np.uint64))  # microseconds need more than 53 bits
    else:
        hashed = hash_numbers(np.where(_there(array), numbers, 0).astype(np.float64))
    there = _there(array)
    if numbers.dtype.kind == "f":
        there = there & ~np.isnan(numbers)
    return hashed, there


def _of_texts(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    nothing = np.zeros(len(array), bool)
    if pa.types.is_null(array.type):
        return np.zeros(len(array), np.uint64), nothing
    if pa.types.is_list(array.type):
        return _of_lists(array)
    if pa.types.is_floating(array.type):
        numbers = plain_values(array)
        array = pa.array(numbers, mask=np.isnan(numbers) | ~_there(array))
    values, codes = encoded(array)
    if not len(values):
        return np.zeros(len(array), np.uint64), nothing
    return hash_strings(spelled(values))[np.maximum(codes, 0)], codes >= 0


def _of_lists(array: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """Of the elements and their places; an empty list is a value."""
    there = _there(array)
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    ends = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    elements, known = _of_values(array.flatten())
    place = np.arange(len(elements), dtype=np.int64) - np.repeat(ends[:-1], lengths)
    terms = mix(np.where(known, elements, _MISSING) + (place + 1).view(np.uint64) * _GOLDEN)
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)))
    return mix(sums[ends[1:]] - sums[ends[:-1]] + lengths.astype(np.uint64)), there


def _there(array: pa.Array) -> np.ndarray:
    found = validity(array)
    return np.ones(len(array), bool) if found is None else found
