"""The baseline of an imported model: its training data, read as the model's inputs.

What is compared is what the model takes, and as the capture will hold it: columns that are no input
are left out, and the model's column policies are applied first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from trueup.baseline import Baseline, Wishes, open_baseline
from trueup.config.settings import ModelSettings
from trueup.datasets.column_policies import ColumnPolicies
from trueup.datasets.open import open_dataset
from trueup.datasets.spec_toml import SpecOverrides, apply_overrides
from trueup.errors import BadInputError
from trueup.policed_dataset import PolicedDataset
from trueup.profile.file import is_profile_file
from trueup.profile.mapreduce import (
    Progress,
    first_pass_dataset,
    profile_dataset,
    series_dataset,
)
from trueup.profile.roles import with_roles
from trueup.profile.series import WindowSeries
from trueup.profile.window_length import chosen_length, window_seconds
from trueup.records.dataset import Dataset
from trueup.records.input_spec import InputSpec, Variable
from trueup.serving.model_inputs import NO_INPUT, agreed_spec, not_inputs
from trueup.store.capture_key import capture_key
from trueup.tfdv.files import is_statistics_file

# What statistics depend on.
_COUNTED = frozenset(
    {"dtype", "kind", "shape", "missing.sentinels", "missing.nan", "missing.empty_string"}
)


@dataclass(frozen=True)
class TrainingData:
    """What the user says of the data that a model was trained on.

    :param sources: paths of data, or one profile of them, or one file of TFDV statistics.
    :param window: length of the windows whose variation is kept, such as ``1d``; chosen if absent.
    :param spec: a TOML file or schema proto that says what the columns are.
    """

    sources: tuple[str, ...]
    time: str | None = None
    window: str | None = None
    label: str | None = None
    ignore: tuple[str, ...] = ()
    spec: Path | None = None

    @property
    def shown(self) -> str:
        return ", ".join(self.sources)


@dataclass(frozen=True)
class ModelBaseline:
    """A baseline that fits the model.

    :param spec: the model's InputSpec: that of the baseline, and inputs that only the model has.
    :param series: how the windows of the training data varied, where times are known.
    """

    baseline: Baseline
    spec: InputSpec
    notes: tuple[str, ...]
    series: WindowSeries | None = None


def training_baseline(
    data: TrainingData,
    inputs: Mapping[str, Variable],
    model: str,
    settings: ModelSettings,
    engine: Engine,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ModelBaseline:
    """Profile the training data of ``model``.

    :param inputs: what the model takes.
    :param engine: of the store, which has the key of column policies.
    :raises BadInputError: data and model do not fit, or something cannot be read.
    """
    if data.window is not None:
        if data.time is None:
            raise BadInputError("a window needs a time", remedy="name the time column too: --time")
        window_seconds(data.window)
    wishes = Wishes(time=data.time, label=data.label, ignore=data.ignore, spec=data.spec)
    if len(data.sources) == 1 and _is_stored(data.sources[0]):
        return _of_statistics(data, wishes, inputs, settings)
    dataset: Dataset = open_dataset(data.sources if len(data.sources) > 1 else data.sources[0])
    known = _corrected(wishes.infer(dataset), inputs, settings)
    spec, notes = agreed_spec(inputs, known, data.shown)
    there = spec
    if settings.capture.columns:
        policies = ColumnPolicies(settings.capture.columns, spec, capture_key(engine, model))
        dataset, there = PolicedDataset(dataset, policies), policies.captured_spec()
        workers = 1
    there = InputSpec(variables=tuple(v for v in there.variables if v.name in known.by_name))
    edges = first_pass_dataset(dataset, there, workers=workers, progress=progress)
    profile = profile_dataset(dataset, edges, workers=workers, progress=progress)
    series = None
    if data.time is not None:
        state = profile.features.get(data.time)  # a column policy may have taken it away
        times = None if state is None else state.numeric
        if times is not None and times.n:
            length = data.window or chosen_length(times.raw.minimum, times.raw.maximum)
            series = series_dataset(
                dataset, edges, data.time, window_seconds(length),
                workers=workers, progress=progress,
            )  # fmt: skip
    baseline = Baseline(profile, data.shown, dataset.notes, dataset)
    return ModelBaseline(baseline, spec, (*notes, *dataset.notes), series)


def _is_stored(source: str) -> bool:
    return is_profile_file(source) or is_statistics_file(source)


def _of_statistics(
    data: TrainingData, wishes: Wishes, inputs: Mapping[str, Variable], settings: ModelSettings
) -> ModelBaseline:
    """Of a profile or TFDV statistics: what they count cannot be changed any more."""
    if settings.capture.columns:
        names = ", ".join(sorted(settings.capture.columns))
        raise BadInputError(
            f"{data.shown} holds statistics of data as they were, and the capture holds {names} "
            "under column policies, which cannot be compared with them",
            remedy="name the training data themselves",
        )
    found = open_baseline(data.sources[0], wishes)
    known = found.profile.edges.spec
    for name, table in settings.overrides().items():
        counted = _COUNTED & {*table, *(f"missing.{key}" for key in table.get("missing", ()))}
        if name in known.by_name and counted:
            raise BadInputError(
                f"{data.shown} holds statistics: {min(counted)} of {name!r} cannot be corrected "
                "any more, as [models] of the configuration wants",
                remedy="name the training data themselves",
            )
    known = _corrected(known, inputs, settings)
    extra = not_inputs(inputs, known)
    spec, notes = agreed_spec(inputs, known, data.shown)
    before = found.profile.edges.spec.by_name
    roles = {
        v.name: (v.role, v.reason or NO_INPUT)
        for v in spec.variables
        if v.name in before and (v.role is not before[v.name].role or v.name in extra)
    }
    try:
        profile = with_roles(found.profile, roles)
    except KeyError as error:
        raise BadInputError(
            f"{data.shown} holds no statistics of {error.args[0]!r}, which [models] of the "
            "configuration wants to be compared",
            remedy="name the training data themselves",
        ) from None
    return ModelBaseline(replace(found, profile=profile), spec, (*notes, *found.notes))


def _corrected(
    known: InputSpec, inputs: Mapping[str, Variable], settings: ModelSettings
) -> InputSpec:
    """``known`` with what the configuration says of it; it has the last word.

    What it says of inputs that only the model has is :func:`model_spec`'s matter.
    """
    said = settings.overrides()
    there = known.by_name
    mine: dict[str, Mapping[str, Any]] = {
        name: table for name, table in said.items() if name in there or name not in inputs
    }
    return apply_overrides(known, SpecOverrides("[models] of the configuration", mine))


def model_spec(spec: InputSpec, only: frozenset[str], settings: ModelSettings) -> InputSpec:
    """``spec`` with what the configuration says of the variables ``only``.

    :raises ConfigError: it says something that cannot be.
    """
    said = {name: table for name, table in settings.overrides().items() if name in only}
    return apply_overrides(spec, SpecOverrides("[models] of the configuration", said))
