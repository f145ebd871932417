"""TFRecord files of ``tf.train.Example``.

A feature is a scalar column when no example has more than one value, else a list column. An
absent feature is null; one that is present without values is an empty list (null in a scalar
column). Bytes are strings unless many of them are not UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.datasets.columns import coerce, list_of, unify
from trueup.datasets.example_proto import example_class
from trueup.datasets.nested import key_name, quoted
from trueup.datasets.parts import Scan, plain_name
from trueup.datasets.sources import File
from trueup.datasets.times import as_declared, promote
from trueup.errors import DataError
from trueup.frames.format import (
    FOOTER_BYTES,
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    payload_is_whole,
    payload_length,
)

CHUNK_BYTES = 4 << 20
WIDE_CHUNK_BYTES = 32 << 20
FEWEST_EXAMPLES = 1_000
"""A chunk of fewer is grown to ``WIDE_CHUNK_BYTES``: each feature costs a call per chunk."""

CHUNK_EXAMPLES = 16_384

MOSTLY_BINARY = 0.05
"""A bytes feature with a larger share of values that are not UTF-8 is binary, not text."""

_TYPES = {"int64_list": pa.int64(), "float_list": pa.float32(), "bytes_list": pa.binary()}


@dataclass
class _Column:
    """Values of one feature and kind in one chunk: the examples that have it, and how many."""

    rows: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def lists(self, kind: str, examples: int) -> pa.ListArray:
        lengths = np.zeros(examples, dtype=np.int64)
        absent = np.ones(examples, dtype=bool)
        lengths[self.rows] = self.lengths
        absent[self.rows] = False
        return list_of(pa.array(lengths, mask=absent), pa.array(self.values, _TYPES[kind]))


@dataclass(frozen=True)
class ExampleUnit:
    """``weight`` decompressed bytes of frames from ``offset`` on."""

    file: File
    offset: int
    weight: int

    def read(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        wanted = dict(zip(schema.names, schema.types, strict=True))
        with self.file.open() as stream:
            if self.offset:
                stream.seek(self.offset)
            for chunk in _chunks(self.file, stream, self.offset, self.offset + self.weight):
                columns = _decode(self.file, chunk, set(wanted))
                arrays = {
                    name: _as_wanted(columns[name], wanted[name], len(chunk.payloads))
                    for name in wanted
                    if name in columns
                }
                names = list(arrays) or [""]
                yield pa.RecordBatch.from_arrays(
                    list(arrays.values()) or [pa.nulls(len(chunk.payloads))], names=names
                )


@dataclass(frozen=True)
class _Chunk:
    """Consecutive frames; ``end`` is the offset behind the last one."""

    offset: int
    end: int
    first: int
    payloads: list[bytes]


def _chunks(file: File, stream: IO[bytes], offset: int, stop: int | None) -> Iterator[_Chunk]:
    """Frames from ``offset`` to ``stop`` (the end of the file when ``None``); checksums checked."""
    start, first, payloads = offset, 0, list[bytes]()
    while stop is None or offset < stop:
        header = stream.read(HEADER_BYTES)
        if not header:
            break
        payload = _payload(file, stream, header, offset)
        payloads.append(payload)
        offset += HEADER_BYTES + len(payload) + FOOTER_BYTES
        limit = CHUNK_BYTES if len(payloads) >= FEWEST_EXAMPLES else WIDE_CHUNK_BYTES
        if offset - start >= limit or len(payloads) >= CHUNK_EXAMPLES:
            yield _Chunk(start, offset, first, payloads)
            start, first, payloads = offset, first + len(payloads), []
    if payloads:
        yield _Chunk(start, offset, first, payloads)


def _payload(file: File, stream: IO[bytes], header: bytes, offset: int) -> bytes:
    where = f"{file.path}, byte {offset}"
    remedy = "the file is damaged; write it again"
    length = payload_length(header) if len(header) == HEADER_BYTES else 0
    if length is None:
        raise DataError(f"{where}: no TFRecord frame (its checksum is wrong)", remedy=remedy)
    if length > MAX_PAYLOAD_BYTES:
        raise DataError(f"{where}: a frame of {length} bytes is too long to be an Example")
    payload, footer = stream.read(length), stream.read(FOOTER_BYTES)
    if len(header) < HEADER_BYTES or len(payload) < length or len(footer) < FOOTER_BYTES:
        raise DataError(f"{where}: the file is cut short inside a frame", remedy=remedy)
    if not payload_is_whole(payload, footer):
        raise DataError(f"{where}: the checksum of a frame is wrong", remedy=remedy)
    return payload


def _decode(file: File, chunk: _Chunk, wanted: set[str] | None) -> dict[str, dict[str, _Column]]:
    """Columns by feature name and kind."""
    example = example_class()()
    columns: dict[str, dict[str, _Column]] = {}
    names: dict[str, str] = {}
    for row, payload in enumerate(chunk.payloads):
        try:
            example.ParseFromString(payload)
        except Exception as error:  # DecodeError's home differs between protobuf releases
            raise DataError(
                f"{file.path}: record {chunk.first + row} from byte {chunk.offset} on is no "
                f"tf.train.Example ({error})",
                remedy="write serialized Examples",
            ) from error
        if not row:
            _refuse_other_message(file, chunk, example)
        for key, feature in example.features.feature.items():
            name = names.get(key) or names.setdefault(key, key_name(key))
            if wanted is not None and name not in wanted:
                continue
            kinds = columns.setdefault(name, {})
            kind = feature.WhichOneof("kind")
            if kind is None:  # present without a kind: a missing value
                continue
            column = kinds.get(kind)
            if column is None:
                column = kinds[kind] = _Column()
            values = getattr(feature, kind).value
            column.rows.append(row)
            column.lengths.append(len(values))
            column.values.extend(values)
    return columns


def _refuse_other_message(file: File, chunk: _Chunk, example: Any) -> None:
    """A SequenceExample parses as an Example, but its feature lists would be lost in silence."""
    size = example.ByteSize()
    example.DiscardUnknownFields()
    if example.ByteSize() != size:
        raise DataError(
            f"{file.path}: record {chunk.first} from byte {chunk.offset} on holds more than a "
            "tf.train.Example (a SequenceExample?)",
            remedy="write Examples",
        )


def _as_wanted(kinds: dict[str, _Column], leaf: pa.DataType, examples: int) -> pa.Array:
    """One feature as leaf type ``leaf``; examples of several kinds are put together."""
    is_list = pa.types.is_list(leaf)
    element = leaf.value_type if is_list else leaf
    merged: pa.Array | None = None
    for kind, column in kinds.items():
        if not is_list and len(column.values) == len(column.rows) == examples:
            return _elements(pa.array(column.values, _TYPES[kind]), element)
        part = column.lists(kind, examples)
        values = _elements(part.flatten(), element)
        part = list_of(pc.list_value_length(part), values)
        if not is_list:
            part = _scalars(part)
        merged = part if merged is None else pc.coalesce(merged, part)
    return pa.nulls(examples, leaf) if merged is None else merged


def _elements(values: pa.Array, element: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(element) and pa.types.is_binary(values.type):
        return as_declared(coerce(values, pa.string()), element)
    return coerce(values, element)


def _scalars(lists: pa.ListArray) -> pa.Array:
    """Lists of at most one value as scalars; empty and null ones are null."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    there = lengths.to_numpy(zero_copy_only=False) > 0
    places = np.cumsum(there) - 1
    return lists.flatten().take(pa.array(places, mask=~there))


@dataclass
class _Found:
    """What the scan has seen of one feature."""

    type: pa.DataType = field(default_factory=pa.null)
    mixed: set[str] = field(default_factory=set)
    longest: int = 0
    values: int = 0
    undecodable: int = 0

    def see(self, kind: str, column: _Column) -> None:
        self.longest = max(self.longest, max(column.lengths, default=0))
        found = _TYPES[kind]
        if kind == "bytes_list":
            bad = sum(not _is_text(value) for value in column.values)
            self.values += len(column.values)
            self.undecodable += bad
            found = pa.string()
            if not bad and column.values:
                found = promote(pa.array(column.values, pa.binary()).cast(pa.string())).type
        if not column.values and not pa.types.is_null(self.type):
            return
        before = self.type
        self.type, conflict = unify(before, found)
        if conflict:
            self.mixed |= {plain_name(before), plain_name(found)}

    @property
    def binary(self) -> bool:
        return self.values > 0 and self.undecodable > MOSTLY_BINARY * self.values

    @property
    def leaf(self) -> pa.DataType:
        element = pa.binary() if self.binary and not self.mixed else self.type
        if pa.types.is_timestamp(element) and self.longest > 1:
            element = pa.string()
        return pa.list_(element) if self.longest > 1 else element


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def scan_tfrecord(file: File) -> Scan:
    """Names, types, rows and units of one file, from one pass over all of it.

    :raises DataError: on damage (the byte is named) and records that are no Examples.
    """
    found: dict[str, _Found] = {}
    scan = Scan(file.path, {}, [], 0)
    end = 0
    with file.open() as stream:
        for chunk in _chunks(file, stream, 0, None):
            for name, kinds in _decode(file, chunk, None).items():
                seen = found.setdefault(name, _Found())
                for kind, column in kinds.items():
                    seen.see(kind, column)
            scan.rows += len(chunk.payloads)
            end = chunk.end
            if not file.compression:
                scan.units.append(ExampleUnit(file, chunk.offset, chunk.end - chunk.offset))
    if file.compression and scan.rows:
        scan.units.append(ExampleUnit(file, 0, end))
    for name in sorted(found):  # maps have no order; names give one
        seen = found[name]
        scan.types[name] = seen.leaf
        if seen.mixed:
            said = ", ".join(sorted(seen.mixed))
            scan.notes.append(
                f"{quoted(name)}: features of different kinds ({said}), read as strings"
            )
        elif seen.undecodable and not seen.binary:
            scan.notes.append(
                f"{quoted(name)}: {seen.undecodable} values are not UTF-8: shown as backslash "
                "escapes"
            )
    return scan
