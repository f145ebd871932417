"""Vectorized 64-bit hashes of numbers and strings, the same on every machine and release.

Stored profiles are merged with later ones, so the constants below are part of the binary form:
changing one makes distinct counts of old and new profiles add up instead of overlapping.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd (Knuth, TAOCP 6.4)
_MIX_A = np.uint64(0xFF51AFD7ED558CCD)  # MurmurHash3 finalizer (Appleby 2011)
_MIX_B = np.uint64(0xC4CEB9FE1A85EC53)
_BASE = 0x2545F4914F6CDD1D  # odd, so it has an inverse modulo 2**64 (xorshift*, Vigna 2016)
_INVERSE = pow(_BASE, -1, 1 << 64)
_BLOCK_BYTES = 1 << 17  # bytes of strings hashed at once: eight times as much stays in cache


def hash_numbers(values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Hashes of finite float64 ``values``, uint64 of the same shape; -0.0 equals 0.0.

    The high 54 bits are good, which is what :class:`~trueup.profile.distinct.HllBuilder` reads.

    >>> bool(hash_numbers(np.array([0.0]))[0] == hash_numbers(np.array([-0.0]))[0])
    True
    """
    hashes = np.empty(values.shape, np.uint64) if out is None else out[: values.size]
    np.add(values, 0.0, out=hashes.view(np.float64))
    hashes ^= hashes >> np.uint64(32)
    hashes *= _MIX_A
    hashes ^= hashes >> np.uint64(29)
    hashes *= _MIX_B
    return hashes


def mix(hashes: np.ndarray) -> np.ndarray:
    """The MurmurHash3 finalizer over uint64 ``hashes``: every input bit reaches every bit."""
    mixed = hashes ^ (hashes >> np.uint64(33))
    mixed *= _MIX_A
    mixed ^= mixed >> np.uint64(33)
    mixed *= _MIX_B
    mixed ^= mixed >> np.uint64(33)
    return mixed


def hash_strings(values: pa.Array) -> np.ndarray:
    """Hashes of an Arrow string or binary array without nulls, uint64, shape ``(len(values),)``.

    A polynomial in random 64-bit images of the bytes, modulo 2**64, by prefix sums over the
    Arrow buffer (no Python object is made), then mixed with the length.

    >>> a, b, c = hash_strings(pa.array(["ab", "ba", "ab"]))
    >>> bool(a == c), bool(a == b)
    (True, False)
    """
    offsets, data = string_buffers(values)
    hashes = np.empty(len(values), np.uint64)
    first = 0
    while first < len(values):
        last = int(np.searchsorted(offsets, offsets[first] + _BLOCK_BYTES, side="right")) - 1
        last = min(max(last, first + 1), len(values))
        _hash_block(offsets[first : last + 1], data, hashes[first:last])
        first = last
    return mix(hashes)


def string_buffers(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (``len + 1``, into the data) and bytes (uint8) of a string or binary array."""
    large = pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type)
    _, offset_buffer, data_buffer = values.buffers()
    if offset_buffer is None or not len(values):
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    offsets = np.frombuffer(offset_buffer, np.int64 if large else np.int32)
    offsets = offsets[values.offset : values.offset + len(values) + 1].astype(np.int64)
    if data_buffer is None:
        return offsets, np.zeros(0, np.uint8)
    return offsets, np.frombuffer(data_buffer, np.uint8)


def _hash_block(offsets: np.ndarray, data: np.ndarray, out: np.ndarray) -> None:
    starts, stop = offsets[:-1] - offsets[0], int(offsets[-1])
    raw = data[int(offsets[0]) : stop]
    powers, inverses = _powers(max(raw.size, 1).bit_length())
    sums = np.empty(raw.size + 1, np.uint64)
    sums[0] = 0
    terms = _byte_images().take(raw)
    terms *= powers[: raw.size]
    np.cumsum(terms, out=sums[1:])
    lengths = (offsets[1:] - offsets[:-1]).astype(np.uint64)
    np.subtract(sums[offsets[1:] - offsets[0]], sums[starts], out=out)
    out *= inverses[starts]
    out += lengths * _GOLDEN


@lru_cache(maxsize=1)
def _byte_images() -> np.ndarray:
    return mix((np.arange(256, dtype=np.uint64) + np.uint64(1)) * _GOLDEN)


@lru_cache(maxsize=4)
def _powers(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """``_BASE**i`` and ``_BASE**-i`` modulo 2**64 for ``i < 2**bits``."""
    size = max(1 << bits, 1 << 10)
    powers = np.full(size, _BASE, np.uint64)
    inverses = np.full(size, _INVERSE, np.uint64)
    powers[0] = inverses[0] = 1
    return np.cumprod(powers), np.cumprod(inverses)
