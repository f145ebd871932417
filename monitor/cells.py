"""Groups of bins and of categories that are big enough to be compared."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

MAX_GROUPS = 20
"""Groups of a numeric feature; PSI's customary thresholds are for 10 to 20 of them."""

EXPECTED_COUNT = 5.0
"""Least expected count of a cell on either side (Cochran, Biometrics 10, 1954)."""

SELECTION_SD = 4.0
"""A category is compared by itself only if it is this far from the frequency at which a full
vocabulary would have left it out, so that being kept says nothing of its share."""


@dataclass(frozen=True)
class Cells:
    """Counts of both sides over the same cells, int64, shape ``(cells,)`` each.

    :param labels: index of the vocabulary's value per cell; -1 for the rest. Empty for bins.
    """

    serving: np.ndarray
    training: np.ndarray
    labels: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.serving)


def least_count(total: float, smaller: float) -> float:
    """Count over both sides that a cell needs, so that the smaller side expects five in it."""
    return EXPECTED_COUNT * total / max(smaller, 1.0)


def bin_groups(serving: np.ndarray, training: np.ndarray, groups: int = MAX_GROUPS) -> Cells:
    """Neighbouring bins joined into at most about ``groups`` cells of similar size.

    Sizes are those of both sides together: chosen so, the cells favour neither side. A bin that
    is big enough by itself (an atom) stays by itself.

    :param serving, training: counts with under- and overflow, shape ``(bins + 2,)``.

    >>> cells = bin_groups(np.array([0, 30, 30, 30, 30, 0]), np.array([0, 30, 30, 30, 30, 0]), 2)
    >>> cells.serving.tolist()
    [60, 60]
    """
    both = serving + training
    total = float(both.sum())
    least = least_count(total, float(min(serving.sum(), training.sum())))
    target = max(total / groups, least)
    starts, size = [0], 0.0
    for index, count in enumerate(both.tolist()):
        if count >= target and size >= least:
            starts.append(index)
            size = 0.0
        size += count
        if size >= target * (1 - 1e-9):
            starts.append(index + 1)
            size = 0.0
    if starts[-1] == len(both):
        starts.pop()
    elif size < least and len(starts) > 1:
        starts.pop()
    return Cells(np.add.reduceat(serving, starts), np.add.reduceat(training, starts))


def category_cells(
    serving: np.ndarray, training: np.ndarray, unseen: int, unseen0: int, complete: bool
) -> Cells:
    """Each category that is frequent enough, and one cell for all the rest with the unseen.

    The choice goes by the counts of both sides together, given which a category's training count
    is binomial under the null hypothesis; so it does not bias the comparison.

    >>> cells = category_cells(np.array([50, 41, 5, 4]), np.array([48, 43, 4, 5]), 0, 0, True)
    >>> cells.labels
    (0, 1, -1)
    """
    both = serving + training
    n, n0 = float(serving.sum() + unseen), float(training.sum() + unseen0)
    total = n + n0
    least = least_count(total, min(n, n0))
    if not complete and len(training):
        border = float(training.min())
        least = max(least, (border + SELECTION_SD * math.sqrt(border)) * total / max(n0, 1.0))
    kept = np.flatnonzero(both >= least)
    rest = int(serving.sum() - serving[kept].sum()) + unseen
    rest0 = int(training.sum() - training[kept].sum()) + unseen0
    q, p = serving[kept], training[kept]
    labels = tuple(int(index) for index in kept)
    if rest + rest0 == 0:
        return Cells(q, p, labels)
    if rest + rest0 < least_count(total, min(n, n0)) and len(kept):
        smallest = int(np.argmin(q + p))
        q, p = q.copy(), p.copy()
        q[smallest] += rest
        p[smallest] += rest0
        return Cells(q, p, labels)
    return Cells(np.append(q, rest), np.append(p, rest0), (*labels, -1))


def reliable(cells: Cells) -> bool:
    """Whether there are at least two cells, so that shares can differ at all."""
    return len(cells) > 1
