"""What serving data are compared with: training data, their profile, or TFDV statistics of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from trueup.datasets.infer import closest, infer_spec
from trueup.datasets.open import open_dataset
from trueup.datasets.spec_toml import SpecOverrides, load_spec_overrides
from trueup.errors import BadInputError, DataError
from trueup.profile.file import ProfileFile, is_profile_file, open_profile
from trueup.profile.mapreduce import Progress, first_pass_dataset, profile_dataset
from trueup.profile.states import Profile
from trueup.records.dataset import Dataset
from trueup.records.input_spec import InputSpec, Role
from trueup.records.report import Side

Spec = SpecOverrides | Mapping[str, Mapping[str, Any]] | str | Path


@dataclass(frozen=True)
class Wishes:
    """What the user says of the columns; the rest is inferred.

    :param spec: corrections of the inferred InputSpec: a TOML file, or keys by variable name.
    """

    time: str | None = None
    label: str | None = None
    keys: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    spec: Spec | None = None

    def infer(self, dataset: Dataset) -> InputSpec:
        """The InputSpec of ``dataset`` with these wishes.

        :raises DataError: when a column is not there. :raises ConfigError: when ``spec`` is wrong.
        """
        spec = self.spec
        overrides = load_spec_overrides(Path(spec)) if isinstance(spec, str | Path) else spec
        inferred = infer_spec(
            dataset, overrides=overrides, time=self.time, label=self.label, keys=self.keys
        )
        return _without(inferred, self.ignore, dataset.name)

    @property
    def named(self) -> list[str]:
        """The wishes that were made, by name."""
        return [name for name, wish in vars(self).items() if wish]


@dataclass(frozen=True)
class Baseline:
    """Training's profile, and where it is from.

    :param dataset: the training data; absent where only a profile of them is known.
    """

    profile: Profile
    name: str
    notes: tuple[str, ...] = ()
    dataset: Dataset | None = None

    @property
    def side(self) -> Side:
        known: Sized = self.profile.edges.spec.variables
        return side_of(
            self.name, self.profile, len(known if self.dataset is None else self.dataset.schema)
        )

    def to_file(self) -> ProfileFile:
        return ProfileFile(self.profile, self.name, self.notes)


def open_baseline(
    source: Any, wishes: Wishes, *, workers: int | None = None, progress: Progress | None = None
) -> Baseline:
    """The baseline in ``source``: a profile or TFDV statistics as they are, or data, profiled.

    :raises BadInputError: when columns are to be read otherwise and the data are not there.
    """
    stored = _stored(source)
    if stored is None:
        dataset = open_dataset(source, name=None if is_path(source) else "training")
        return profiled(dataset, wishes, workers=workers, progress=progress)
    if wishes.named:
        raise BadInputError(
            f"{source} holds statistics, not rows: {', '.join(wishes.named)} cannot be given",
            remedy="name the data themselves, or make the profile anew with these",
        )
    return stored


def profiled(
    dataset: Dataset,
    wishes: Wishes,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Baseline:
    """Infer what the columns of ``dataset`` are, find the bins, and count."""
    spec = wishes.infer(dataset)
    edges = first_pass_dataset(dataset, spec, workers=workers, progress=progress)
    profile = profile_dataset(dataset, edges, workers=workers, progress=progress)
    return Baseline(profile, dataset.name, dataset.notes, dataset)


def is_path(source: Any) -> bool:
    return isinstance(source, str | os.PathLike)


def side_of(name: str, profile: Profile, columns: int) -> Side:
    """Name, size and stretch of time of one side of a report."""
    first = last = None
    for variable in profile.edges.spec.with_role(Role.TIME):
        state = profile.features[variable.name].numeric
        if state is not None and state.n:
            first, last = (
                datetime.fromtimestamp(seconds, timezone.utc)
                for seconds in (state.raw.minimum, state.raw.maximum)
            )
    return Side(name=name, rows=profile.rows, columns=columns, first_time=first, last_time=last)


def _stored(source: Any) -> Baseline | None:
    if not is_path(source):
        return None
    if is_profile_file(source):
        saved = open_profile(source)
        return Baseline(saved.profile, saved.name, saved.notes)
    from trueup.tfdv.files import is_statistics_file

    if is_statistics_file(source):
        from trueup.tfdv.baseline import open_statistics

        found = open_statistics(source)
        return Baseline(found.profile, str(source), found.notes)
    return None


def _without(spec: InputSpec, ignore: Sequence[str], source: str) -> InputSpec:
    for name in ignore:
        if name not in spec.by_name:
            raise DataError(
                f"the ignored column {name!r} is not in {source}",
                remedy=closest(name, list(spec.by_name)),
            )
    return InputSpec(
        variables=tuple(
            v.model_copy(update={"role": Role.IGNORED, "reason": "ignored by the user"})
            if v.name in ignore
            else v
            for v in spec.variables
        )
    )
