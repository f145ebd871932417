"""Numbers as people read them: few digits, thousands separated, a real minus, units."""

from __future__ import annotations

import math
from datetime import datetime, timezone

MINUS = "\N{MINUS SIGN}"
NBSP = "\N{NO-BREAK SPACE}"
ABSENT = "\N{EN DASH}"

_SCIENTIFIC_ABOVE = 1e9
_SCIENTIFIC_BELOW = 1e-4


def number(value: float | None, digits: int = 4) -> str:
    """``value`` to ``digits`` significant digits; integers below 10⁹ in full.

    >>> number(1234.5678), number(-0.25), number(336776), number(None), number(3e-7)
    ('1,235', '−0.25', '336,776', '–', '3e−7')
    """
    if value is None:
        return ABSENT
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else f"{MINUS}∞")
    size = abs(value)
    if size and not _SCIENTIFIC_BELOW <= size < _SCIENTIFIC_ABOVE:
        return _scientific(value, digits)
    if value == int(value):
        return _minus(f"{int(value):,d}")
    text = f"{value:,.{_decimals(size, digits)}f}"
    return _minus(text.rstrip("0").rstrip(".") if "." in text else text)


def pair(before: float | None, after: float | None, digits: int = 3) -> tuple[str, str]:
    """Two numbers with the same decimals, enough to tell them apart where they differ.

    >>> pair(37.912, 80.07)
    ('37.9', '80.1')
    >>> pair(12.34, 12.341)
    ('12.340', '12.341')
    """
    if before is None or after is None or not (math.isfinite(before) and math.isfinite(after)):
        return number(before), number(after)
    sizes = [abs(value) for value in (before, after) if value]
    if not sizes:
        return "0", "0"
    largest, smallest = max(sizes), min(sizes)
    if largest >= _SCIENTIFIC_ABOVE or largest < _SCIENTIFIC_BELOW:
        return _scientific(before, digits), _scientific(after, digits)
    if before == int(before) and after == int(after):
        return number(before), number(after)
    decimals = _decimals(smallest if smallest > largest / 1000 else largest, digits)
    difference = abs(after - before)
    if difference > largest * 1e-9:
        decimals = max(decimals, min(_decimals(difference, 1), decimals + 4))
    return _minus(f"{before:,.{decimals}f}"), _minus(f"{after:,.{decimals}f}")


def signed(value: float, digits: int = 3) -> str:
    """With its sign always shown, such as a difference.

    >>> signed(0.5), signed(-2.0), signed(0.0)
    ('+0.5', '−2', '0')
    """
    return ("+" if value > 0 else "") + number(value, digits)


def percent(part: float, whole: float) -> str:
    """A share in per cent; one decimal, more below 1 %; ``–`` of nothing.

    >>> percent(1, 8), percent(1, 3000), percent(0, 10), percent(1, 0)
    ('12.5\\xa0%', '0.033\\xa0%', '0\\xa0%', '–')
    """
    if not whole:
        return ABSENT
    value = 100 * part / whole
    if 0 < value < 1:
        return f"{number(value, 2)}{NBSP}%"
    return f"{value:.1f}".removesuffix(".0") + f"{NBSP}%"


def with_unit(text: str, unit: str) -> str:
    """``text`` and its unit, never broken apart at a line's end."""
    return f"{text}{NBSP}{unit}" if unit and text != ABSENT else text


def moment(when: datetime | None) -> str:
    """A time to the minute, in UTC.

    >>> moment(datetime(2013, 7, 1, 5, 30, tzinfo=timezone.utc))
    '2013-07-01 05:30 UTC'
    """
    if when is None:
        return ABSENT
    if when.tzinfo is not None:
        when = when.astimezone(timezone.utc)
    return when.strftime("%Y-%m-%d %H:%M UTC")


def moment_of(seconds: float) -> str:
    """A time in seconds since 1970, as :func:`moment`.

    >>> moment_of(1372656600.0)
    '2013-07-01 05:30 UTC'
    """
    try:
        return moment(datetime.fromtimestamp(seconds, timezone.utc))
    except (OverflowError, ValueError, OSError):
        return f"{number(seconds)} s"


def _decimals(size: float, digits: int) -> int:
    return max(0, digits - 1 - math.floor(math.log10(size) + 1e-9)) if size else 0


def _minus(text: str) -> str:
    return text.replace("-", MINUS)


def _scientific(value: float, digits: int) -> str:
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return _minus(f"{mantissa}e{int(exponent)}")
