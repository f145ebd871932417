"""One pass over a frame file that tells whole frames, damage and a torn tail apart.

A killed writer leaves a *prefix* of what it was writing: fewer than 12 bytes, or a good header
whose frame runs past the end of the file. That is a torn tail. A header or payload with a wrong
CRC is damage (bit rot, lost pages after power loss); if whole frames follow, the rows in between
are lost and must be counted; if none follow, the tail is called corrupt.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import BinaryIO, NamedTuple

from trueup.frames.format import (
    FOOTER_BYTES,
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    OVERHEAD_BYTES,
    payload_is_whole,
    payload_length,
)

_SCAN_BYTES = 1 << 20


class Whole(NamedTuple):
    """A good frame."""

    offset: int
    payload: bytes

    @property
    def end(self) -> int:
        return self.offset + OVERHEAD_BYTES + len(self.payload)


class Damaged(NamedTuple):
    """Bytes that are no frame, with good frames or a torn one behind them."""

    offset: int
    length: int


class TailKind(str, Enum):
    """How a file ends."""

    CLEAN = "clean"
    TORN = "torn"
    CORRUPT = "corrupt"


class Tail(NamedTuple):
    """The bytes behind the last whole frame."""

    offset: int
    length: int
    kind: TailKind


def walk(file: BinaryIO, size: int) -> Iterator[Whole | Damaged | Tail]:
    """All spans of the first ``size`` bytes, in order, without a gap.

    :param file: seekable; read sequentially. Memory is bounded by the longest allowed frame,
        whatever length a header declares.
    """
    offset = 0
    file.seek(0)
    while offset < size:
        header = file.read(HEADER_BYTES) if size - offset >= HEADER_BYTES else b""
        if len(header) < HEADER_BYTES:
            yield Tail(offset, size - offset, TailKind.TORN)
            return
        length = payload_length(header)
        end = offset + OVERHEAD_BYTES + length if length is not None else None
        if length is not None and end is not None and end > size:
            yield Tail(offset, size - offset, TailKind.TORN)
            return
        if length is not None and end is not None and length <= MAX_PAYLOAD_BYTES:
            payload, footer = file.read(length), file.read(FOOTER_BYTES)
            if len(footer) < FOOTER_BYTES:  # cut by another process since its size was taken
                yield Tail(offset, size - offset, TailKind.TORN)
                return
            if payload_is_whole(payload, footer):
                yield Whole(offset, payload)
                offset = end
                continue
        behind = _resume(file, end if end is not None else offset + 1, size, trusted=end)
        if behind is None:
            yield Tail(offset, size - offset, TailKind.CORRUPT)
            return
        yield Damaged(offset, behind - offset)
        offset = behind
        file.seek(offset)


def _resume(file: BinaryIO, start: int, size: int, *, trusted: int | None) -> int | None:
    """Where frames go on behind damage; ``None`` when nothing good follows.

    :param trusted: the end of the damaged frame as its (good) header declares it: a good header
        there is believed even when its frame is torn.
    """
    if trusted is not None and trusted < size:
        if size - trusted < HEADER_BYTES:
            return trusted
        file.seek(trusted)
        if payload_length(file.read(HEADER_BYTES)) is not None:
            return trusted
    for candidate in _candidates(file, start, size):
        file.seek(candidate)
        length = payload_length(file.read(HEADER_BYTES))
        if length is None or length > MAX_PAYLOAD_BYTES:
            continue
        payload, footer = file.read(length), file.read(FOOTER_BYTES)
        if len(footer) == FOOTER_BYTES and payload_is_whole(payload, footer):
            return candidate
    return None


def _candidates(file: BinaryIO, start: int, size: int) -> Iterator[int]:
    """Offsets from ``start`` on with a good header of a frame that fits in the file.

    Every byte offset is tried. That is quick because lengths below 2**32 have four zero bytes, and
    because the CRC of those that remain is computed for a whole block at once.
    """
    import numpy as np

    table = _crc32c_table()
    for block in range(start, size - OVERHEAD_BYTES + 1, _SCAN_BYTES):
        file.seek(block)
        data = np.frombuffer(file.read(_SCAN_BYTES + HEADER_BYTES - 1), dtype=np.uint8)
        if len(data) < HEADER_BYTES:
            return
        count = len(data) - HEADER_BYTES + 1
        high = np.zeros(count, dtype=np.uint8)
        for place in range(4, 8):
            high |= data[place : place + count]
        offsets = np.flatnonzero(high == 0)
        crc = np.full(len(offsets), 0xFFFFFFFF, dtype=np.uint32)
        for place in range(8):
            crc = table[(crc ^ data[offsets + place]) & 0xFF] ^ (crc >> np.uint32(8))
        crc ^= np.uint32(0xFFFFFFFF)
        masked = ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)
        stored = np.zeros(len(offsets), dtype=np.uint32)
        length = np.zeros(len(offsets), dtype=np.int64)
        for place in range(4):
            stored |= data[offsets + 8 + place].astype(np.uint32) << np.uint32(8 * place)
            length |= data[offsets + place].astype(np.int64) << (8 * place)
        fits = block + offsets + OVERHEAD_BYTES + length <= size
        yield from (block + offsets[(masked == stored) & fits]).tolist()


def _crc32c_table():  # type: ignore[no-untyped-def]  # numpy is imported only where damage is met
    """256 entries of the reflected Castagnoli polynomial 0x82F63B78 (RFC 3720, appendix B.4)."""
    import numpy as np

    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    return table.astype(np.uint32)
