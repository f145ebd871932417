"""What serving data are compared with: training data, their profile, or TFDV statistics of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trueup.datasets.infer import closest, infer_spec
from trueup.datasets.open import open_dataset
from trueup.datasets.spec_toml import SpecOverrides, apply_overrides, load_spec_overrides
from trueup.errors import BadInputError, DataError
from trueup.profile.file import ProfileFile, is_profile_file, open_profile
from trueup.profile.mapreduce import Progress, first_pass_dataset, profile_dataset
from trueup.profile.roles import with_roles
from trueup.profile.states import Profile
from trueup.records.dataset import Dataset
from trueup.records.input_spec import InputSpec, Role
from trueup.records.report import Side

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.schema_pb2 import Schema

Spec = SpecOverrides | Mapping[str, Mapping[str, Any]] | str | Path


@dataclass(frozen=True)
class Wishes:
    """What the user says of the columns; the rest is inferred.

    :param spec: corrections of the inferred InputSpec: a TOML file, a schema proto of TFX (.pb,
        .pbtxt), or keys by variable name.
    :param slice_name: which slice of TFDV statistics; that of all examples when absent.
    """

    time: str | None = None
    label: str | None = None
    keys: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    spec: Spec | None = None
    slice_name: str | None = None

    def infer(self, dataset: Dataset) -> InputSpec:
        """The InputSpec of ``dataset`` with these wishes.

        :raises DataError: when a column is not there. :raises ConfigError: when ``spec`` is wrong.
        """
        wish, schema = self.spec, self.read_schema()
        overrides = None
        if schema is None:
            overrides = load_spec_overrides(Path(wish)) if isinstance(wish, str | Path) else wish
        inferred = infer_spec(
            dataset, overrides=overrides, time=self.time, label=self.label, keys=self.keys
        )
        if schema is not None:
            inferred = self._corrected(inferred, schema)
        return _without(inferred, self.ignore, dataset.name)

    def read_schema(self) -> Schema | None:
        """The schema proto that ``spec`` names, if it does."""
        if not isinstance(self.spec, str | Path):
            return None
        from trueup.tfdv.corrections import is_schema_path
        from trueup.tfdv.files import read_schema

        return read_schema(self.spec) if is_schema_path(self.spec) else None

    def _corrected(self, inferred: InputSpec, schema: Schema) -> InputSpec:
        from trueup.tfdv.corrections import corrections

        changes = corrections(schema, inferred, str(self.spec))
        said = {self.time, self.label, *self.keys}
        tables = {name: table for name, table in changes.variables.items() if name not in said}
        return apply_overrides(inferred, SpecOverrides(changes.source, tables))

    @property
    def roles(self) -> dict[str, tuple[Role, str]]:
        """The roles that do not need rows."""
        ignored = dict.fromkeys(self.ignore, (Role.IGNORED, "ignored by the user"))
        return ignored | ({self.label: (Role.LABEL, "given as the label")} if self.label else {})


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
    stored = _stored(source, wishes)
    if stored is None:
        if wishes.slice_name is not None:
            raise BadInputError(
                f"{source} is no file of TFDV statistics, so it has no slice {wishes.slice_name!r}"
            )
        dataset = open_dataset(source, name=None if is_path(source) else "training")
        return profiled(dataset, wishes, workers=workers, progress=progress)
    needs_rows = [name for name in ("time", "keys") if getattr(wishes, name)]
    if needs_rows:
        raise BadInputError(
            f"{source} holds statistics, not rows: {' and '.join(needs_rows)} cannot be given",
            remedy="name the data themselves",
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


def open_rows(source: Any, name: str | None = None) -> Dataset:
    """The data set in ``source``, which must be rows.

    :param name: what a source that is no path is called.
    :raises BadInputError: when it is a profile or TFDV statistics.
    """
    if is_path(source):
        from trueup.tfdv.files import is_statistics_file

        if is_profile_file(source) or is_statistics_file(source):
            raise BadInputError(
                f"{source} holds statistics, and rows are needed here",
                remedy="name the data themselves",
            )
    return open_dataset(source, name=None if is_path(source) else name)


def is_path(source: Any) -> bool:
    return isinstance(source, str | os.PathLike)


def side_of(name: str, profile: Profile, columns: int) -> Side:
    """Name, size and stretch of time of one side of a report."""
    first = last = None
    for variable in profile.edges.spec.with_role(Role.TIME):
        state = profile.features[variable.name].numeric
        if state is not None and state.n:
            first, last = _moment(state.raw.minimum), _moment(state.raw.maximum)
    return Side(name=name, rows=profile.rows, columns=columns, first_time=first, last_time=last)


def _moment(seconds: float) -> datetime | None:
    """Seconds since 1970 as a moment; ``None`` beyond the year 9999, where milliseconds that are
    taken for seconds lie."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None


def _stored(source: Any, wishes: Wishes) -> Baseline | None:
    if not is_path(source):
        return None
    if is_profile_file(source):
        if wishes.spec is not None or wishes.slice_name is not None:
            raise BadInputError(
                f"{source} is a finished profile: what its columns are cannot be corrected",
                remedy="make it anew: trueup profile DATA --spec FILE -o PROFILE",
            )
        saved = open_profile(source)
        return Baseline(_as_wished(saved.profile, wishes, source), saved.name, saved.notes)
    from trueup.tfdv.files import is_statistics_file

    if not is_statistics_file(source):
        return None
    from trueup.tfdv.baseline import open_statistics

    schema = wishes.read_schema()
    if wishes.spec is not None and schema is None:
        raise BadInputError(
            f"{source} holds TFDV statistics, which TOML cannot correct",
            remedy="give a schema proto (.pbtxt or .pb) instead",
        )
    found = open_statistics(source, schema=schema, slice_name=wishes.slice_name)
    return Baseline(_as_wished(found.profile, wishes, source), str(source), found.notes)


def _as_wished(profile: Profile, wishes: Wishes, source: Any) -> Profile:
    if not wishes.roles:
        return profile
    try:
        return with_roles(profile, wishes.roles)
    except KeyError as error:
        raise DataError(
            f"{source} holds no statistics of the column {error.args[0]!r}",
            remedy=closest(error.args[0], list(profile.features)),
        ) from None


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
