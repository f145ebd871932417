"""One label as it was sent: checked, and brought into the form in which it waits for its row.

An item of ``POST /trueup/v1/labels``, and of a capture frame of labels, is an object::

    {"id": "<request id>/<row>", "label": 1}
    {"id": "<segment>-<frame>-<row>", "label": {"arrived": true, "delay": 12.5}}
    {"key": {"order": 1234}, "label": 1, "labelled_at": "2024-01-02T03:04:05Z"}
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson
import pyarrow as pa

from trueup.monitor.capture.labels_refs import By, key_ref
from trueup.records.keys import EPOCH

DEFAULT_NAME = "label"
"""Of a label that is a bare value, for a model whose InputSpec names no label variable."""

FUTURE_ALLOWED = timedelta(minutes=5)
"""A label dated later than this after it came is dated by its arrival: it would win for ever."""

EXAMPLES = 3
"""Kept of each reason for which labels were refused."""

_ROW_ID = re.compile(r"([0-9a-z]{26})-(\d+)-(\d+)")
_MINTED = re.compile(r"[0-9a-z]{26}-\d+")
_ROW = re.compile(r"\d{1,9}")
_MICROSECOND = timedelta(microseconds=1)
_TIME = pa.timestamp("us", "UTC")

WAITING = pa.schema(
    [
        pa.field("label_id", pa.string()),
        pa.field("by", pa.string()),
        pa.field("key", pa.string()),  # JSON array of the key columns' names, sorted
        pa.field("ref", pa.string()),
        pa.field("label", pa.string()),  # JSON object, its names sorted
        pa.field("labelled_at", _TIME),
        pa.field("arrived_at", _TIME),
    ]
)
"""Columns of a file of labels that wait for their row (docs/capture.md)."""


class LabelRefused(ValueError):
    """A label that cannot be used; the text is the reason, the same for all of its kind."""


@dataclass
class RefusedLabels:
    """Counts of labels that cannot be used, by reason, with the ids of the first of each."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, example: str, count: int = 1) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + count
        shown = self.examples.setdefault(reason, [])
        if len(shown) < EXAMPLES:
            shown.append(example)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def details(self) -> dict[str, Any]:
        """For the store: plain values."""
        return {
            reason: {"count": count, "examples": self.examples[reason]}
            for reason, count in self.counts.items()
        }


def waiting_row(
    item: object, *, label_id: str, arrived_us: int, name: str = DEFAULT_NAME
) -> tuple[Any, ...]:
    """``item`` as a row of :data:`WAITING`, times in microseconds since 1970.

    :param label_id: unique; ``<segment>-<frame>-<place in the frame>``.
    :param name: of a label that is a bare value.
    :raises LabelRefused: with the reason.

    >>> waiting_row({"id": "a/0", "label": 1}, label_id="s-0-0", arrived_us=7)
    ('s-0-0', 'request', '[]', 'a/0', '{"label":1}', 7, 7)
    """
    if not isinstance(item, dict):
        raise LabelRefused("it is no object")
    by, key, ref = _reference(item)
    labelled_us = _labelled_us(item.get("labelled_at"), arrived_us)
    return (label_id, by.value, key, ref, _label(item, name), labelled_us, arrived_us)


def waiting_table(rows: Iterable[tuple[Any, ...]]) -> pa.Table:
    """Rows of :func:`waiting_row` as a table."""
    columns = list(zip(*rows, strict=True)) or [()] * len(WAITING)
    arrays = [
        pa.array(column, pa.int64()).cast(_TIME) if kind == _TIME else pa.array(column, kind)
        for column, kind in zip(columns, WAITING.types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=WAITING)


def _reference(item: dict[str, Any]) -> tuple[By, str, str]:
    given, key = item.get("id"), item.get("key")
    if (given is None) == (key is None):
        raise LabelRefused("it must have either an id or a key")
    if given is not None:
        if not isinstance(given, str):
            raise LabelRefused("its id is no text")
        by, ref = _of_id(given)
        return by, "[]", ref
    if not isinstance(key, dict) or not key:
        raise LabelRefused("its key is no object of variables and values")
    names = sorted(key)
    if any(isinstance(key[name], dict | list) for name in names):
        raise LabelRefused("a value of its key is no scalar")
    found = key_ref([key[name] for name in names])
    if found is None:
        raise LabelRefused("a value of its key is missing")
    return By.KEY, key_names(names), found


def key_names(names: Iterable[str]) -> str:
    """How the columns of a key are written in a file of labels."""
    return orjson.dumps(sorted(names)).decode()


def _of_id(given: str) -> tuple[By, str]:
    """By a row id, or by request id and row. Request ids that we minted tell the row id."""
    if _ROW_ID.fullmatch(given):
        return By.ROW, given
    request, slash, row = given.rpartition("/")
    if not slash or not request or not _ROW.fullmatch(row):
        raise LabelRefused("its id is neither <request id>/<row> nor a row id")
    if _MINTED.fullmatch(request):
        return By.ROW, f"{request}-{int(row)}"
    return By.REQUEST, f"{request}/{int(row)}"


def _label(item: dict[str, Any], name: str) -> str:
    if "label" not in item:
        raise LabelRefused("it has no label")
    given = item["label"]
    named = given if isinstance(given, dict) else {name: given}
    said = {str(key): value for key, value in named.items() if not _is_missing(value)}
    if not said:
        raise LabelRefused("its label is missing")
    for key, value in said.items():
        if not key or isinstance(value, dict):
            raise LabelRefused("its label is neither a value nor an object of names and values")
    try:
        return orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        raise LabelRefused("its label holds what JSON cannot") from None


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _labelled_us(given: object, arrived_us: int) -> int:
    if given is None:
        return arrived_us
    if isinstance(given, str):
        try:
            given = datetime.fromisoformat(given.strip().replace("Z", "+00:00"))
        except ValueError:
            raise LabelRefused("its labelled_at is no ISO 8601 time") from None
    if not isinstance(given, datetime):
        raise LabelRefused("its labelled_at is no ISO 8601 time")
    try:
        moment = given if given.tzinfo else given.replace(tzinfo=timezone.utc)
        labelled_us = (moment - EPOCH) // _MICROSECOND
    except OverflowError:
        raise LabelRefused("its labelled_at is no ISO 8601 time") from None
    return arrived_us if labelled_us > arrived_us + FUTURE_ALLOWED // _MICROSECOND else labelled_us
