"""Moments as clients write them: ISO 8601, or seconds since 1970."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

_FAR_S = 1e11  # the year 5138: a larger number counts something else


def moment_us(value: Any) -> int | None:
    """Microseconds since 1970; ``None`` for what is no moment. Without a zone it is UTC.

    >>> moment_us("2013-07-01T00:00:00Z"), moment_us(1372636800.5), moment_us("soon")
    (1372636800000000, 1372636800500000, None)
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                return None
        else:
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=timezone.utc)
            return round(moment.timestamp() * 1e6)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _FAR_S:
        return round(value * 1e6)
    return None
