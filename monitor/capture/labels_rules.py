"""The rules of joining labels, as pure functions: which label wins, which joins are refused, when a
label is mature.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

import numpy as np


class Cardinality(str, Enum):
    """Of a join by key: labels to rows."""

    NONE = "none"
    ONE_TO_ONE = "one-to-one"
    ONE_TO_MANY = "one-to-many"
    MANY_TO_ONE = "many-to-one"
    MANY_TO_MANY = "many-to-many"


def cardinality_of(labels: int, rows: int) -> Cardinality:
    """Of one key value with so many different labels and so many rows.

    >>> cardinality_of(1, 3).value, cardinality_of(2, 2).value
    ('one-to-many', 'many-to-many')
    """
    if not labels or not rows:
        return Cardinality.NONE
    if labels > 1:
        return Cardinality.MANY_TO_MANY if rows > 1 else Cardinality.MANY_TO_ONE
    return Cardinality.ONE_TO_MANY if rows > 1 else Cardinality.ONE_TO_ONE


def overall(found: Iterable[Cardinality]) -> Cardinality:
    """Of a join, from those of its key values (many-to-many ones were refused and do not count).

    Some keys with several rows and others with several labels are many-to-many as a whole only in
    name: each key by itself is not, and is joined; it is called by what is more of a surprise.

    >>> overall([Cardinality.ONE_TO_ONE, Cardinality.ONE_TO_MANY]).value
    'one-to-many'
    """
    kinds = set(found)
    for kind in (Cardinality.ONE_TO_MANY, Cardinality.MANY_TO_ONE, Cardinality.ONE_TO_ONE):
        if kind in kinds:
            return kind
    return Cardinality.NONE


@dataclass(frozen=True, slots=True, order=True)
class Precedence:
    """What decides between two labels for one row: the later ``labelled_at``, then the later
    arrival, then the id, so that the order in which they are looked at never matters."""

    labelled_at: int
    arrived_at: int
    label_id: str


def latest_per_row(
    rows: np.ndarray, labelled_at: np.ndarray, arrived_at: np.ndarray, label_rank: np.ndarray
) -> np.ndarray:
    """Of several labels per row the one that wins, by the order of :class:`Precedence`.

    :param rows: int64 ``(n,)``, which row each label is of.
    :param labelled_at, arrived_at: int64 ``(n,)``, microseconds since 1970.
    :param label_rank: int64 ``(n,)``, the place of each label's id in their order.
    :returns: indices of the winners, one per distinct row, in the rows' order.

    >>> latest_per_row(np.array([7, 7, 3]), np.array([1, 2, 9]), np.zeros(3), np.arange(3)).tolist()
    [2, 1]
    """
    order = np.lexsort((label_rank, arrived_at, labelled_at, rows))
    ordered = rows[order]
    last = np.append(ordered[1:] != ordered[:-1], True) if len(ordered) else np.zeros(0, bool)
    return order[last]


def is_mature(event_at: datetime, watermark: datetime | None, label_delay: timedelta) -> bool:
    """Whether a row's label is final enough to train and judge on: the row is older than
    ``watermark - label_delay``. Without a watermark nothing is.

    >>> from datetime import timezone
    >>> noon = datetime(2024, 1, 2, 12, tzinfo=timezone.utc)
    >>> is_mature(noon - timedelta(days=2), noon, timedelta(days=1))
    True
    """
    return watermark is not None and event_at < watermark - label_delay
