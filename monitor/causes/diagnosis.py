"""What a diagnosis gives back."""

from __future__ import annotations

from dataclasses import dataclass

from trueup.records.report import Cause, Quantity


@dataclass(frozen=True)
class Diagnosis:
    """A named cause and the quantities whose findings it explains."""

    cause: Cause
    explains: frozenset[Quantity]


VALUES = frozenset(
    {Quantity.MEAN, Quantity.VARIANCE, Quantity.SHARES, Quantity.OUT_OF_RANGE, Quantity.UNSEEN,
     Quantity.LENGTH, Quantity.CORRELATION}
)  # fmt: skip
"""The quantities of the values that are there."""

TYPES = frozenset({Quantity.TYPE, Quantity.TYPE_ERROR})
"""A conversion or a fill with the mean makes fractions of integers: it explains those too."""
