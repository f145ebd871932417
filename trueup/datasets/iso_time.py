"""One ISO 8601 text as a time, without Arrow: where texts come one at a time. Reads what
:func:`trueup.datasets.times.parse_times` reads of whole columns."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

_ISO = re.compile(
    r"\s*(\d{4})-(\d\d)-(\d\d)"
    r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?\s*(Z|[+-]\d\d(?::?\d\d)?)?)?\s*",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


def parse_time_us(text: str) -> int | None:
    """Microseconds since 1970 in UTC; ``None`` when ``text`` is no time. Without a zone it is UTC.

    >>> parse_time_us("1970-01-01T01:00:00.5+01:00"), parse_time_us("1970-01-02")
    (500000, 86400000000)
    >>> parse_time_us("2013-02-30") is parse_time_us("soon") is None
    True
    """
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    fraction = (found[7] or "")[:6].ljust(6, "0")
    try:
        moment = datetime(
            *(int(found[group] or 0) for group in range(1, 7)),  # type: ignore[arg-type, misc]
            int(fraction),
            tzinfo=_zone(found[8]),
        )
    except ValueError:  # a month 13, an hour 24
        return None
    return (moment - _EPOCH) // _MICROSECOND


def _zone(text: str | None) -> timezone:
    if text is None or text == "Z":
        return timezone.utc
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def write_time_us(time_us: int) -> str:
    """
    >>> write_time_us(500_000)
    '1970-01-01T00:00:00.500000Z'
    """
    moment = _EPOCH + timedelta(microseconds=time_us)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond:06}Z"
