"""On which line of a TOML text each key is set, which the standard parser does not say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KeyPath = tuple[str, ...]


def lines_of_keys(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of every key and table of ``text``, which must be valid TOML.

    Tables of an array share their path; the first one's line is kept.

    >>> lines_of_keys('[store]\\n# a comment\\nurl = "x"')
    {('store',): 1, ('store', 'url'): 3}
    """
    found: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, statement, is_table in _statements(text):
        if is_table:
            table = _only_path(tomllib.loads(statement))
            _note(found, table, number)
            continue
        for path in _paths(tomllib.loads(statement)):
            _note(found, table + path, number)
    return found


def _note(found: dict[KeyPath, int], path: KeyPath, number: int) -> None:
    for depth in range(1, len(path) + 1):
        found.setdefault(path[:depth], number)


def _statements(text: str) -> Iterator[tuple[int, str, bool]]:
    """(line, text, is a table's head) of each statement; values may go over several lines."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        begin = lines[at].lstrip()
        if not begin or begin.startswith("#"):
            at += 1
            continue
        end = at + 1
        while not _is_whole("\n".join(lines[at:end])) and end < len(lines):
            end += 1
        yield at + 1, "\n".join(lines[at:end]), begin.startswith("[")
        at = end


def _is_whole(statement: str) -> bool:
    try:
        tomllib.loads(statement)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _only_path(tables: Any) -> KeyPath:
    """The path of the one table in ``{"a": {"b": {}}}`` or ``{"a": [{}]}``."""
    path: list[str] = []
    while isinstance(tables, dict) and tables:
        name, tables = next(iter(tables.items()))
        path.append(name)
        if isinstance(tables, list):
            tables = tables[-1]
    return tuple(path)


def _paths(value: Any) -> Iterator[KeyPath]:
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        yield (name,)
        for path in _paths(inner):
            yield (name, *path)
