"""The most frequent categories of training, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from trueup.profile.arrow import plain_values
from trueup.profile.category import heaviest
from trueup.profile.edges import MAX_VOCABULARY, CategoryEdges

CANDIDATES = 1 << 14
"""Distinct values that are counted at a time; with no more than these, counts are exact."""

_MOST_WAITING = 32  # batches


class VocabularyCounter:
    """Counts categories; a Misra-Gries summary once there are too many to count them all.

    What is lost then occurs at most ``n / 16,385`` times, and is no candidate for a vocabulary
    of 1,024 unless the values are nearly all different.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._error = 0
        self._waiting: list[tuple[pa.Array, np.ndarray]] = []
        self._waiting_texts = 0

    def add(self, texts: pa.Array, counts: np.ndarray) -> None:
        """Count distinct ``texts`` (Arrow strings, shape ``(n,)``), each ``counts`` times."""
        self._waiting.append((texts, counts))
        self._waiting_texts += len(texts)
        if self._waiting_texts > CANDIDATES or len(self._waiting) == _MOST_WAITING:
            self._count_waiting()

    def include(self, other: VocabularyCounter) -> None:
        """Count what ``other`` has counted, too."""
        self._count_waiting()
        other._count_waiting()
        self._include(other._counts.items(), other._error)

    def edges(self) -> CategoryEdges | None:
        """The vocabulary; None where nothing was counted.

        Where values had to be left out, only those that repeat are kept: single ones would stand
        for nothing but themselves.
        """
        self._count_waiting()
        if not self._counts and not self._error:
            return None
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        complete = not self._error and len(ordered) <= MAX_VOCABULARY
        if not complete:
            ordered = [(text, n) for text, n in ordered if n > 1]
        return CategoryEdges(tuple(text for text, _ in ordered[:MAX_VOCABULARY]), complete)

    def __getstate__(self) -> dict[str, object]:
        self._count_waiting()
        return self.__dict__

    def _count_waiting(self) -> None:
        """Put together what batches have in common; only what can remain becomes Python."""
        if not self._waiting:
            return
        texts = pa.concat_arrays([texts for texts, _ in self._waiting])
        counts = np.concatenate([counts for _, counts in self._waiting])
        if len(self._waiting) > 1:
            encoded = texts.dictionary_encode()
            texts, totals = encoded.dictionary, np.zeros(len(encoded.dictionary), np.int64)
            np.add.at(totals, plain_values(encoded.indices), counts)
            counts = totals
        self._waiting, self._waiting_texts = [], 0
        texts, counts, cut = heaviest(texts, counts, CANDIDATES)
        self._include(zip(texts.to_pylist(), counts.tolist(), strict=True), cut)

    def _include(self, items: Iterable[tuple[str, int]], error: int) -> None:
        counts = self._counts
        for text, n in items:
            counts[text] = counts.get(text, 0) + n
        self._error += error
        if len(counts) > 2 * CANDIDATES:
            self._shrink()

    def _shrink(self) -> None:
        counts = np.fromiter(self._counts.values(), np.int64, len(self._counts))
        cut = int(np.partition(counts, -CANDIDATES - 1)[-CANDIDATES - 1])
        self._counts = {text: n - cut for text, n in self._counts.items() if n > cut}
        self._error += cut
