"""Protocol buffers' integers of 1 to 10 bytes, many at once
(https://protobuf.dev/programming-guides/encoding/#varints)."""

from __future__ import annotations

import numpy as np

from trueup.trainer.data.ragged import Ragged, by_length, overlapping, packed

_SEVEN, _MORE = np.uint64(7), np.uint8(0x80)


def varint(value: int) -> bytes:
    """One of them.

    >>> varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def sizes_of(values: np.ndarray) -> np.ndarray:
    """Bytes that each of ``values`` (uint64) takes, int64, the same shape."""
    sizes = np.ones(values.shape, np.int64)
    top = int(values.max()) if values.size else 0
    for place in range(1, 10):
        bound = 1 << (7 * place)
        if top < bound:
            break
        sizes += values >= np.uint64(bound)
    return sizes


def varints(values: np.ndarray) -> Ragged:
    """The encodings of ``values`` (int64 or uint64; negative ones as two's complement), packed.

    >>> found = varints(np.array([1, 300, -1]))
    >>> bytes(found.data[:3]).hex(), found.lengths.tolist()
    ('01ac02', [1, 2, 10])
    """
    unsigned = values.view(np.uint64) if values.dtype == np.int64 else values.astype(np.uint64)
    sizes = sizes_of(unsigned)
    pieces = packed(sizes, np.empty(int(sizes.sum()), np.uint8))
    for size, rows in by_length(sizes):
        chosen = unsigned if rows is None else unsigned[rows]
        digits = np.empty((len(chosen), size), np.uint8)
        rest = chosen.copy()
        for place in range(size):
            digits[:, place] = rest.astype(np.uint8) | _MORE
            rest >>= _SEVEN
        digits[:, -1] &= ~_MORE & np.uint8(0xFF)
        starts = pieces.starts if rows is None else pieces.starts[rows]
        overlapping(pieces.data, size)[starts] = digits.view((np.void, size))[:, 0]
    return pieces
