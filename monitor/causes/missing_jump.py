"""So many values went missing at once that something broke."""

from __future__ import annotations

from trueup.monitor.causes.diagnosis import Diagnosis
from trueup.monitor.measured import FeaturePair
from trueup.monitor.words import number, percent
from trueup.records.report import Cause, CauseKind, Quantity

JUMP = 0.20
"""Rise of the missing rate from which on, between two data sets without time, it is called a
fault; smaller rises may be gradual and are drift."""


def missing_jump(pair: FeaturePair) -> Diagnosis | None:
    """A rise of the missing rate by at least 20 points."""
    before, after = pair.training, pair.serving
    if not before.rows or not after.rows:
        return None
    rate0, rate = before.missing / before.rows, after.missing / after.rows
    if rate - rate0 < JUMP:
        return None
    extent = "is empty" if after.missing == after.rows else f"is missing in {percent(rate)} of rows"
    return Diagnosis(
        Cause(
            kind=CauseKind.MISSING_JUMP,
            statement=f"{pair.name} {extent} in serving, {percent(rate0)} in training",
            remedy=f"look at the join or the source that brings {pair.name}",
            parameters={"points": float(number(100 * (rate - rate0)).replace(",", ""))},
        ),
        frozenset({Quantity.MISSING}),
    )
