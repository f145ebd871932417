"""The first line of a CSV file: column names, delimiter, and what looks wrong about them."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import IO

from trueup.datasets.encoding import UTF8_MARK, escape_invalid
from trueup.datasets.nested import flat_names, quoted, top_names
from trueup.errors import DataError

DELIMITERS = (",", "\t", ";", "|")

_EXCEL = re.compile(rb"sep=(.)\r?\n", re.IGNORECASE)
"""Excel's own first line, which names the delimiter."""

_VALUE = re.compile(r"\s*([+-]?\d+\.\d+|\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*)\s*")
"""What is a value and hardly a column's name: a fraction or a moment."""


@dataclass(frozen=True)
class Header:
    """Names of the columns; what follows begins at byte ``end`` and on line ``lines + 1``."""

    names: tuple[str, ...]
    delimiter: str
    end: int
    lines: int
    notes: tuple[str, ...] = ()


def read_header(stream: IO[bytes], path: str) -> Header:
    """The header at the beginning of ``stream``, which is left behind it.

    :raises DataError: on duplicate names and on line ends that are not read here.
    """
    line = stream.readline()
    end = len(line)
    line = line.removeprefix(UTF8_MARK)
    skipped, given = 0, ""
    if excel := _EXCEL.fullmatch(line):
        given, skipped = excel[1].decode("latin-1"), 1
        line = stream.readline()
        end += len(line)
    while line.strip(b" \r\n") == b"" or line.count(b'"') % 2:
        more = stream.readline()
        if not more:
            break
        line += more
        end += len(more)
    lines = line.count(b"\n")
    text = escape_invalid(line)[0].decode().strip("\r\n")
    if not text.strip(" \r\n"):
        return Header((), ",", end, lines + skipped)
    if "\r" in text and lines <= 1 and not text.count('"'):
        raise DataError(
            f"{path} ends its lines with a bare carriage return",
            remedy="save it with ordinary line ends",
        )
    delimiter = given or max(DELIMITERS, key=lambda mark: len(_fields(text, mark)))
    fields = _fields(text, delimiter)
    names, notes = top_names(fields)
    return Header(
        tuple(flat_names(names, path)),
        delimiter,
        end,
        lines + skipped,
        tuple(f"{path}: {note}" for note in (*notes, *_doubts(fields))),
    )


def _fields(text: str, delimiter: str) -> list[str]:
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])


def _doubts(fields: list[str]) -> list[str]:
    """Why the first line may be none of names."""
    values = [field for field in fields if _VALUE.fullmatch(field)]
    if values:
        return [f"the first line holds {quoted(values[0])}; it is taken for the header"]
    if all(_is_number(field) for field in fields):
        return ["the first line holds only numbers; it is taken for the header"]
    return []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
