"""Bodies as rows by way of Python: the reading that knows every form a body may have.

:mod:`trueup.monitor.capture.quick_rows` reads the usual forms much faster and gives the same; what
it does not read comes here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import orjson

_DEEPEST = 200
"""Levels of nesting. Servers refuse what is deeper than 64, if not told otherwise; reading it would
take more of the stack than Python has, and of a refused body nothing but its text is needed."""
_MOST_REPEATED = 10_000
"""Rows that a body without one value per row is taken for, at most."""
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACKET = re.compile(r"[\[\]{}]")

UNREAD = object()
"""A text that is no JSON."""


@dataclass(frozen=True)
class Rows:
    """Rows of one body.

    :param named: values by variable of each row; a row that lacks one has no such key.
    :param sent: each row as the client sent it; ``None`` where that is ``named``.
    :param wrong: rows that are no objects where objects were expected.
    """

    named: list[dict[str, Any]]
    sent: list[Any] | None = None
    wrong: tuple[int, ...] = ()

    def original(self, row: int) -> Any:
        """That row as JSON values: as it was sent, or put together from the columns."""
        return self.named[row] if self.sent is None else self.sent[row]


def parse(text: bytes) -> Any:
    """The JSON value of ``text``, or ``UNREAD``, which too deep a one is as well. ``NaN`` and
    infinities are taken as written."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    else:
        many = text.count(b"{") + text.count(b"[") > _DEEPEST
        return UNREAD if many and _is_deep(found) else found
    try:
        decoded = text.decode()
        if _nesting(decoded) > _DEEPEST:
            return UNREAD
        return json.loads(decoded, parse_int=_integer)
    except (ValueError, RecursionError):
        return UNREAD


def dumped(value: Any) -> str:
    """``value`` as JSON text."""
    try:
        return orjson.dumps(value).decode() if _is_finite(value) else json.dumps(value)
    except (TypeError, ValueError):  # integers of more than 64 bits, lone surrogates
        return json.dumps(value)


def request_rows(value: Any, single: str, rows: int) -> Rows | None:
    """Rows of a predict request's parsed body, or of an array of objects; ``None`` if it is
    neither.

    :param single: name of the variable that a bare value is of.
    :param rows: how many the server counted, which says what a column without rows is repeated to.
    """
    if isinstance(value, list):
        return _row_form(value, single) if value else None
    if not isinstance(value, dict):
        return None
    instances, inputs = value.get("instances"), value.get("inputs")
    if isinstance(instances, list) and instances and inputs is None:
        return _row_form(instances, single)
    return None if inputs is None else _column_form(inputs, single, rows)


def response_rows(value: Any, single: str, rows: int) -> Rows | None:
    """Predictions of an answer's parsed body, likewise."""
    if not isinstance(value, dict):
        return None
    predictions = value.get("predictions", value.get("results"))
    if isinstance(predictions, list):
        return _row_form(predictions, single)
    outputs = value.get("outputs")
    return None if outputs is None else _column_form(outputs, single, rows)


def is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _row_form(instances: list[Any], single: str) -> Rows:
    are_named = [type(row) is dict and not is_bytes(row) for row in instances]
    if all(are_named):
        return Rows(instances)
    if not any(are_named):
        return Rows([{single: row} for row in instances], instances)
    named = [row if is_named else {} for row, is_named in zip(instances, are_named, strict=True)]
    wrong = tuple(i for i, is_named in enumerate(are_named) if not is_named)
    return Rows(named, instances, wrong)


def _column_form(inputs: Any, single: str, rows: int) -> Rows | None:
    """A column without a value per row (an input without a batch axis) is of all rows."""
    columns = inputs if isinstance(inputs, dict) and not is_bytes(inputs) else {single: inputs}
    if not columns:
        return None
    if rows < 1:  # refused before it was counted
        lengths = {len(values) if isinstance(values, list) else 0 for values in columns.values()}
        rows = lengths.pop() if len(lengths) == 1 else 0
    if rows < 1 or (rows > _MOST_REPEATED and not any(
        isinstance(values, list) and len(values) == rows for values in columns.values()
    )):  # fmt: skip
        return None
    each = [
        values if isinstance(values, list) and len(values) == rows else [values] * rows
        for values in columns.values()
    ]
    names = tuple(columns)
    return Rows([dict(zip(names, row, strict=True)) for row in zip(*each, strict=True)])


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return value - value == 0.0
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return all(map(_is_finite, value.values())) if isinstance(value, dict) else True


def _is_deep(value: Any) -> bool:
    """Whether there are more than ``_DEEPEST`` levels; by a loop, for calls would be too deep."""
    level = [value]
    for _ in range(_DEEPEST + 1):
        level = [
            inner
            for each in level
            if isinstance(each, list | dict)
            for inner in (each if isinstance(each, list) else each.values())
            if isinstance(inner, list | dict)
        ]
        if not level:
            return False
    return True


def _nesting(text: str) -> int:
    """How many levels deep ``text`` opens brackets, strings aside; 0 where they are few."""
    if text.count("{") + text.count("[") <= _DEEPEST:
        return 0
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "{[" else -1
        deepest = max(deepest, depth)
    return deepest


def _integer(digits: str) -> int | float:
    """Python refuses integers of more than 4,300 digits."""
    return int(digits) if len(digits) < 4_300 else float(digits)
