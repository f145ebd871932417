"""Categories as numbers: the values of a vocabulary, where they all are numbers."""

from __future__ import annotations

import numpy as np

from trueup.profile.edges import CategoryEdges
from trueup.profile.states import CategoryState

_BOOLEANS = {"false": 0.0, "true": 1.0}


def counted_values(edges: CategoryEdges, state: CategoryState) -> tuple[dict[str, int], int]:
    """Value → count of all values whose name is known, and how many values have an unknown one.

    Values outside the vocabulary are named when the profile knows all of them exactly.
    """
    known = {
        value: int(count)
        for value, count in zip(edges.values, state.counts, strict=True)
        if count > 0
    }
    named = state.unseen_items
    if state.unseen and named.error == 0 and sum(named.items.values()) == state.unseen:
        return known | {value: count for value, count in named.items.items() if count}, 0
    return known, state.unseen


def as_numbers(values: list[str]) -> np.ndarray | None:
    """Finite float64 of canonical decimals and booleans; ``None`` when one is neither.

    >>> as_numbers(["1", "-2.5", "true"])
    array([ 1. , -2.5,  1. ])
    >>> as_numbers(["1", "JFK"]) is None
    True
    """
    try:
        numbers = np.array([_BOOLEANS.get(value.lower(), value) for value in values], dtype=float)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None
