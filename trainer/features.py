"""The plan of features: from profile, InputSpec and settings, without looking at a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from trueup.config.training import FeatureSettings, TrainingSettings, is_function
from trueup.datasets.infer import closest
from trueup.errors import ConfigError, DataError
from trueup.profile.edges import FeatureEdges
from trueup.profile.states import Profile
from trueup.records.features import Bucketed, Cross, Feature, FeaturePlan, Hashed, Vocabulary
from trueup.records.input_spec import InputSpec, Kind, Role, Variable
from trueup.records.training import Target
from trueup.trainer.feature_rules import Raw, bucketed, features_of, useless
from trueup.trainer.graph.variables import as_input, graph_dtype, list_size
from trueup.trainer.target import find_target as find_target

_AUTO = FeatureSettings()


@dataclass(frozen=True)
class PlannedFeatures:
    """A plan, and what the user should know of it: sentences on what was left out, and why."""

    plan: FeaturePlan
    notes: tuple[str, ...] = ()


def plan_features(
    profile: Profile, spec: InputSpec, settings: TrainingSettings, target: Target
) -> PlannedFeatures:
    """How the raw variables enter the model.

    Numbers are scaled, the strongly skewed ones after a logarithm, and in buckets for the wide
    part; integers of few values, texts and booleans are looked up in training's vocabulary, or
    hashed where it is not complete; long texts are hashed word by word; lists are averaged. What
    says nothing (constant, all missing, nearly all different, times) is left out with a note.

    :param profile: of the training rows alone.
    :raises ConfigError: a key of the settings names what is not there or does not fit.
    :raises DataError: no variable is left.
    """
    _check_names(spec, settings, target)
    own_code = bool(settings.functions) or is_function(settings.model)
    known = _Variables()
    for variable in spec.variables:
        if _usable(variable, settings, target):
            known.add(variable, profile, settings)
    raws, features, left, notes = known.raws, known.features, known.left, known.notes
    crosses = _crosses(settings, raws, left, features, notes)
    names = {feature.variable for feature in features}
    names |= {name for cross in crosses for name in cross.variables}
    if own_code:
        names |= {name for name in raws if raws[name].choice.transform != "leave"}
    inputs = tuple(
        as_input(variable, raws[variable.name].state.missing > 0)
        for variable in spec.variables
        if variable.name in names
    )
    if not inputs:
        raise DataError(
            "no variable is left to learn from: " + "; ".join(notes or ["there is none"]),
            remedy="look at the training data's columns and their roles",
        )
    unused = tuple(
        as_input(raw.variable.model_copy(update={"optional": True}), True)
        for name, raw in raws.items()
        if name not in names
    )
    notes += _on_booleans(inputs, raws)
    plan = FeaturePlan(
        inputs=inputs,
        features=tuple(features),
        crosses=crosses,
        functions=settings.functions,
        target=target,
        unused=unused,
    )
    return PlannedFeatures(plan, tuple(notes))


@dataclass
class _Variables:
    """The variables that the graph can take, those of them that are features by themselves, and
    why others are none."""

    raws: dict[str, Raw] = field(default_factory=dict)
    features: list[Feature] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, variable: Variable, profile: Profile, settings: TrainingSettings) -> None:
        name = variable.name
        unfit = _unfit(variable)
        if unfit:
            self.notes.append(f"{name} is no feature: {unfit}")
            return
        raw = self.raws[name] = _raw(variable, profile, settings)
        if raw.choice.transform == "leave":
            self.left[name] = "training.features leaves it out"
            return
        why = useless(raw)
        found: tuple[Feature, ...] = ()
        if not why:
            found, why = features_of(raw)
        self.features += found
        if not found:
            self.left[name] = why
            self.notes.append(f"{name} is no feature: {why}")


def _unfit(variable: Variable) -> str:
    """Why the graph cannot take it; empty where it can."""
    if list_size(variable) is not None:
        return ""
    if len(variable.shape) > 1:
        return "it is lists of lists of any length"
    # Rows of different length are filled up, and no third value stands for "nothing".
    return "it is lists of true and false of any length" if variable.dtype == "bool" else ""


def _raw(variable: Variable, profile: Profile, settings: TrainingSettings) -> Raw:
    if variable.name not in profile.features:
        raise DataError(
            f"the profile of the training rows does not have {variable.name!r}",
            remedy="profile the rows with the same roles of variables",
        )
    return Raw(
        variable=variable,
        state=profile.features[variable.name],
        edges=profile.edges.features.get(variable.name, FeatureEdges()),
        choice=settings.features.get(variable.name, _AUTO),
        wide=settings.model in ("linear", "wide_and_deep"),
        deep=settings.model != "linear",
    )


def _usable(variable: Variable, settings: TrainingSettings, target: Target) -> bool:
    """Whether it may enter. A time does only where the settings name it."""
    if variable.name == target.label:
        return False
    if variable.role is Role.TIME:
        return variable.name in settings.features
    return variable.role is Role.FEATURE


def _check_names(spec: InputSpec, settings: TrainingSettings, target: Target) -> None:
    for name, choice in settings.features.items():
        key = f"training.features.{name}"
        if name not in spec.by_name:
            raise ConfigError(
                f"{key}: the training data have no such variable",
                remedy=closest(name, spec.by_name),
            )
        if choice.transform == "leave":
            continue
        if name == target.label:
            raise ConfigError(f"{key}: it is the label", remedy="remove the key")
        variable = spec[name]
        if variable.role not in (Role.FEATURE, Role.TIME):
            reason = variable.reason or f"it has the role {variable.role.value}"
            raise ConfigError(
                f"{key}: the variable is not used: {reason}",
                remedy=f'set variables.{name}.role = "feature", or remove the key',
            )


def _crosses(
    settings: TrainingSettings,
    raws: dict[str, Raw],
    left: dict[str, str],
    features: list[Feature],
    notes: list[str],
) -> tuple[Cross, ...]:
    """The crosses; numbers in them get buckets if they have none."""
    found = []
    if settings.crosses and settings.model == "dnn":
        notes.append("crosses are for the wide part, and model dnn has none: they are left out")
        return ()
    for names in settings.crosses:
        shown = " × ".join(names)
        if len(set(names)) < 2:
            raise ConfigError(
                f"training.crosses has {shown or 'an empty list'}",
                remedy="name two or more variables",
            )
        for name in names:
            _check_crossed(name, raws)
        gone = [name for name in names if name in left and raws[name].choice.transform != "leave"]
        if gone:
            notes.append(f"the cross {shown} is left out: {gone[0]}: {left[gone[0]]}")
            continue
        for name in names:
            _add_buckets(raws[name], features)
        found.append(Cross(variables=names, buckets=settings.cross_buckets))
    return tuple(found)


def _check_crossed(name: str, raws: dict[str, Raw]) -> None:
    if name not in raws:
        raise ConfigError(
            f"training.crosses names {name!r}, which is no feature of the training data",
            remedy=closest(name, raws),
        )
    variable = raws[name].variable
    if variable.multi_valued or variable.kind is Kind.TEXT:
        what = "has several values" if variable.multi_valued else "is free text"
        raise ConfigError(
            f"training.crosses names {name!r}, which {what}",
            remedy="cross numbers and categories only",
        )


def _add_buckets(raw: Raw, features: list[Feature]) -> None:
    mine = [feature for feature in features if feature.variable == raw.name]
    has_places = any(isinstance(feature, (Bucketed, Vocabulary, Hashed)) for feature in mine)
    numbers = raw.variable.kind is Kind.NUMERIC and graph_dtype(raw.variable) != "string"
    if numbers and not has_places and raw.state.numeric is not None:
        features.append(bucketed(raw, 0))


def _on_booleans(inputs: Iterable[Variable], raws: dict[str, Raw]) -> list[str]:
    return [
        f"{variable.name}: true and false leave no room for missing, which is taken as "
        f"{'true' if variable.missing.graph else 'false'}"
        for variable in inputs
        if variable.optional and graph_dtype(variable) == "bool" and raws[variable.name].state.rows
    ]
