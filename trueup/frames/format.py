"""TFRecord framing, as TensorFlow reads and writes it (tensorflow/core/lib/io/record_writer.h):

uint64 length           little-endian
uint32 masked CRC-32C   of the 8 bytes of length
bytes  payload
uint32 masked CRC-32C   of the payload
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

import google_crc32c

from trueup.errors import FrameError

if TYPE_CHECKING:
    import numpy as np

HEADER_BYTES = 12
FOOTER_BYTES = 4
OVERHEAD_BYTES = HEADER_BYTES + FOOTER_BYTES

#: Longest payload. A request body is far below it; a reader never allocates more for one frame.
MAX_PAYLOAD_BYTES = 1 << 28

_MASK_DELTA = 0xA282EAD8
_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEADER = struct.Struct("<8sI")
_pack_crc = _CRC.pack
_crc32c = google_crc32c.value


def masked_crc32c(data: bytes) -> int:
    """CRC-32C rotated and offset, so that a CRC over data that holds CRCs stays sound.

    >>> hex(masked_crc32c(b"123456789"))  # unmasked: 0xe3069283
    '0xc78ab0e5'
    """
    crc: int = _crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def masked_crc32cs(crcs: np.ndarray) -> np.ndarray:
    """:func:`masked_crc32c` from many unmasked checksums, uint32 of the same shape.

    >>> import numpy as np
    >>> hex(masked_crc32cs(np.array([0xE3069283], np.uint32))[0])
    '0xc78ab0e5'
    """
    rotated = (crcs >> 15) | (crcs << 17)
    return rotated + crcs.dtype.type(_MASK_DELTA)


def encode(payloads: Iterable[bytes]) -> bytes:
    """The frames of ``payloads``, one after another, ready for one ``write``.

    >>> len(encode([b"abc", b""])) - 2 * OVERHEAD_BYTES
    3
    """
    parts: list[bytes] = []
    for payload in payloads:
        length = len(payload)
        if length > MAX_PAYLOAD_BYTES:
            raise FrameError(f"a frame of {length} bytes is over the limit of {MAX_PAYLOAD_BYTES}")
        crc = _crc32c(payload)
        masked = (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF
        parts += (_header(length), payload, _pack_crc(masked))
    return b"".join(parts)


@lru_cache(maxsize=4096)
def _header(length: int) -> bytes:
    """The 12 bytes before a payload of ``length``: requests of one model are of few lengths."""
    packed = _LENGTH.pack(length)
    return packed + _pack_crc(masked_crc32c(packed))


@lru_cache(maxsize=4096)
def payload_length(header: bytes) -> int | None:
    """The payload's length that a header of 12 bytes declares; ``None`` when its CRC is wrong."""
    length, crc = _HEADER.unpack(header)
    if masked_crc32c(length) != crc:
        return None
    return int(_LENGTH.unpack(length)[0])


def payload_is_whole(payload: bytes, footer: bytes) -> bool:
    """Whether the CRC in ``footer`` (4 bytes) is that of ``payload``."""
    crc = _crc32c(payload)
    return _pack_crc((((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF) == footer
