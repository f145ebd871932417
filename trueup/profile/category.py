"""Counting categories against a frozen vocabulary, on distinct values only."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.profile.arrow import plain_values, validity
from trueup.profile.edges import CategoryEdges
from trueup.profile.sketches import FREQUENT_ITEMS, FrequentItems
from trueup.profile.states import CategoryState


class CategoryBuilder:
    """A :class:`CategoryState` under construction."""

    def __init__(self, edges: CategoryEdges) -> None:
        self._vocabulary = pa.array(edges.values, pa.string())
        self._counts = np.zeros(len(edges.values), np.int64)
        self._unseen = 0
        self._items = FrequentItems()

    def add(self, texts: pa.Array, counts: np.ndarray) -> None:
        """Count ``texts`` (Arrow strings, shape ``(n,)``), each ``counts`` times."""
        if not len(texts):
            return
        positions = pc.index_in(texts, value_set=self._vocabulary)
        known = validity(positions)
        if known is None:
            np.add.at(self._counts, plain_values(positions), counts)
            return
        np.add.at(self._counts, plain_values(positions)[known], counts[known])
        unseen = counts[~known]
        self._unseen += int(unseen.sum())
        self._items = self._items.merge(frequent(texts.filter(pa.array(~known)), unseen))

    def state(self) -> CategoryState:
        return CategoryState(self._counts, self._unseen, self._items)


def frequent(texts: pa.Array, counts: np.ndarray, size: int = FREQUENT_ITEMS) -> FrequentItems:
    """Misra-Gries summary of counted distinct ``texts``; only what can remain becomes Python."""
    texts, counts, cut = heaviest(texts, counts, size)
    merged: dict[str, int] = {}
    for text, count in zip(texts.to_pylist(), counts.tolist(), strict=True):
        merged[text] = merged.get(text, 0) + count
    return FrequentItems.of(merged, cut, size)


def heaviest(texts: pa.Array, counts: np.ndarray, size: int) -> tuple[pa.Array, np.ndarray, int]:
    """At most ``size`` of counted ``texts``, and what was cut off the count of each: the greatest
    count that had to go (Misra-Gries)."""
    if counts.size <= size:
        return texts, counts, 0
    cut = int(np.partition(counts, -size - 1)[-size - 1])
    above = np.flatnonzero(counts > cut)
    return texts.take(pa.array(above)), counts[above] - cut, cut
