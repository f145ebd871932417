"""What a server answered against what the trainer computed, for the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trueup.errors import BadInputError

Array = NDArray[Any]

SMALL = 1e-3
"""Answers below this share of the output's root mean square are compared to that: the last digits
of a probability of 1e-12 are nobody's concern."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest relative difference, and where it is."""

    largest: float
    row: int
    output: int
    served: float
    expected: float

    def __str__(self) -> str:
        return f"row {self.row}: server {self.served:.9g}, trainer {self.expected:.9g}"


def relative_difference(served: Array, expected: Array) -> Difference:
    """``max |a - b| / max(|a|, |b|, 0.001 rms(b))`` over rows and outputs, in ``[0, 2]``.

    NaN on one side only, and different infinities, are infinitely apart; on both sides they are
    equal. Without rows it is 0.

    :param served, expected: ``(n,)`` or ``(n, k)``.
    :raises BadInputError: shapes differ.

    >>> relative_difference(np.array([1.0, 2.0]), np.array([1.0, 2.2])).largest.__round__(3)
    0.091
    """
    served, expected = (np.asarray(side, dtype=np.float64) for side in (served, expected))
    if served.shape != expected.shape:
        raise BadInputError(
            f"the server's answers have the shape {served.shape}, and the trainer's "
            f"{expected.shape}",
            remedy="replay the same rows with the same output",
        )
    if not served.size:
        return Difference(0.0, 0, 0, 0.0, 0.0)
    a, b = served.reshape(len(served), -1), expected.reshape(len(expected), -1)
    finite = np.where(np.isfinite(b), b, 0.0)
    floor = SMALL * np.sqrt(np.mean(finite * finite, axis=0, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.maximum(np.maximum(np.abs(a), np.abs(b)), floor)
        apart = np.where(scale == 0, 0.0, np.abs(a - b) / scale)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    apart = np.where(same, 0.0, np.where(np.isfinite(apart), apart, np.inf))
    row, output = np.unravel_index(int(apart.argmax()), apart.shape)
    return Difference(
        float(apart[row, output]),
        int(row),
        int(output),
        float(a[row, output]),
        float(b[row, output]),
    )
