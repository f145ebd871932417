"""Views of Arrow arrays as NumPy arrays, without copies where the layout allows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

_PLAIN = {
    pa.int8(): np.int8, pa.int16(): np.int16, pa.int32(): np.int32, pa.int64(): np.int64,
    pa.uint8(): np.uint8, pa.uint16(): np.uint16, pa.uint32(): np.uint32, pa.uint64(): np.uint64,
    pa.float16(): np.float16, pa.float32(): np.float32, pa.float64(): np.float64,
}  # fmt: skip


def validity(array: pa.Array) -> np.ndarray | None:
    """Where ``array`` is not null, bool, shape ``(len(array),)``; None where nothing is null."""
    if not array.null_count:
        return None
    bitmap = array.buffers()[0]
    if bitmap is None:  # null and union types keep no bitmap
        return np.zeros(len(array), bool)
    bits = np.frombuffer(bitmap, np.uint8)
    first = array.offset // 8
    last = (array.offset + len(array) + 7) // 8
    flags = np.unpackbits(bits[first:last], bitorder="little").view(bool)
    skip = array.offset - 8 * first
    return flags[skip : skip + len(array)]


def is_plain(kind: pa.DataType) -> bool:
    """Whether values of this type lie in one buffer of NumPy numbers."""
    return kind in _PLAIN


def plain_values(array: pa.Array) -> np.ndarray:
    """The values of a plain numeric array, shape ``(len(array),)``; what lies under nulls is
    undefined."""
    buffer = array.buffers()[1]
    dtype = np.dtype(_PLAIN[array.type])
    if buffer is None or not len(array):
        return np.zeros(len(array), dtype)
    return np.frombuffer(buffer, dtype, len(array), array.offset * dtype.itemsize)


def is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_bytes(kind: pa.DataType) -> bool:
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def encoded(array: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Distinct values of ``array`` that are not null, and the code of each row (-1 for null).

    :returns: the values (plain, not dictionary), and integers of shape ``(len(array),)``.
    """
    if pa.types.is_dictionary(array.type) and len(array.dictionary) > len(array):
        array = array.dictionary_decode()  # a slice of a large one: most of it is not here
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    codes = plain_values(array.indices)
    valid = validity(array.indices)
    if valid is not None:
        codes = np.where(valid, codes, -1)
    values = array.dictionary
    if values.null_count:  # a dictionary that holds null itself
        present = validity(values)
        assert present is not None
        moved = np.where(present, np.cumsum(present) - 1, -1)
        codes = np.where(codes >= 0, moved[np.maximum(codes, 0)], -1)
        values = values.drop_null()
    return values, codes


def code_counts(codes: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """How often each code below ``size`` occurs, int64 ``(size,)``, and how often -1 does."""
    counts = np.bincount(codes.astype(np.intp) + 1, minlength=size + 1)
    return counts[1:], int(counts[0])
