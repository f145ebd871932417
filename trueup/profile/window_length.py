"""How long a window of time is: as the user writes it, or as the data suggest."""

from __future__ import annotations

import re

from trueup.errors import BadInputError

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}

UP_TO_A_DAY = ("1d", "1h", "5min", "1min", "1s")
LONGER = ("1w", "4w")

WISHED, MOST = 30, 1000
"""Windows that training should have: enough for their variance to be known to a fifth or so, and
no more than cost little."""

ENOUGH = 8
"""With fewer, variation between windows cannot be told (monitor/variation.py)."""


def window_seconds(text: str) -> float:
    """Seconds of a length such as ``1d``, ``6h`` or ``15min``.

    :raises BadInputError: when it is none.

    >>> window_seconds("6h")
    21600.0
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text)
    if not found or found[2] not in SECONDS or float(found[1]) <= 0.0:
        raise BadInputError(
            f"{text!r} is not a length of time",
            remedy="write a number and one of s, min, h, d, w, such as 1d or 6h",
        )
    return float(found[1]) * SECONDS[found[2]]


def chosen_length(first: float, last: float) -> str:
    """The longest customary length of which ``[first, last]`` (seconds) has ``WISHED`` windows:
    a day at most, unless that makes more than ``MOST``.

    >>> year = 365 * 86400.0
    >>> chosen_length(0.0, year), chosen_length(0.0, 19 * year), chosen_length(0.0, 7200.0)
    ('1d', '1w', '1min')
    """
    span = max(last - first, 0.0)
    if span / window_seconds("1d") > MOST:
        return next((s for s in LONGER if span / window_seconds(s) <= MOST), LONGER[-1])
    wished = (s for s in UP_TO_A_DAY if span / window_seconds(s) >= WISHED)
    return next(wished, UP_TO_A_DAY[-1])
