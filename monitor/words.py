"""Numbers and findings in plain words."""

from __future__ import annotations

import math


def number(value: float) -> str:
    """A number for reading: four significant digits, thousands grouped, no exponent in between.

    >>> [number(v) for v in (38.6123, 1234567.0, 0.00012, -5.0, 0.0)]
    ['38.61', '1,234,567', '0.00012', '-5', '0']
    """
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞" if value < 0 else "not a number"
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e15 or size < 1e-4:
        return f"{value:.3g}"
    if size >= 1000:
        return f"{value:,.0f}"
    digits = max(0, 3 - math.floor(math.log10(size)))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def with_unit(value: float, unit: str) -> str:
    """
    >>> with_unit(80.1, "°F"), with_unit(3.0, "")
    ('80.1 °F', '3')
    """
    return f"{number(value)} {unit}" if unit else number(value)


def percent(rate: float) -> str:
    """A rate from 0 to 1 as percent.

    >>> percent(0.0251), percent(0.00003), percent(0.0)
    ('2.5 %', '0.003 %', '0 %')
    """
    points = 100 * rate
    if points == 0:
        return "0 %"
    return f"{points:.1f} %" if abs(points) >= 0.1 else f"{points:.1g} %"


def direction(difference: float) -> str:
    """
    >>> direction(-1.0)
    'fell'
    """
    return "rose" if difference > 0 else "fell" if difference < 0 else "stayed"


def moved(what: str, before: str, after: str, difference: float, size: str = "") -> str:
    """
    >>> moved("mean of temp", "38.6 °F", "80.1 °F", 41.5, "+2.4 sd")
    'mean of temp rose from 38.6 °F to 80.1 °F (+2.4 sd)'
    """
    tail = f" ({size})" if size else ""
    if difference == 0 or before == after:
        return f"{what}: {before} in training, {after} in serving{tail}"
    return f"{what} {direction(difference)} from {before} to {after}{tail}"


def quoted(values: list[str], limit: int = 3) -> str:
    """
    >>> quoted(["aa", "ua", "dl", "b6"])
    '"aa", "ua", "dl" and 1 more'
    """
    shown = ", ".join(f'"{value}"' for value in values[:limit])
    rest = len(values) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown
