"""Many quantities at once: the Benjamini-Hochberg adjustment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import false_discovery_control


def adjusted(p_values: Sequence[float | None]) -> list[float | None]:
    """Benjamini-Hochberg adjusted p-values, in the given order; ``None`` stays ``None``.

    Rejecting what is at most ``alpha`` keeps the expected share of false ones among the rejected
    at ``alpha`` (Benjamini and Hochberg, JRSS B 57, 1995).

    >>> adjusted([0.01, None, 0.04])
    [0.02, None, 0.04]
    """
    places = [place for place, p in enumerate(p_values) if p is not None]
    result: list[float | None] = [None] * len(p_values)
    if places:
        given = np.array([p_values[place] for place in places], dtype=float)
        for place, value in zip(places, false_discovery_control(given), strict=True):
            result[place] = float(value)
    return result
