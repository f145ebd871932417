"""Lengths and character classes of text, from the Arrow buffer without making Python strings."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from trueup.profile.hashing import string_buffers
from trueup.profile.states import TextState
from trueup.records.input_spec import Variable

_BLOCK = 1 << 16  # bytes looked at together: their indices are eight times as large
_CLASSES = 5


def _byte_classes() -> np.ndarray:
    classes = np.full(256, 3, np.intp)
    classes[ord("A") : ord("Z") + 1] = 0
    classes[ord("a") : ord("z") + 1] = 1
    classes[ord("0") : ord("9") + 1] = 2
    classes[128:] = 4
    return classes


_CLASS_OF_BYTE = _byte_classes()


def text_state(texts: pa.Array) -> TextState:
    """Empty values and character classes of Arrow ``texts`` (strings or binary, no nulls)."""
    offsets, data = string_buffers(texts)
    of_byte = byte_counts(data[int(offsets[0]) : int(offsets[-1])])
    classes = np.zeros(_CLASSES, np.int64)
    np.add.at(classes, _CLASS_OF_BYTE, of_byte)
    return TextState(int(np.count_nonzero(offsets[1:] == offsets[:-1])), classes)


def character_lengths(texts: pa.Array) -> np.ndarray:
    """Characters of each text, int64: bytes that do not continue a UTF-8 sequence, so that
    broken sequences have a length too."""
    offsets, data = string_buffers(texts)
    lengths = offsets[1:] - offsets[:-1]
    raw = data[int(offsets[0]) : int(offsets[-1])]
    continues = (raw & 0xC0) == 0x80
    if continues.any():
        before = np.zeros(raw.size + 1, np.int64)
        np.cumsum(continues, out=before[1:])
        ends = offsets - offsets[0]
        lengths = lengths - (before[ends[1:]] - before[ends[:-1]])
    return lengths


def text_lengths(texts: pa.Array, variable: Variable) -> np.ndarray:
    """Length of each of ``texts`` (strings or binary, no nulls), int64: bytes of what is declared
    to be bytes, else characters.

    >>> from trueup.records.input_spec import Kind
    >>> name, raw = (
    ...     Variable(name="x", dtype=dtype, kind=Kind.CATEGORICAL) for dtype in ("string", "bytes")
    ... )
    >>> texts = pa.array(["é", "ab"])
    >>> text_lengths(texts, name).tolist(), text_lengths(texts, raw).tolist()
    ([1, 2], [2, 2])
    """
    if variable.dtype != "bytes":
        return character_lengths(texts)
    return np.diff(string_buffers(texts)[0])[: len(texts)]


def byte_counts(raw: np.ndarray) -> np.ndarray:
    """How often each byte occurs in ``raw`` (uint8), int64, shape ``(256,)``."""
    counts = np.zeros(256, np.int64)
    for start in range(0, raw.size, _BLOCK):
        counts += np.bincount(raw[start : start + _BLOCK], minlength=256)
    return counts
