"""The rows that a version is trained and judged on: all sources of a model as one data set.

It alone knows both the capture and the trainer: files, a SQL query and the labelled capture become
one data set of raw variables with label and event time, whose splits are cut once; the baseline,
the shards and the gate's rows are all of this one cut.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine

import trueup
from trueup.baseline import Baseline
from trueup.captured_rows import CaptureWish, captured_rows
from trueup.config.settings import Settings
from trueup.config.training import DataSettings
from trueup.datasets.column_policies import ColumnPolicies
from trueup.datasets.columns import TIME
from trueup.datasets.infer import infer_spec
from trueup.datasets.parts import UnitDataset
from trueup.errors import BadInputError, ConfigError, DataError, StoreError, TrueupError
from trueup.policed_dataset import PolicedDataset
from trueup.profile.mapreduce import (
    Progress,
    first_pass_dataset,
    profile_dataset,
    series_dataset,
)
from trueup.profile.series import WindowSeries
from trueup.profile.states import Profile
from trueup.profile.window_length import chosen_length, window_seconds
from trueup.records.dataset import Dataset
from trueup.records.input_spec import InputSpec, Role
from trueup.records.training import Target, TrainingData
from trueup.store.blobs import BlobRoot
from trueup.store.capture_key import capture_key
from trueup.trainer.data.disk import why
from trueup.trainer.data.event_times import microseconds
from trueup.trainer.data.label_facts import refuse_one_value, target_of
from trueup.trainer.data.lineage import write_lineage
from trueup.trainer.data.materialize import materialize
from trueup.trainer.data.sources import (
    Source,
    files_source,
    query_source,
    refuse_absent,
    together,
)
from trueup.trainer.data.split_dataset import SplitDataset
from trueup.trainer.data.splits import Quarantine, SplitRule, broken_intervals
from trueup.trainer.data.survey import Survey, newest_usable, survey, usable_rows

_CLOCKS_APART = timedelta(minutes=5)
"""How far in the future an event time is still believed, as in the capture."""


@dataclass(frozen=True)
class TrainingDataset:
    """The rows of a model, split.

    :param dataset: all rows; :meth:`training_rows` are those that are trained on.
    :param spec: of the raw variables, with roles.
    :param notes: sentences on what reading had to decide, and on what was left out.
    """

    model: str
    settings: Settings
    dataset: UnitDataset
    sources: tuple[Source, ...]
    spec: InputSpec
    survey: Survey
    target: Target
    notes: tuple[str, ...]

    @property
    def rule(self) -> SplitRule:
        return self.survey.rule

    @property
    def training_rows(self) -> SplitDataset:
        """The rows to train on alone: none for tuning, and none of the gate's."""
        return SplitDataset(self.dataset, self.spec, self.rule)

    def write(
        self,
        folder: Path,
        *,
        now: datetime,
        more: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> tuple[TrainingData, tuple[str, ...]]:
        """Write shards, the gate's rows and ``data.json`` to ``folder``; also gives notes.

        :param more: variables that Examples hold besides features and the label.
        :raises DataError: the rows cannot be trained on. :raises StoreError: they cannot be
            written. Nothing is left in ``folder`` then.
        """
        mine = self.settings.model(self.model).training
        made = materialize(
            self.sources, self.spec, self.survey, folder, model=self.model,
            shard_rows=mine.data.shard_rows, more=more, seed=mine.seed,
            checked=lambda labels: refuse_one_value(
                labels, self.target, f"the rows of {self.model} to train on"
            ),
            progress=progress,
        )  # fmt: skip
        data = TrainingData(
            model=self.model, spec=self.spec, target=self.target, sources=made.sources,
            splits=made.splits, dropped=made.dropped, made_at=now,
            cut_at=self.survey.cut_at, code_version=trueup.__version__,
        )  # fmt: skip
        try:
            write_lineage(data, folder)
        except BadInputError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        notes = [
            f"{count:,} values of {name!r} are not of type {self.spec[name].dtype}: missing"
            for name, count in made.misfits.items()
        ]
        return data, tuple(notes)


@dataclass(frozen=True)
class VersionBaseline:
    """What the traffic of a version is compared with, of its training rows alone.

    :param spec: of the profile: the raw variables as the capture holds them, under its policies.
    :param series: the windows of the training rows by event time, where there is one.
    :param schema: TFDV's, inferred from the same profile; absent where TFDV is not installed.
    """

    baseline: Baseline
    spec: InputSpec
    series: WindowSeries | None
    schema: bytes | None
    notes: tuple[str, ...]

    @property
    def profile(self) -> Profile:
        return self.baseline.profile


def training_dataset(
    settings: Settings,
    model: str,
    engine: Engine,
    blobs: BlobRoot,
    folder: Path,
    *,
    now: datetime,
    quarantined: Sequence[Quarantine] = (),
    progress: Progress | None = None,
) -> TrainingDataset:
    """Open all sources of ``model``, and cut the splits.

    :param folder: made here; holds what is copied out of the database and the capture, as long as
        the result is used.
    :param quarantined: intervals of event time in which features were broken.
    :raises BadInputError: naming the source, column or key of the configuration that is wrong.
    """
    mine = settings.model(model).training
    if not mine.label:
        raise ConfigError(
            f"[models.{model}.training] does not say what is to be predicted",
            remedy='set label = "VARIABLE" there',
        )
    with _sentences(model, folder):
        folder.mkdir(parents=True, exist_ok=True)
        given = list(_given(settings, mine.data, folder))
        fresh, notes = _fresh(settings, model, engine, blobs, given, folder, now, quarantined)
    sources = [*given, *fresh]
    if not sources:
        raise DataError(
            f"there are no data to train {model} on: [models.{model}.training.data] names neither "
            f"sources nor a query{''.join(f', and {note}' for note in notes)}",
            remedy="name sources, or send labels for captured rows: trueup labels",
        )
    dataset, whole = together(sources, f"the training data of {model}")
    spec = _spec(dataset, settings, model)
    refuse_absent(sources, spec, model)
    rule = _rule(mine.data, mine.label, spec, now, quarantined)
    found = survey(
        whole, spec, rule, model=model, gate_period=mine.data.gate_period,
        positive_above=mine.positive_above, progress=progress,
    )  # fmt: skip
    target = target_of(found.labels, mine, model)
    said = (*dataset.notes, *notes)
    return TrainingDataset(model, settings, dataset, whole, spec, found, target, said)


def fresh_rows(
    settings: Settings,
    model: str,
    engine: Engine,
    blobs: BlobRoot,
    folder: Path,
    *,
    now: datetime,
    after: datetime | None,
    quarantined: Sequence[Quarantine] = (),
) -> int:
    """Rows that could be trained on, with event times behind ``after`` (all without it, or without
    event times): labelled, mature, not quarantined. Reads labels and times of all sources.

    :param folder: made here; what is copied into it is removed again.
    :raises BadInputError: as :func:`training_dataset`.
    """
    mine = settings.model(model).training
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _sentences(model, folder):
            given = list(_given(settings, mine.data, folder))
            fresh, _ = _fresh(settings, model, engine, blobs, given, folder, now, quarantined)
        if not (sources := [*given, *fresh]):
            return 0
        dataset, whole = together(sources, f"the training data of {model}")
        spec = _spec(dataset, settings, model)
        rule = _rule(mine.data, mine.label, spec, now, quarantined)
        if after is not None and rule.time is not None:
            rule = replace(rule, since=max(microseconds(after) + 1, rule.since or 0))
        return usable_rows(whole, spec, rule)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def baseline_of(
    rows: TrainingDataset,
    engine: Engine,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    tfdv: bool = True,
) -> VersionBaseline:
    """Profile the training rows in two passes, and their windows where there are event times.

    :param engine: of the store, which has the key of column policies: the traffic is compared with
        this baseline, and the capture holds it under these.
    :param tfdv: also infer TFDV's schema, in a child process.
    """
    dataset: Dataset = rows.training_rows
    spec = rows.spec
    capture = rows.settings.model(rows.model).capture
    if capture.columns:
        policies = ColumnPolicies(capture.columns, spec, capture_key(engine, rows.model))
        dataset, spec = PolicedDataset(dataset, policies), policies.captured_spec()
        workers = 1  # policies hold functions, which do not go to other processes
    edges = first_pass_dataset(dataset, spec, workers=workers, progress=progress)
    profile = profile_dataset(dataset, edges, workers=workers, progress=progress)
    series = None
    time = rows.rule.time
    state = None if time is None else profile.features.get(time)
    times = None if state is None else state.numeric
    if time is not None and times is not None and times.n:
        length = chosen_length(times.raw.minimum, times.raw.maximum)
        series = series_dataset(
            dataset, edges, time, window_seconds(length), workers=workers, progress=progress
        )
    schema, notes = _tfdv_schema(profile) if tfdv else (None, ())
    baseline = Baseline(profile, rows.dataset.name, dataset.notes, dataset)
    return VersionBaseline(baseline, spec, series, schema, notes)


def _given(settings: Settings, data: DataSettings, folder: Path) -> Iterator[Source]:
    """Files and query of the configuration."""
    if data.sources:
        yield files_source(data.sources)
    if data.query is not None:
        url = data.query_url or settings.store.url.get_secret_value()
        kept = folder / "query"
        kept.mkdir()
        yield query_source(url, data.query, kept)


def _fresh(
    settings: Settings,
    model: str,
    engine: Engine,
    blobs: BlobRoot,
    given: Sequence[Source],
    folder: Path,
    now: datetime,
    quarantined: Sequence[Quarantine],
) -> tuple[list[Source], tuple[str, ...]]:
    """Captured rows since the newest one of ``given``, and why there are none."""
    mine = settings.model(model).training
    if not mine.data.capture:
        return [], ()
    wish = CaptureWish(model, mine.label, mine.data.time)
    changed = _changed_by_policies(settings, model)
    if given:
        dataset, whole = together(given, f"the training data of {model}")
        spec = _spec(dataset, settings, model)
        roles = {name for name in changed if name in spec.by_name and not spec[name].compared}
        changed -= roles - set(mine.data.keys)
        rule = _rule(mine.data, mine.label, spec, now, quarantined)
        newest = newest_usable(whole, spec, rule)
        time = mine.data.time
        wish = CaptureWish(
            model, mine.label, time,
            TIME if time is None else dataset.schema.field(time).type,
            "" if time is None else spec[time].unit,
            None if newest is None else newest + timedelta(microseconds=1),
            frozenset(dataset.schema.names),
        )  # fmt: skip
    if changed:
        names = ", ".join(sorted(changed))
        return [], (
            f"captured rows are left out, for the capture holds {names} of {model} under column "
            "policies, and the model is to learn from values as clients send them",
        )
    kept = folder / "capture"
    kept.mkdir()
    found = captured_rows(settings, engine, blobs, wish, kept, now)
    return [found.source] if found.source is not None else [], found.notes


def _changed_by_policies(settings: Settings, model: str) -> set[str]:
    """Variables that the capture does not hold as they came, and that are not ignored anyway."""
    mine = settings.model(model)
    return {
        name
        for name, policy in mine.capture.columns.items()
        if policy.policy != "keep"
        and mine.overrides().get(name, {}).get("role") not in (Role.IGNORED, "ignored")
    }


def _spec(dataset: Dataset, settings: Settings, model: str) -> InputSpec:
    mine = settings.model(model)
    data = mine.training.data
    # What the configuration says of variables that these data do not have is not about them.
    said = {n: table for n, table in mine.overrides().items() if n in dataset.schema.names}
    return infer_spec(
        dataset, overrides=said, time=data.time, label=mine.training.label, keys=data.keys
    )


def _rule(
    data: DataSettings,
    label: str,
    spec: InputSpec,
    now: datetime,
    quarantined: Sequence[Quarantine],
) -> SplitRule:
    return SplitRule(
        label=label,
        time=data.time,
        keys=data.keys,
        gate_share=data.gate_share,
        tune_share=data.tune_share,
        now=microseconds(now + _CLOCKS_APART),
        since=None if data.since is None else microseconds(data.since),
        until=None if data.until is None else microseconds(data.until),
        broken=broken_intervals(quarantined, spec),
    )


def _tfdv_schema(profile: Profile) -> tuple[bytes | None, tuple[str, ...]]:
    from trueup.tfdv.process import TfdvProcess

    try:
        from google.protobuf import text_format

        from trueup.tfdv.statistics import to_statistics

        statistics = to_statistics(profile)
        with TfdvProcess() as process:
            schema = process.infer_schema(statistics)
    except TrueupError as error:  # not installed, or it crashed: no reason not to have a version
        return None, (f"no TFDV schema was written: {error}",)
    return text_format.MessageToString(schema, as_utf8=True).encode(), ()


@contextmanager
def _sentences(model: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"rows of {model} cannot be copied to {folder}: {why(error)}",
            remedy="free space on that disk",
            retry=True,
        ) from error
