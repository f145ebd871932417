"""Primitive values to bytes and back: what the codec is written in.

Integers are LEB128 varints, floats IEEE 754 little-endian, arrays the narrowest integers that hold
them, stored byte plane by byte plane so that they compress well.
"""

from __future__ import annotations

import struct

import numpy as np

from trueup.errors import ProfileError

_WIDTHS = ("u1", "u2", "u4", "u8")
_FLOAT = struct.Struct("<d")


class Encoder:
    """Appends values to :attr:`data`."""

    def __init__(self) -> None:
        self.data = bytearray()

    def count(self, value: int) -> None:
        """A whole number, ``>= 0``.

        >>> encoder = Encoder()
        >>> encoder.count(300)
        >>> Decoder(bytes(encoder.data)).count()
        300
        """
        if value < 0:
            raise ValueError(f"{value} is negative")
        while value > 0x7F:
            self.data.append(value & 0x7F | 0x80)
            value >>= 7
        self.data.append(value)

    def float(self, value: float) -> None:
        self.data += _FLOAT.pack(value)

    def flag(self, value: bool) -> None:
        self.data.append(bool(value))

    def bytes(self, value: bytes) -> None:
        self.count(len(value))
        self.data += value

    def text(self, value: str) -> None:
        self.bytes(value.encode("utf-8", "surrogatepass"))

    def texts(self, values: list[str] | tuple[str, ...]) -> None:
        self.count(len(values))
        for value in values:
            self.text(value)

    def counts(self, values: np.ndarray) -> None:
        """An array of whole numbers ``>= 0``, of any shape (flattened)."""
        flat = np.ascontiguousarray(values).reshape(-1)
        if flat.size and int(flat.min()) < 0:
            raise ValueError("a count is negative")
        largest = int(flat.max()) if flat.size else 0
        width = next(w for w in range(4) if largest < 1 << (8 << w))
        self.count(flat.size)
        self.data.append(width)
        planes = flat.astype("<" + _WIDTHS[width]).view(np.uint8).reshape(-1, 1 << width)
        self.data += np.ascontiguousarray(planes.T).tobytes()

    def floats(self, values: np.ndarray) -> None:
        """An array of float64, of any shape (flattened)."""
        flat = np.ascontiguousarray(values, "<f8").reshape(-1)
        self.count(flat.size)
        planes = flat.view(np.uint8).reshape(-1, 8)
        self.data += np.ascontiguousarray(planes.T).tobytes()


class Decoder:
    """Reads what an :class:`Encoder` wrote, in the same order.

    :raises ProfileError: when the bytes end too early or cannot be what is asked for.
    """

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._data):
            raise damaged("it goes on after its end")

    def count(self) -> int:
        value = shift = 0
        while True:
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 70:
                raise damaged("a number is too long")

    def float(self) -> float:
        return float(_FLOAT.unpack(self._take(8))[0])

    def flag(self) -> bool:
        byte = self._take(1)[0]
        if byte > 1:
            raise damaged("a flag is neither 0 nor 1")
        return byte == 1

    def bytes(self) -> bytes:
        return bytes(self._take(self.count()))

    def text(self) -> str:
        try:
            return self.bytes().decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise damaged("a text is not UTF-8") from None

    def texts(self) -> tuple[str, ...]:
        return tuple(self.text() for _ in range(self.count()))

    def counts(self) -> np.ndarray:
        """int64, shape ``(n,)``."""
        size, width = self.count(), self._take(1)[0]
        if width >= len(_WIDTHS):
            raise damaged("an array has no known width")
        flat = self._planes(size, 1 << width).view("<" + _WIDTHS[width]).reshape(-1)
        if flat.size and int(flat.max()) > np.iinfo(np.int64).max:
            raise damaged("a count is too large")
        return flat.astype(np.int64)

    def floats(self) -> np.ndarray:
        """float64, shape ``(n,)``."""
        return self._planes(self.count(), 8).view("<f8").reshape(-1).astype(np.float64)

    def _planes(self, size: int, width: int) -> np.ndarray:
        planes = np.frombuffer(self._take(size * width), np.uint8).reshape(width, size)
        return np.ascontiguousarray(planes.T).reshape(-1)

    def _take(self, size: int) -> memoryview:
        if size > len(self._data) - self._at:
            raise damaged("it ends too early")
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken


def damaged(what: str) -> ProfileError:
    return ProfileError(
        f"the profile is damaged: {what}", remedy="make it again from the data, or restore it"
    )
