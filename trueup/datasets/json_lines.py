"""JSON lines: one object per line, nested ones as ``a.b``.

Types are those of the values, over all lines; strings that are all ISO 8601 times become times,
so that the same data as CSV and as JSON lines has the same columns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa

from trueup.datasets.columns import coerce, leaf_type, unify
from trueup.datasets.encoding import UTF8_MARK, escaped_note
from trueup.datasets.json_values import array_of
from trueup.datasets.nested import flat_names, key_name, leaf_arrays, quoted, some
from trueup.datasets.parts import Scan
from trueup.datasets.sources import File
from trueup.datasets.text_blocks import Block, blocks, cut_lines
from trueup.datasets.times import as_declared, promote, zone_note, zones_of
from trueup.errors import DataError

DEEPEST = 100
"""Levels of nested objects that become columns."""

_SURROGATES = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class JsonUnit:
    """``length`` decompressed bytes from ``offset`` on: whole lines."""

    file: File
    offset: int
    first_line: int
    length: int

    @property
    def weight(self) -> int:
        return self.length

    def read(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        wanted = dict(zip(schema.names, schema.types, strict=True))
        with self.file.open() as stream:
            if self.file.compression:
                stream.read(self.offset)
                parts = blocks(
                    stream,
                    cut_lines,
                    source=self.file.path,
                    offset=self.offset,
                    first_line=self.first_line,
                )
            else:
                stream.seek(self.offset)
                parts = iter([Block(self.offset, self.first_line, stream.read(self.length))])
            for block in parts:
                rows = _rows(self.file, block)[0]
                leaves = {
                    name: as_declared(array, wanted[name])
                    for name, array, _ in _leaves(rows, set(wanted))
                    if name in wanted
                }
                if rows:
                    yield _batch(leaves, len(rows))


def _batch(leaves: dict[str, pa.Array], rows: int) -> pa.RecordBatch:
    if leaves:
        return pa.RecordBatch.from_arrays(list(leaves.values()), names=list(leaves))
    return pa.RecordBatch.from_arrays([pa.nulls(rows)], names=[""])


def scan_json(file: File) -> Scan:
    """Names, types, rows and units of one file, from one pass over all of it.

    :raises DataError: on a line that is no JSON object (its number is named).
    """
    scan = Scan(file.path, {}, [], 0)
    found = _Found(file.path)
    escaped = end = start = 0
    with file.open() as stream:
        start = len(UTF8_MARK) if stream.read(3) == UTF8_MARK else 0
    with file.open() as stream:
        stream.read(start)
        for block in blocks(stream, cut_lines, source=file.path, offset=start):
            rows, count = _rows(file, block)
            escaped += count
            _refuse_repeated_keys(file, block)
            scan.rows += len(rows)
            end = block.offset + len(block.data)
            if rows and not file.compression:
                scan.units.append(JsonUnit(file, block.offset, block.first_line, len(block.data)))
            found.see(rows, block.first_line)
    if file.compression and scan.rows:
        scan.units.append(JsonUnit(file, start, 1, end - start))
    if escaped:
        scan.notes.append(escaped_note(file.path, escaped))
    scan.types = found.types
    scan.notes += found.notes()
    return scan


@dataclass
class _Found:
    """What the lines of one file hold, by column."""

    path: str
    types: dict[str, pa.DataType] = field(default_factory=dict)
    mixed: dict[str, None] = field(default_factory=dict)
    zones: dict[str, set[str]] = field(default_factory=dict)

    def see(self, rows: list[dict[str, Any]], first_line: int) -> None:
        try:
            leaves = list(_leaves(rows, None))
        except RecursionError:
            raise self._too_deep(first_line) from None
        flat_names([name for name, _, _ in leaves], self.path)
        for name, array, conflict in leaves:
            if name.count(".") > DEEPEST:
                raise self._too_deep(first_line)
            promoted = promote(array)
            if promoted is not array:
                self.zones.setdefault(name, set()).update(zones_of(array))
            before = self.types.get(name, pa.null())
            self.types[name], conflicts = unify(before, leaf_type(promoted.type))
            if conflict or conflicts:
                self.mixed[name] = None

    def _too_deep(self, first_line: int) -> DataError:
        return DataError(
            f"{self.path}, from line {first_line} on: objects are nested too deeply to be columns",
            remedy=f"at most {DEEPEST} levels are read",
        )

    def notes(self) -> list[str]:
        said = [
            zone_note(quoted(name), zones)
            for name, zones in self.zones.items()
            if pa.types.is_timestamp(self.types[name])
        ]
        if self.mixed:
            said.append(f"{some(list(self.mixed))}: values of different types, read as strings")
        return [note for note in said if note]


_DEEPEST_TEXT = 500
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACKET = re.compile(r"[\[\]{}]")


def _rows(file: File, block: Block) -> tuple[list[dict[str, Any]], int]:
    """The objects of ``block``, and how many bytes had to be escaped."""
    lines = block.data.split(b"\n")
    try:
        rows = orjson.loads(b"[" + b",".join(line for line in lines if line.strip()) + b"]")
        if all(type(row) is dict for row in rows):
            return rows, 0
    except orjson.JSONDecodeError:
        pass
    rows, escaped = [], 0
    for place, line in enumerate(lines):
        if line.strip():
            text, count = _escape(line)
            escaped += count
            rows.append(_object(text, f"{file.path}, line {block.first_line + place}"))
    return rows, escaped


def _escape(line: bytes) -> tuple[str, int]:
    """A line as text; a byte that does not decode becomes ``\\\\xNN`` in JSON's own escapes."""
    text = line.decode("utf-8", "surrogateescape")
    return _SURROGATES.subn(lambda found: f"\\\\x{ord(found[0]) - 0xDC00:02x}", text)


def _too_deep(where: str) -> DataError:
    return DataError(
        f"{where}: nested too deeply to be read", remedy=f"at most {DEEPEST} levels are read"
    )


def _nesting(text: str) -> int:
    """How many levels deep ``text`` opens brackets, strings aside; 0 where they are few.

    Some Pythons' JSON parsers and writers exhaust the stack of the process instead of raising.
    """
    if text.count("{") + text.count("[") <= _DEEPEST_TEXT:
        return 0
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "{[" else -1
        deepest = max(deepest, depth)
    return deepest


def _refuse_repeated_keys(file: File, block: Block) -> None:
    """:class:`DataError` when the first object of ``block`` has a key twice: a parser keeps the
    last value, and a column would be gone without a word. (A writer that repeats a key does so in
    every object.)"""
    place, line = next(
        ((place, line) for place, line in enumerate(block.data.split(b"\n")) if line.strip()),
        (0, b"{}"),
    )

    def seen_once(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        flat_names(names, f"{file.path}, line {block.first_line + place}")

    json.loads(_escape(line)[0], object_pairs_hook=seen_once, parse_int=_integer)


def _object(text: str, where: str) -> dict[str, Any]:
    if _nesting(text) > _DEEPEST_TEXT:
        raise _too_deep(where)
    try:
        # Unlike orjson it takes NaN and Infinity, as Python writes them.
        value = json.loads(text, parse_int=_integer)
    except ValueError as error:
        if text.lstrip().startswith("["):
            raise _array_on_top(where) from None
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        column = f" at character {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(
            f"{where}: no valid JSON ({reason}{column})",
            remedy="write one complete object per line",
        ) from None
    except RecursionError:
        raise _too_deep(where) from None
    if isinstance(value, list):
        raise _array_on_top(where)
    if not isinstance(value, dict):
        raise DataError(
            f"{where}: holds {plain_json(value)}, not an object",
            remedy='write one object per line, such as {"column": 1}',
        )
    return value


def _integer(digits: str) -> float:
    """Python refuses integers of more than 4,300 digits."""
    return int(digits) if len(digits) < 4_300 else float(digits)


def _array_on_top(where: str) -> DataError:
    return DataError(
        f"{where}: holds an array, not an object",
        remedy='write one object per line, such as {"column": 1} (jq -c ".[]" does it)',
    )


def plain_json(value: object) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, str):
        return "a string"
    return "null" if value is None else f"the value {json.dumps(value)}"


def _leaves(
    rows: list[dict[str, Any]], wanted: set[str] | None
) -> Iterator[tuple[str, pa.Array, bool]]:
    """Leaf name, array, and whether its values had different types."""
    for key, values in _columns(rows):
        top = key_name(key)
        if wanted is not None and not _needed(top, wanted):
            continue
        for part in _split(values):
            array, conflict = array_of(part)
            for name, leaf in leaf_arrays(top, array):
                yield name, coerce(leaf, leaf_type(leaf.type)), conflict


def _columns(rows: list[dict[str, Any]]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Keys and their values, one per row. Rows of the same keys, as most files have them, are
    turned without a look-up per value."""
    keys = list(rows[0]) if rows else []
    if all(list(row) == keys for row in rows):
        yield from zip(keys, zip(*(row.values() for row in rows), strict=True), strict=True)
        return
    for key in dict.fromkeys(key for row in rows for key in row):
        yield key, [row.get(key) for row in rows]


def _needed(top: str, wanted: set[str]) -> bool:
    return top in wanted or any(name.startswith((f"{top}.", f"{top}[")) for name in wanted)


def _split(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Objects apart from other values of the same key: ``a`` and ``a.b`` may both exist."""
    kinds = set(map(type, values))
    if dict in kinds and kinds - {dict, type(None)}:
        objects = [type(value) is dict for value in values]
        yield [
            value if is_object else None for value, is_object in zip(values, objects, strict=True)
        ]
        yield [
            None if is_object else value for value, is_object in zip(values, objects, strict=True)
        ]
    else:
        yield values
