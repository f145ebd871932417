"""Is the column there, and of the type that it had?"""

from __future__ import annotations

from trueup.monitor.measured import FeaturePair, Measured
from trueup.monitor.words import percent
from trueup.profile.states import FeatureState, Profile
from trueup.records.input_spec import Role, Variable
from trueup.records.report import Level, Quantity

TYPE_CHANGED_SHARE = 0.5
"""From this share of type errors among the present values on, the type itself has changed."""

SCHEMA = "schema"
"""Name of the evidence that is a matter of fact."""


def presence(variable: Variable, training: Profile, serving: Profile) -> list[Measured]:
    """Columns of the InputSpec that a side does not have."""
    gone, lacking = variable.name in serving.absent, variable.name in training.absent
    if not gone and not lacking:
        return []
    name, level = variable.name, Level.ALERT
    if gone and lacking:
        reason, level = f"column {name} is in neither data set", Level.WATCH
    elif lacking:
        reason, level = f"column {name} is in serving only: nothing to compare with", Level.WATCH
    elif variable.role is Role.LABEL:
        reason, level = f"label {name} is not in serving, so it is not compared", Level.OK
    elif variable.role is Role.TIME:
        reason, level = f"time column {name} is not in serving", Level.WATCH
    else:
        reason = f"column {name} is gone: training has it, serving does not"
    return [_fact(name, Quantity.PRESENCE, training.rows, serving.rows, level, reason,
                  (0.0 if lacking else 100.0, 0.0 if gone else 100.0))]  # fmt: skip


def extra(training: Profile, serving: Profile) -> list[Measured]:
    """Columns that serving has and training had not."""
    known = {name for name, _ in training.extra}
    return [
        _fact(name, Quantity.PRESENCE, training.rows, serving.rows, Level.WATCH,
              f"column {name} ({type_name}) is new: serving has it, training did not",
              (0.0, 100.0))
        for name, type_name in serving.extra
        if name not in known
    ]  # fmt: skip


def changed_type(pair: FeaturePair, min_rows: int) -> list[Measured]:
    """A type that most present values no longer have."""
    before, after = pair.training, pair.serving
    given0, given = before.rows - before.missing, after.rows - after.missing
    if given < min_rows or not after.type_errors:
        return []
    share = after.type_errors / given
    share0 = before.type_errors / given0 if given0 else 0.0
    if share < TYPE_CHANGED_SHARE or share0 >= TYPE_CHANGED_SHARE:
        return []
    reason = (
        f"type of {pair.name} changed: {percent(share)} of its values are not "
        f"{pair.variable.dtype} ({percent(share0)} in training)"
    )
    return [_fact(pair.name, Quantity.TYPE, given0, given, Level.ALERT, reason,
                  (100 * share0, 100 * share))]  # fmt: skip


def too_few(name: str, quantity: Quantity, n0: int, n: int, min_rows: int) -> Measured:
    """What is said instead of findings where a side is too small."""
    side = "training" if n0 < min_rows else "serving"
    return _fact(
        name, quantity, n0, n, Level.OK,
        f"too few rows to judge {name}: {min(n0, n)} with a value in {side}, {min_rows} needed",
        None,
    )  # fmt: skip


def given(state: FeatureState, variable: Variable) -> int:
    """Values of whatever type, save infinities; those inside the lists of a multi-valued one."""
    if variable.multi_valued:
        values = state.elements - state.element_missing - state.non_finite
        return max(values, state.type_errors)
    return state.rows - state.missing - state.non_finite


def empty(pair: FeaturePair) -> Measured:
    """What is said of a column without any value in training."""
    values = given(pair.serving, pair.variable)
    level = Level.WATCH if values else Level.OK
    value = "finite value" if pair.training.non_finite else "value"
    reason = (
        f"{pair.name} had no {value} in training, so its {values:,} values have nothing to be "
        "compared with" if values else f"{pair.name} has no {value} in either data set"
    )  # fmt: skip
    return _fact(pair.name, Quantity.PRESENCE, pair.training.rows, pair.serving.rows, level,
                 reason, None)  # fmt: skip


def _fact(
    name: str, quantity: Quantity, n0: int, n: int, level: Level, reason: str,
    values: tuple[float, float] | None,
) -> Measured:  # fmt: skip
    before, after = values if values is not None else (None, None)
    effect = 0.0 if before is None or after is None else after - before
    return Measured(
        name, quantity, effect, "difference of rates" if values else "none",
        "points" if values else "", n0, n, SCHEMA, reason, fixed=level,
        training=before, serving=after, value_unit="%" if values else "",
    )  # fmt: skip
