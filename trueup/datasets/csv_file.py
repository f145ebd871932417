"""CSV files: types inferred from every block, not from the first; read block by block.

A field that is empty or says NA, NULL, NaN, ... without quotes is null (as pandas reads it); the
same in quotes is a string. A row with too many or too few fields is an error that names its line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

import pyarrow as pa
import pyarrow.csv as pa_csv

from trueup.datasets.columns import TIME, leaf_type, unify
from trueup.datasets.csv_header import read_header
from trueup.datasets.encoding import escape_invalid, escaped_note
from trueup.datasets.nested import quoted
from trueup.datasets.parts import Scan, plain_name
from trueup.datasets.sources import File
from trueup.datasets.text_blocks import Block, blocks, csv_cut
from trueup.datasets.times import as_declared, promote
from trueup.datasets.written_numbers import written_note, written_number
from trueup.errors import DataError

NULL_TEXTS = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "n/a", "nan", "null",
)  # fmt: skip
"""What pandas 1.5 takes for missing. "None" is not among them: it is a category of many data."""


@dataclass(frozen=True)
class CsvLayout:
    """How one CSV file is read.

    :param read_types: Arrow type to ask of the parser, by column name.
    """

    file: File
    delimiter: str
    names: tuple[str, ...]
    read_types: dict[str, pa.DataType] = field(default_factory=dict)

    def blocks(self, stream: IO[bytes], offset: int, first_line: int) -> Iterator[Block]:
        """The rest of ``stream``, which is at byte ``offset``, as whole records."""
        yield from blocks(
            stream,
            csv_cut(self.delimiter),
            source=self.file.path,
            offset=offset,
            first_line=first_line,
        )


@dataclass(frozen=True)
class CsvUnit:
    """``length`` decompressed bytes from ``offset`` on: whole records."""

    layout: CsvLayout
    offset: int
    first_line: int
    length: int

    @property
    def weight(self) -> int:
        return self.length

    def read(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        wanted = {
            name: self._read_type(name, kind)
            for name, kind in zip(schema.names, schema.types, strict=True)
        }
        here = [name for name in self.layout.names if name in wanted]
        types = {name: wanted[name] for name in here}
        for block in self._blocks():
            table = _parse(self.layout, block, types, include=here)
            yield from _declared(table.combine_chunks(), schema).to_batches()

    def _read_type(self, name: str, leaf: pa.DataType) -> pa.DataType:
        """Text is read as it stands also where it looks like a number in this file alone."""
        if pa.types.is_string(leaf):
            return leaf
        return self.layout.read_types.get(name, leaf)

    def _blocks(self) -> Iterator[Block]:
        with self.layout.file.open() as stream:
            if not self.layout.file.compression:
                stream.seek(self.offset)
                yield Block(self.offset, self.first_line, stream.read(self.length))
                return
            stream.read(self.offset)
            yield from self.layout.blocks(stream, self.offset, self.first_line)


def _declared(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """``table`` with the columns of times that had to be read as strings as times."""
    for place, name in enumerate(table.schema.names):
        kind = schema.field(name).type
        column = table.column(place)
        if pa.types.is_timestamp(kind) and pa.types.is_string(column.type) and column.num_chunks:
            times = as_declared(pa.concat_arrays(column.chunks), kind)
            table = table.set_column(place, name, times)
    return table


def scan_csv(file: File) -> Scan:
    """Names, types, rows and units of one CSV file, from one pass over all of it.

    :raises DataError: on duplicate names, rows of the wrong length, damage.
    """
    scan = Scan(file.path, {}, [], 0)
    with file.open() as stream:
        header = read_header(stream, file.path)
        names, start, lines = header.names, header.end, header.lines
        scan.notes += header.notes
        if not names:
            return scan
        layout = CsvLayout(file, header.delimiter, names)
        columns = [_Seen() for _ in names]
        escaped = end = 0
        for block in layout.blocks(stream, start, 1 + lines):
            escaped += escape_invalid(block.data)[1]
            _refuse_open_quote(layout, block)
            table = _parse(layout, block, {}, include=list(names))
            for seen, column in zip(columns, table.columns, strict=True):
                seen.see(column)
            scan.rows += table.num_rows
            end = block.offset + len(block.data)
            if not file.compression:
                scan.units.append(CsvUnit(layout, block.offset, block.first_line, len(block.data)))
    if escaped:
        scan.notes.append(escaped_note(file.path, escaped))
    if file.compression and scan.rows:
        scan.units.append(CsvUnit(layout, start, 1 + lines, end - start))
    for name, seen in zip(names, columns, strict=True):
        layout.read_types[name], scan.types[name] = _settle(name, seen, scan.notes)
    return scan


@dataclass
class _Seen:
    """What the blocks showed of one column.

    :param as_text: whether the parser took its times for strings in some block.
    :param written: an example of numbers written for people, while all strings are such.
    """

    kinds: set[pa.DataType] = field(default_factory=set)
    as_text: bool = False
    written: str | None = ""

    def see(self, column: pa.ChunkedArray) -> None:
        kind = _text_kind(column)
        self.kinds.add(kind)
        self.as_text = self.as_text or kind != column.type
        if pa.types.is_string(kind) and self.written is not None:
            example = written_number(column)
            self.written = example and (self.written or example)


def _parse(
    layout: CsvLayout,
    block: Block,
    types: dict[str, pa.DataType],
    *,
    include: list[str],
) -> pa.Table:
    """The records of ``block``; columns without an entry in ``types`` are inferred."""
    data = escape_invalid(block.data)[0]
    quoted = b'"' in data
    read = pa_csv.ReadOptions(
        column_names=list(layout.names),
        use_threads=False,  # a failed read's threads may abort the process when it ends
        block_size=max(1 << 20, len(data) if quoted else 0) + 1,
    )
    parse = pa_csv.ParseOptions(delimiter=layout.delimiter, newlines_in_values=quoted)
    for attempt in (types, _nanoseconds(types)):
        convert = pa_csv.ConvertOptions(
            check_utf8=False,
            column_types=attempt,
            null_values=list(NULL_TEXTS),
            true_values=["true", "True", "TRUE"],
            false_values=["false", "False", "FALSE"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            include_columns=include,
        )
        try:
            return pa_csv.read_csv(pa.BufferReader(data), read, parse, convert)
        except pa.ArrowInvalid as error:
            failure = error
    raise _wrong_row(layout, block, data, failure)


def _nanoseconds(types: dict[str, pa.DataType]) -> dict[str, pa.DataType]:
    """``types`` with times in nanoseconds, for fractions of more than six digits. Microseconds
    are tried first, because only they reach the year 9999."""
    return {
        name: pa.timestamp("ns", kind.tz) if pa.types.is_timestamp(kind) else kind
        for name, kind in types.items()
    }


def _refuse_open_quote(layout: CsvLayout, block: Block) -> None:
    """:class:`DataError` when the file ends inside quotes; the parser would take all the rest
    for one field."""
    if b'"' not in block.data:
        return
    data = block.data if block.data.endswith(b"\n") else block.data + b"\n"
    end = csv_cut(layout.delimiter)(data)
    if end < len(data):
        line = block.first_line + data.count(b"\n", 0, end)
        raise DataError(
            f"{layout.file.path}: the record at line {line} opens a quote that is never closed",
            remedy="close it, or double it if it belongs to the text",
        )


def _wrong_row(layout: CsvLayout, block: Block, data: bytes, error: Exception) -> DataError:
    """The line at which ``block`` breaks; Arrow does not tell it."""
    expected = len(layout.names)
    reader = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=layout.delimiter)
    line = block.first_line
    try:
        for row in reader:
            if row and len(row) != expected:
                fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
                return DataError(
                    f"{layout.file.path}, line {line}: {fields} where the header has {expected}",
                    remedy="mend that line, or quote the field that holds the delimiter",
                )
            line = block.first_line + reader.line_num
    except csv.Error as problem:
        return DataError(f"{layout.file.path}, line {line}: {problem}")
    reason = str(error).splitlines()[0]
    return DataError(f"{layout.file.path}, from line {block.first_line} on: {reason}")


def _text_kind(column: pa.ChunkedArray) -> pa.DataType:
    """The type of one block of a column; strings that are all times are times. (The parser takes
    times with and without a zone in one block for strings.)"""
    if not pa.types.is_string(column.type) or not column.num_chunks:
        return column.type
    return promote(column.combine_chunks()).type


def _settle(name: str, seen: _Seen, notes: list[str]) -> tuple[pa.DataType, pa.DataType]:
    """The type to read a column as, and its leaf type, from the types of its blocks."""
    t, shown = pa.types, quoted(name)
    known = [kind for kind in sorted(seen.kinds, key=str) if not t.is_null(kind)]
    if not known:
        return pa.null(), pa.null()
    if all(t.is_timestamp(kind) or t.is_date(kind) for kind in known):
        zones = {getattr(kind, "tz", None) for kind in known}
        if len(zones) == 1 and not seen.as_text:
            zone = zones.pop()
            if zone is None:
                notes.append(f"column {shown} has times without a zone: taken as UTC")
            return pa.timestamp("us", zone), leaf_type(known[0])
        notes.append(
            f"column {shown} has times with and without a zone: those without are taken as UTC"
        )
        return pa.string(), TIME
    if all(t.is_time(kind) for kind in known):
        notes.append(f"column {shown} has times of day: read as seconds since midnight")
        return known[0], pa.float64()
    if seen.written:
        notes.append(written_note(shown, seen.written))
    leaf, conflict = leaf_type(known[0]), False
    for kind in known[1:]:
        leaf, conflicts = unify(leaf, leaf_type(kind))
        conflict = conflict or conflicts
    if conflict:
        said = ", ".join(dict.fromkeys(plain_name(leaf_type(kind)) for kind in known))
        notes.append(f"column {shown} has values of different types ({said}): read as strings")
    return leaf, leaf
