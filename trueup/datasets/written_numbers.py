"""Numbers written for people: ``12,5``, ``1 234``, ``15 %``. They are read as the strings that
they are, because one cannot know whether ``1,500`` is fifteen hundred; but it is said.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

_WRITTEN = r"^\s*[+-]?([1-9][\d.,'\x{a0}\x{202f} ]*|0([.,]\d+)?)\s*%?\s*$"
_FIRST = re.compile(_WRITTEN.replace(r"\x{a0}\x{202f}", "\xa0\u202f"))
_SIGNS = re.compile(r"[,'%\xa0\u202f]|\d \d")
"""What tells them from plain numbers, from 10.0.0.1 and from 31.12.2024."""


def written_number(texts: pa.Array | pa.ChunkedArray) -> str | None:
    """The first text, when all of ``texts`` are numbers and it has a comma, a space, an
    apostrophe or a per cent sign in it; else ``None``.

    >>> written_number(pa.array(["12,5", None, "7"])), written_number(pa.array(["12,5", "x"]))
    ('12,5', None)
    """
    present = texts.drop_null()
    if not len(present):
        return None
    first = str(present[0].as_py())
    if not _FIRST.fullmatch(first) or not _SIGNS.search(first):
        return None
    matches = pc.all(pc.match_substring_regex(present, _WRITTEN)).as_py()
    return first if matches else None


def written_note(column: str, example: str) -> str:
    """The note about a column of such numbers."""
    return (
        f"column {column} holds numbers written for people, such as {example[:40]!r}: read as "
        "strings; write them with a decimal point and nothing else"
    )
