"""Which columns identify rows, tell their time, repeat the calendar, or are the label. Pure
decisions on facts about columns; each gives its reason in words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from trueup.records.input_spec import Role

ENOUGH_ROWS = 100
"""With fewer values, that all are different says nothing."""

FEW_ROWS = 20
NEARLY_ALL = 0.99
PARSES = 0.95
"""Share of strings that must read as numbers (or times) for the column to be numeric (or time);
the rest are type errors."""

LABEL_NAMES = frozenset({"label", "target"})

_ID_NAME = re.compile(
    r"(^|[_\W])(id|ids|uuid|guid|pk|rowid|key|index|idx)$|[a-z](Id|ID|Uuid|UUID|Key)$"
    r"|^(id|uuid)[_\W]|^unnamed: \d+$|^__index_level_\d+__$",
)

_TIME_NAMES = (
    "event_time", "event_timestamp", "eventtime", "timestamp", "ts", "time", "datetime", "date",
    "time_hour", "event_date", "request_time", "created_at", "created", "occurred_at",
)  # fmt: skip
_TIME_TOKENS = frozenset({"time", "timestamp", "ts", "datetime", "date", "epoch", "at"})
_NOT_EVENT = re.compile(r"birth|dob|expir|due|until|valid|built|founded|updated|modified|end")

_EPOCH_FROM, _EPOCH_TO = 946_684_800, 4_102_444_800  # the years 2000 to 2100, in seconds
_EPOCH_UNITS = (("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000))

CALENDAR_RANGES: Mapping[str, tuple[int, int]] = {
    "year": (1900, 2200), "yr": (1900, 2200), "quarter": (1, 4), "qtr": (1, 4),
    "month": (1, 12), "mon": (1, 12), "mnth": (1, 12), "week": (0, 53), "weekofyear": (0, 53),
    "week_of_year": (0, 53), "day": (1, 31), "mday": (1, 31), "dayofmonth": (1, 31),
    "day_of_month": (1, 31), "weekday": (0, 7), "wday": (0, 7), "dow": (0, 7),
    "dayofweek": (0, 7), "day_of_week": (0, 7), "yday": (0, 366), "doy": (0, 366),
    "dayofyear": (0, 366), "day_of_year": (0, 366), "hour": (0, 24), "hr": (0, 24),
    "hour_of_day": (0, 24), "minute": (0, 59), "second": (0, 60),
}  # fmt: skip
"""Values that integer columns of these names have when they are parts of a date."""

CALENDAR_REASON = "calendar part of the event time: it changes by itself"


class Facts(Protocol):
    """What these decisions look at: of rows (:class:`~trueup.datasets.sample.ColumnFacts`), or of
    statistics.

    :param whole: whether the facts are of all rows; ``n``: how many values there are.
    """

    @property
    def name(self) -> str: ...
    @property
    def whole(self) -> bool: ...
    @property
    def type(self) -> pa.DataType: ...
    @property
    def multi_valued(self) -> bool: ...
    @property
    def is_integer(self) -> bool: ...
    @property
    def is_string(self) -> bool: ...
    @property
    def n(self) -> int: ...
    @property
    def null_share(self) -> float: ...
    @property
    def span(self) -> tuple[float, float]: ...
    @property
    def distinct(self) -> int: ...
    @property
    def all_distinct(self) -> bool: ...
    @property
    def counts_up(self) -> bool: ...
    @property
    def number_share(self) -> float: ...
    @property
    def time_share(self) -> float: ...
    @property
    def spaced_share(self) -> float: ...


@dataclass(frozen=True)
class TimeForm:
    """How a column tells time.

    :param unit: of integers since 1970: ``"s"``, ``"ms"``, ``"us"``, ``"ns"``; else ``""``.
    """

    what: str
    unit: str = ""


def time_form(facts: Facts, *, asked: bool = False) -> TimeForm | None:
    """How a column tells time, or ``None``. Integers are believed to be seconds since 1970 when
    the name says time, or when the user did (``asked``)."""
    if facts.multi_valued or not facts.n:
        return None
    if pa.types.is_timestamp(facts.type):
        return TimeForm("times")
    if facts.is_string and facts.time_share >= PARSES:
        return TimeForm("ISO 8601 times written as strings")
    number = facts.is_integer or (asked and pa.types.is_floating(facts.type))
    if number and (asked or _TIME_TOKENS & set(_tokens(facts.name))):
        low, high = facts.span
        for unit, factor in _EPOCH_UNITS:
            if _EPOCH_FROM * factor <= low and high <= _EPOCH_TO * factor:
                return TimeForm(f"integers of {unit} since 1970", unit)
    return None


def main_time(forms: Mapping[str, TimeForm], facts: Mapping[str, Facts]) -> str | None:
    """The column of event times among those that tell time: by name, then by how many rows have
    it, then by place. A birth date or a due date is never it."""
    candidates = [name for name in forms if not _NOT_EVENT.search(name.lower())]
    if not candidates:
        return None

    def rank(name: str) -> tuple[bool, int, float]:
        known = name.lower()
        place = _TIME_NAMES.index(known) if known in _TIME_NAMES else len(_TIME_NAMES)
        column = facts[name]
        return column.distinct < 2, place, column.null_share

    return min(candidates, key=rank)


def _tokens(name: str) -> list[str]:
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return [token for token in re.split(r"[_\W]+", spaced.lower()) if token]


def role_of(
    facts: Facts,
    time: str | None,
    label: str | None,
    keys: Collection[str],
    calendar: Collection[str],
    form: TimeForm | None,
) -> tuple[Role, str]:
    """What a column is for, and why, where its kind does not say it.

    :param time, label, keys: the columns that have these roles.
    :param calendar: those of :func:`calendar_parts`; ``form``: that of :func:`time_form`.
    """
    name = facts.name
    if name == label:
        return Role.LABEL, "given as the label"
    if name == time and form is not None:
        return Role.TIME, f"event time: {form.what}"
    if name in keys:
        return Role.ID, "given as a key"
    if label is None and name.lower() in LABEL_NAMES:
        return Role.LABEL, f"it is named {name!r}"
    if name in calendar:
        return Role.IGNORED, CALENDAR_REASON
    if form is not None:
        return Role.FEATURE, f"{form.what}; the event time is {time!r}" if time else form.what
    reason = id_reason(facts)
    return (Role.ID, reason) if reason else (Role.FEATURE, "")


def id_reason(facts: Facts) -> str:
    """Why a column identifies rows; empty when it does not."""
    if facts.multi_valued or not (facts.is_integer or facts.is_string) or not facts.n:
        return ""
    looked = "" if facts.whole else f" of the {facts.n:,} looked at"
    if _ID_NAME.search(facts.name) or _ID_NAME.search(facts.name.lower()):
        if facts.n < FEW_ROWS and facts.all_distinct:
            return "its name says identifier, and no value repeats"
        if facts.n >= FEW_ROWS and facts.distinct >= NEARLY_ALL * facts.n:
            return f"its name says identifier, and (nearly) all values{looked} are different"
    if facts.n < ENOUGH_ROWS or not facts.all_distinct:
        return ""
    if facts.is_integer and facts.counts_up:
        return f"it counts the rows: every value{looked} is one more than the one before"
    if facts.is_string and facts.spaced_share == 0 and facts.number_share < PARSES:
        return f"every value{looked} is different"
    return ""


def calendar_parts(facts: Iterable[Facts], time: str | None) -> set[str]:
    """Integer columns that are named for a part of the date and have its values, where there is a
    column of event times, or year, month and day stand together."""
    found: dict[str, str] = {}
    for column in facts:
        part = _calendar_name(column.name, time)
        if part and column.is_integer and column.n:
            low, high = column.span
            first, last = CALENDAR_RANGES[part]
            if first <= low and high <= last:
                found[column.name] = part
    parts = set(found.values())
    together = (
        bool(parts & {"year", "yr"})
        and bool(parts & {"month", "mon", "mnth"})
        and bool(parts & {"day", "mday", "dayofmonth", "day_of_month"})
    )
    return set(found) if time is not None or together else set()


def _calendar_name(name: str, time: str | None) -> str:
    """The part of the date that ``name`` stands for: ``month``, ``Month``, and behind or before
    the name of the time column, ``pickup_month`` beside ``pickup_time``."""
    plain = "_".join(_tokens(name))
    if plain in CALENDAR_RANGES:
        return plain
    stems = {token for token in _tokens(time or "") if token not in CALENDAR_RANGES}
    first, _, rest = plain.partition("_")
    if rest in CALENDAR_RANGES and first in stems:
        return rest
    start, _, last = plain.rpartition("_")
    return last if last in CALENDAR_RANGES and start in stems else ""
