"""Record batches as ``tf.train.Example`` in TFRecord frames, without a Python object per row.

The wire format (tensorflow/core/example/example.proto; protocol buffers' encoding guide) of one
feature is a few bytes that depend on its name, its kind and the size of its values, and then the
values as Arrow holds them. So a column is written by the sizes that occur in it: the bytes before,
and the values, each by one copy for all rows of that size (:mod:`trueup.trainer.data.ragged`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.errors import DataError
from trueup.frames.format import (
    FOOTER_BYTES,
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    masked_crc32c,
    masked_crc32cs,
)
from trueup.profile.arrow import plain_values, validity
from trueup.profile.hashing import string_buffers
from trueup.records.input_spec import FLOAT_DTYPES, Variable
from trueup.trainer.data.ragged import Ragged, by_length, copy, ends_of, overlapping, packed
from trueup.trainer.data.varints import sizes_of, varint, varints

Kind = Literal["bytes_list", "float_list", "int64_list"]

_FIELD: Mapping[Kind, bytes] = {"bytes_list": b"\x0a", "float_list": b"\x12", "int64_list": b"\x1a"}
"""Tags of ``Feature.kind``: fields 1 to 3, length-delimited."""

_FIRST = b"\x0a"  # field 1, length-delimited: Example.features, Features.feature, key, value lists
_SECOND = b"\x12"  # field 2: the value of a map's entry


@dataclass(frozen=True)
class Frames:
    """Records as a TFRecord file holds them, one behind the other.

    :param data: uint8. :param ends: int64, ``(records + 1,)``: record k lies in ``[k, k + 1)``.
    """

    data: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.ends) - 1


def kind_of(variable: Variable) -> Kind:
    """In which list of a Feature values of ``variable`` go; timestamps are texts (ISO 8601)."""
    if variable.dtype in FLOAT_DTYPES:
        return "float_list"
    if variable.dtype in ("string", "bytes", "timestamp"):
        return "bytes_list"
    return "int64_list"


class ExampleEncoder:
    """Encodes batches of typed columns (:func:`trueup.trainer.data.declared.declared`).

    :param variables: what goes into an Example, one Feature each, under its name.
    """

    def __init__(self, variables: Sequence[Variable]) -> None:
        self._columns = [_Column(variable) for variable in variables]

    def encode(self, columns: Mapping[str, pa.Array], rows: int) -> Frames:
        """The Examples of ``rows`` rows, in order; a null is a Feature that is not there.

        :raises DataError: an Example is larger than what a reader takes (256 MiB).
        """
        entries = [column.entries(columns[column.name]) for column in self._columns]
        features = np.zeros(rows, np.int64)
        for entry in entries:
            features += entry.lengths
        heads = 1 + sizes_of(features.view(np.uint64))
        payloads = heads + features
        if rows and int(payloads.max()) > MAX_PAYLOAD_BYTES:
            raise DataError(
                f"a row is {int(payloads.max()):,} bytes as an Example, and "
                f"{MAX_PAYLOAD_BYTES:,} are the most that one may have",
                remedy="set the role of its largest variable to ignored",
            )
        ends = ends_of(payloads + HEADER_BYTES + FOOTER_BYTES)
        data = np.empty(int(ends[-1]), np.uint8)
        at = ends[:-1] + HEADER_BYTES
        _write_heads(data, at, features)
        at += heads
        for entry in entries:
            entry.write(data, at)
            at += entry.lengths
        _write_frames(data, ends, payloads)
        return Frames(data, ends)


def _write_heads(data: np.ndarray, at: np.ndarray, features: np.ndarray) -> None:
    """``Example.features``: its tag, and how long it is."""
    data[at] = _FIRST[0]
    copy(varints(features), data, at + 1)


def _write_frames(data: np.ndarray, ends: np.ndarray, payloads: np.ndarray) -> None:
    """Length and checksums around each payload."""
    if not payloads.size:
        return
    starts = ends[:-1] + HEADER_BYTES
    stops = starts + payloads
    lengths, place = np.unique(payloads, return_inverse=True)
    headers = np.frombuffer(b"".join(map(_header, lengths.tolist())), f"V{HEADER_BYTES}")
    overlapping(data, HEADER_BYTES)[ends[:-1]] = headers[place.reshape(-1)]
    whole = data.tobytes()  # the checksum takes nothing that may change
    found = map(
        google_crc32c.value, map(whole.__getitem__, map(slice, starts.tolist(), stops.tolist()))
    )
    crcs = masked_crc32cs(np.fromiter(found, np.uint32, len(payloads)))
    overlapping(data, FOOTER_BYTES)[stops] = crcs.astype("<u4").view(f"V{FOOTER_BYTES}")


@lru_cache(maxsize=1 << 16)
def _header(length: int) -> bytes:
    packed_length = length.to_bytes(8, "little")
    return packed_length + masked_crc32c(packed_length).to_bytes(4, "little")


@dataclass(frozen=True)
class _Entries:
    """What one column adds to each row.

    :param lengths: bytes that each row gets, 0 where there is no Feature; int64, ``(rows,)``.
    :param groups: rows whose values are of one size: their places (``None``: all), the bytes
        before the values, and how many bytes the values are.
    """

    lengths: np.ndarray
    values: Ragged
    groups: list[tuple[np.ndarray | None, bytes, int]]

    def write(self, data: np.ndarray, at: np.ndarray) -> None:
        for rows, before, size in self.groups:
            starts, to = (
                (self.values.starts, at) if rows is None else (self.values.starts[rows], at[rows])
            )
            overlapping(data, len(before))[to] = np.void(before)
            if size:
                overlapping(data, size)[to + len(before)] = overlapping(self.values.data, size)[
                    starts
                ]


class _Column:
    def __init__(self, variable: Variable) -> None:
        self.name = variable.name
        self._kind = kind_of(variable)
        key = variable.name.encode()
        self._key = _FIRST + varint(len(key)) + key
        self._before = lru_cache(maxsize=4096)(self._bytes_before)

    def entries(self, array: pa.Array) -> _Entries:
        rows = len(array)
        valid = validity(array)
        if pa.types.is_list(array.type):
            values, framed = self._lists(array), self._kind == "bytes_list"
        else:
            values, framed = self._scalars(array), False
        lengths = np.zeros(rows, np.int64)
        groups: list[tuple[np.ndarray | None, bytes, int]] = []
        there = None if valid is None else np.flatnonzero(valid)
        sizes = values.lengths if there is None else values.lengths[there]
        is_list = pa.types.is_list(array.type)
        for size, chosen in by_length(sizes):
            places = chosen if there is None else (there if chosen is None else there[chosen])
            before = self._before(size, framed, is_list)
            lengths[slice(None) if places is None else places] = len(before) + size
            groups.append((places, before, size))
        return _Entries(lengths, values, groups)

    def _scalars(self, array: pa.Array) -> Ragged:
        """The bytes of one value per row (undefined where it is null)."""
        if self._kind == "bytes_list":
            offsets, data = string_buffers(_written(array))
            return Ragged(data, offsets[:-1], np.diff(offsets))
        if self._kind == "int64_list":
            if pa.types.is_boolean(array.type):
                array = array.cast(pa.uint8())
            return varints(plain_values(array))
        numbers = np.ascontiguousarray(plain_values(array), "<f4")
        starts = np.arange(0, 4 * len(numbers), 4, np.int64)
        return Ragged(numbers.view(np.uint8), starts, np.full(len(numbers), 4, np.int64))

    def _lists(self, array: pa.ListArray) -> Ragged:
        """The bytes of all values of each row."""
        offsets = np.frombuffer(array.buffers()[1], np.int32)[
            array.offset : array.offset + len(array) + 1
        ].astype(np.int64)
        pieces = self._scalars(array.values)
        if self._kind == "bytes_list":
            pieces = _framed(pieces)
        ends = ends_of(pieces.lengths)
        return Ragged(pieces.data, ends[offsets[:-1]], ends[offsets[1:]] - ends[offsets[:-1]])

    def _bytes_before(self, size: int, framed: bool, is_list: bool) -> bytes:
        """What comes before values of ``size`` bytes: the map entry, its key, and the lengths of
        all that is around them.

        :param framed: the values bring tags of their own. :param is_list: none may be there.
        """
        if framed or (is_list and not size):
            inner = b""
        else:
            inner = _FIRST + varint(size)
        content = len(inner) + size
        lists = _FIELD[self._kind] + varint(content) + inner
        feature = _SECOND + varint(len(lists) + size) + lists
        return _FIRST + varint(len(self._key) + len(feature) + size) + self._key + feature


def _written(array: pa.Array) -> pa.Array:
    """Times as ISO 8601 to the second, as clients write them; texts and bytes as they are."""
    if not pa.types.is_timestamp(array.type):
        return array
    seconds = array.cast(pa.timestamp("s", "UTC"), safe=False).view(pa.timestamp("s"))
    written = pc.replace_substring(seconds.cast(pa.string()), " ", "T", max_replacements=1)
    return pc.binary_join_element_wise(written, "Z", "")


def _framed(texts: Ragged) -> Ragged:
    """Each text as an element of ``BytesList.value``: tag, length and bytes, packed."""
    heads = varints(texts.lengths)
    whole = 1 + heads.lengths + texts.lengths
    pieces = packed(whole, np.empty(int(whole.sum()), np.uint8))
    pieces.data[pieces.starts] = _FIRST[0]
    copy(heads, pieces.data, pieces.starts + 1)
    copy(texts, pieces.data, pieces.starts + 1 + heads.lengths)
    return pieces
