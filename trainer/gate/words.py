"""Numbers in sentences."""

from __future__ import annotations

from trueup.records.gate import Clarity, Limits


def number(value: float, unit: str = "") -> str:
    """
    >>> number(0.0123456), number(12345.6, "min"), number(0.0)
    ('0.01235', '12,350 min', '0')
    """
    digits = f"{float(f'{value:.4g}'):,.10f}".rstrip("0").rstrip(".") if value else "0"
    if abs(value) < 1e-6 and value:
        digits = f"{value:.3g}"
    return f"{digits} {unit}".rstrip()


def percent(share: float) -> str:
    """
    >>> percent(0.0512), percent(0.99875), percent(1.0)
    ('5.12 %', '99.88 %', '100 %')
    """
    return f"{100 * share:.4g} %"


def count(n: int, one: str, many: str = "") -> str:
    """
    >>> count(1, "row"), count(12000, "row")
    ('1 row', '12,000 rows')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def clarity(limits: Limits) -> Clarity:
    """What an improvement's limits say of it."""
    if limits.low > 0:
        return Clarity.BETTER
    return Clarity.WORSE if limits.high < 0 else Clarity.UNCLEAR


def interval(limits: Limits, unit: str = "") -> str:
    """
    >>> limits = Limits(low=-0.5, high=0.25, low_confidence=0.95, high_confidence=0.95)
    >>> interval(limits, "min")
    'from -0.5 to 0.25 min, each limit with 95 % confidence'
    """
    low, high = percent(limits.low_confidence), percent(limits.high_confidence)
    sure = f"each limit with {low}" if low == high else f"limits with {low} and {high}"
    return f"from {number(limits.low)} to {number(limits.high, unit)}, {sure} confidence"
