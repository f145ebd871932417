"""Text files cut into blocks that begin and end at record boundaries, in bounded memory.

A CSV record may hold newlines inside quotes, so a newline ends a record only where the number of
quotes before it is even. That rule is exact as long as every quote opens or closes a field or
stands doubled inside one; a block where one does not (``5" pipe``) is walked by a grammar instead,
which knows that a quote in the middle of a bare field is an ordinary character.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np

from trueup.errors import DataError

BLOCK_BYTES = 8 << 20
WIDE_BLOCK_BYTES = 32 << 20
FEWEST_RECORDS = 1_000
"""A block of fewer lines is grown to ``WIDE_BLOCK_BYTES``: with thousands of columns, each of which
costs a profile a call per block, small blocks would cost more than what is in them."""

LONGEST_RECORD_BYTES = 256 << 20
"""A longer one is taken for a quote that was never closed."""


@dataclass(frozen=True)
class Block:
    """Whole records of a text file.

    :param offset: of the first byte in the (decompressed) file.
    :param first_line: line number of the first record, from 1.
    """

    offset: int
    first_line: int
    data: bytes


Cut = Callable[[bytes], int]
"""Length of the longest prefix that ends at a record boundary; 0 when there is none."""


def cut_lines(data: bytes) -> int:
    """:data:`Cut` for formats where every newline ends a record."""
    return data.rfind(b"\n") + 1


def blocks(
    stream: IO[bytes],
    cut: Cut,
    *,
    source: str,
    offset: int = 0,
    first_line: int = 1,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[Block]:
    """The rest of ``stream`` in blocks of about ``block_bytes``, or of ``WIDE_BLOCK_BYTES`` where
    records are long; the last may lack a newline.

    :raises DataError: when one record is longer than 256 MB.
    """
    rest = b""
    while True:
        chunk = stream.read(block_bytes)
        if BLOCK_BYTES <= len(chunk) < WIDE_BLOCK_BYTES and chunk.count(b"\n") < FEWEST_RECORDS:
            block_bytes = WIDE_BLOCK_BYTES
            chunk += stream.read(block_bytes - len(chunk))
        data = rest + chunk if rest else chunk
        if not chunk:
            if data:
                yield Block(offset, first_line, data)
            return
        end = cut(data)
        if not end:
            if len(data) > LONGEST_RECORD_BYTES:
                raise DataError(
                    f"{source}: the record that begins at line {first_line} is longer than "
                    f"{LONGEST_RECORD_BYTES >> 20} MB",
                    remedy="a quote that is never closed does this",
                )
            rest = data
            continue
        block = Block(offset, first_line, data[:end])
        yield block
        offset += end
        first_line += block.data.count(b"\n")
        rest = data[end:]


def csv_cut(delimiter: str) -> Cut:
    """:data:`Cut` for CSV with ``"`` as quote."""
    mark = delimiter.encode()
    record = _record_pattern(delimiter)

    def cut(data: bytes) -> int:
        if b'"' not in data:
            return data.rfind(b"\n") + 1
        array = np.frombuffer(data, dtype=np.uint8)
        quotes = np.flatnonzero(array == ord('"'))
        if not _regular(array, quotes, ord(mark)):
            return _cut_by_grammar(record, data)
        newlines = np.flatnonzero(array == ord("\n"))
        outside = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
        return int(outside[-1]) + 1 if outside.size else 0

    return cut


def _regular(array: np.ndarray, quotes: np.ndarray, delimiter: int) -> bool:
    """Whether each opening quote follows, and each closing one precedes, a field's border or
    another quote. ``array`` begins at a record."""
    borders = (delimiter, ord("\n"), ord("\r"), ord('"'))
    opening, closing = quotes[0::2], quotes[1::2]
    before = array[opening[opening > 0] - 1]
    after = array[closing[closing < array.size - 1] + 1]
    return bool(np.isin(before, borders).all() and np.isin(after, borders).all())


def _record_pattern(delimiter: str) -> re.Pattern[bytes]:
    mark = re.escape(delimiter.encode())
    bare = rb"[^\r\n" + mark + rb"]*"
    field = rb'(?:"(?:[^"]|"")*"' + bare + rb'|(?!")' + bare + rb")"
    return re.compile(field + rb"(?:" + mark + field + rb")*(?:\r\n|\n)")


def _cut_by_grammar(record: re.Pattern[bytes], data: bytes) -> int:
    end = 0
    while (match := record.match(data, end)) is not None:
        end = match.end()
    return end
