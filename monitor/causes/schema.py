"""A column that is gone, new, or of another type."""

from __future__ import annotations

from trueup.monitor.causes.diagnosis import Diagnosis
from trueup.monitor.measured import FeaturePair
from trueup.monitor.words import percent
from trueup.records.report import Cause, CauseKind, Quantity


def gone(name: str) -> Cause:
    """The cause of a column that training has and serving does not."""
    return Cause(
        kind=CauseKind.COLUMN_GONE,
        statement=f"serving has no column {name}",
        remedy=f"bring {name} back, or declare it ignored if the model does not use it",
    )


def new(name: str) -> Cause:
    """The cause of a column that only serving has; by itself it breaks nothing."""
    return Cause(
        kind=CauseKind.COLUMN_NEW,
        statement=f"training had no column {name}",
        remedy="leave it out, or train with it",
    )


def type_changed(pair: FeaturePair) -> Diagnosis | None:
    """Values that are not of the type that training has; the caller has seen that their rate
    rose past its threshold."""
    after = pair.serving
    given = after.rows - after.missing
    if not after.type_errors or not given:
        return None
    share = after.type_errors / given
    return Diagnosis(
        Cause(
            kind=CauseKind.TYPE_CHANGED,
            statement=f"{percent(share)} of the values of {pair.name} are not of type "
            f"{pair.variable.dtype}",
            remedy=f"send {pair.name} as {pair.variable.dtype} again",
            parameters={"share": share, "expected": pair.variable.dtype},
        ),
        frozenset({Quantity.TYPE, Quantity.TYPE_ERROR}),
    )
