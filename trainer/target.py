"""What is predicted: from the label's variable, its profile and the settings."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

import numpy as np

from trueup.config.training import TrainingSettings
from trueup.errors import ConfigError, DataError
from trueup.profile.canonical import spell
from trueup.profile.edges import FeatureEdges
from trueup.profile.states import FeatureState, Profile
from trueup.records.input_spec import InputSpec, Kind, Role, Variable
from trueup.records.training import Target
from trueup.trainer.profile_numbers import clipped_shape, distinct_values, share_above

MOST_CLASSES = 1024
"""As many as a profile tells apart."""


def find_target(profile: Profile, spec: InputSpec, settings: TrainingSettings) -> Target:
    """The target of ``settings``; of task ``auto``, numbers are regression, two values binary and
    others multiclass.

    :param profile: of the training rows.
    :raises ConfigError: no label is named, it is not there, or the task does not fit it.
    :raises DataError: it is missing in all rows, constant, or of one class only.
    """
    variable = _label(spec, settings)
    name = variable.name
    state = profile.features.get(name)
    if state is None or name in profile.absent or not state.present:
        raise DataError(
            f"the label {name!r} has no value in the {profile.rows} training rows",
            remedy="name the column with the outcome (training.label), or rows that have it",
        )
    if variable.multi_valued or variable.kind is Kind.TIME:
        what = "a list" if variable.multi_valued else "a time"
        raise ConfigError(
            f"the label {name!r} is {what}, which cannot be predicted",
            remedy="name a number or a category as training.label",
        )
    edges = profile.edges.features[name]
    if settings.positive_above is not None:
        return _threshold(variable, state, edges, settings.positive_above)
    numeric = variable.kind is Kind.NUMERIC
    values = _values(variable, state, edges)
    known = "" if values is None else f": {values[0]!r}"
    if values is not None and len(values) < 2:
        raise DataError(
            f"the label {name!r} has one value only in the training rows{known}",
            remedy="there is nothing to learn: take rows with other outcomes too",
        )
    task = settings.task
    if task == "auto":
        two = values is not None and len(values) == 2
        task = "binary" if two else "regression" if numeric else "multiclass"
    if task == "regression":
        return _regression(variable, state)
    return _classes(variable, state, edges, values, task)


def closest(name: str, names: Iterable[str]) -> str:
    """A remedy that names what was probably meant."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {near[0]!r}?" if near else "check the name"


def _label(spec: InputSpec, settings: TrainingSettings) -> Variable:
    if settings.label:
        if settings.label not in spec.by_name:
            raise ConfigError(
                f"training.label names {settings.label!r}, which the training data do not have",
                remedy=closest(settings.label, spec.by_name),
            )
        return spec[settings.label]
    labels = spec.with_role(Role.LABEL)
    if len(labels) != 1:
        raise ConfigError(
            "it is not said what is to be predicted",
            remedy='name the column: label = "…" under [models.NAME.training]',
        )
    return labels[0]


def _values(variable: Variable, state: FeatureState, edges: FeatureEdges) -> tuple[str, ...] | None:
    """The values that training has, in the order of classes; ``None``: too many to tell."""
    if edges.numeric is not None:
        if state.numeric is not None and state.numeric.raw.minimum == state.numeric.raw.maximum:
            return (spell(state.numeric.raw.minimum),)
        numbers = distinct_values(edges.numeric)
        return None if numbers is None else tuple(spell(float(value)) for value in numbers)
    if edges.categories is None or not edges.categories.complete or state.categories is None:
        return None
    seen = [
        value
        for value, count in zip(edges.categories.values, state.categories.counts, strict=True)
        if count
    ]
    if variable.dtype in ("string", "bytes", "bool"):
        return tuple(sorted(seen))
    return tuple(sorted(seen, key=float))


def _threshold(
    variable: Variable, state: FeatureState, edges: FeatureEdges, threshold: float
) -> Target:
    name = variable.name
    if state.numeric is None or edges.numeric is None:
        raise ConfigError(
            f"training.positive_above is {threshold:g}, and the label {name!r} is no number",
            remedy="leave it out, or name a number as training.label",
        )
    raw = state.numeric.raw
    if raw.minimum > threshold or raw.maximum <= threshold:
        side = "above" if raw.minimum > threshold else "not above"
        raise DataError(
            f"the label {name!r} is of one class only: all {raw.n} values, from {raw.minimum:g} to "
            f"{raw.maximum:g}, are {side} {threshold:g}",
            remedy="set training.positive_above within them",
        )
    share = share_above(state.numeric, edges.numeric, threshold)
    return Target(
        label=name,
        task="binary",
        positive_above=threshold,
        dtype=variable.dtype,
        bias=(_log_odds(share, raw.n),),
    )


def _regression(variable: Variable, state: FeatureState) -> Target:
    if state.numeric is None:
        raise ConfigError(
            f"training.task is regression, and the label {variable.name!r} is no number",
            remedy="leave task out, or set it to binary or multiclass",
        )
    shape = clipped_shape(state.numeric)
    return Target(
        label=variable.name,
        task="regression",
        dtype=variable.dtype,
        bias=(shape.mean,),
        scale=shape.sd or 1.0,
    )


def _classes(
    variable: Variable,
    state: FeatureState,
    edges: FeatureEdges,
    values: tuple[str, ...] | None,
    task: str,
) -> Target:
    name = variable.name
    if values is None or len(values) > MOST_CLASSES:
        numbers = variable.kind is Kind.NUMERIC
        raise ConfigError(
            f"the label {name!r} has too many values for training.task {task}",
            remedy="set positive_above, or task = \"regression\"" if numbers
            else f"at most {MOST_CLASSES} classes can be told apart: name another label",
        )  # fmt: skip
    if task == "binary" and len(values) > 2:
        raise ConfigError(
            f"training.task is binary, and the label {name!r} has {len(values)} values",
            remedy='set positive_above, or task = "multiclass"'
            if variable.kind is Kind.NUMERIC
            else 'set task = "multiclass"',
        )
    counts = _counts(state, edges, values)
    shares = (counts + 1.0) / (counts.sum() + counts.size)
    bias = (
        (float(np.log(shares[1] / shares[0])),)
        if task == "binary"
        else tuple(float(value) for value in np.log(shares))
    )
    return Target(
        label=name,
        task="binary" if task == "binary" else "multiclass",
        classes=values,
        dtype=variable.dtype,
        bias=bias,
    )


def _counts(state: FeatureState, edges: FeatureEdges, values: tuple[str, ...]) -> np.ndarray:
    """How often each class is in the training rows, float64, shape ``(classes,)``."""
    if state.numeric is not None:
        return np.asarray(state.numeric.counts[1:-1], np.float64)
    assert state.categories is not None and edges.categories is not None
    of = dict(zip(edges.categories.values, state.categories.counts, strict=True))
    return np.array([of[value] for value in values], np.float64)


def _log_odds(share: float, n: int) -> float:
    bounded = min(max(share, 0.5 / n), 1.0 - 0.5 / n)
    return math.log(bounded / (1.0 - bounded))
