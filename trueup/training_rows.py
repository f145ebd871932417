"""The rows that a version is trained and judged on: all sources of a model as one data set.

One data set of raw variables with label and event time, whose splits are cut once; the baseline,
the shards and the gate's rows are all of this one cut.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

import trueup
from trueup.baseline import Baseline
from trueup.config.settings import Settings
from trueup.datasets.column_policies import ColumnPolicies
from trueup.datasets.parts import UnitDataset
from trueup.errors import BadInputError, DataError, TrueupError
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
from trueup.records.input_spec import InputSpec
from trueup.records.training import Target, TrainingData
from trueup.store.blobs import BlobRoot
from trueup.store.capture_key import capture_key
from trueup.trainer.data.event_times import microseconds
from trueup.trainer.data.label_facts import refuse_one_value, target_of
from trueup.trainer.data.lineage import write_lineage
from trueup.trainer.data.materialize import materialize
from trueup.trainer.data.sources import Source
from trueup.trainer.data.split_dataset import SplitDataset
from trueup.trainer.data.splits import Quarantine, SplitRule
from trueup.trainer.data.survey import Survey, survey, usable_rows
from trueup.training_sources import Opened, open_sources


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
    opened = open_sources(settings, model, engine, blobs, folder, now, quarantined)
    if not isinstance(opened, Opened):
        raise DataError(
            f"there are no data to train {model} on: [models.{model}.training.data] names neither "
            f"sources nor a query{''.join(f', and {note}' for note in opened)}",
            remedy="name sources, or send labels for captured rows: trueup labels",
        )
    mine = settings.model(model).training
    found = survey(
        opened.sources, opened.spec, opened.rule, model=model, gate_period=mine.data.gate_period,
        positive_above=mine.positive_above, progress=progress,
    )  # fmt: skip
    target = target_of(found.labels, mine, model)
    return TrainingDataset(
        model, settings, opened.dataset, opened.sources, opened.spec, found, target, opened.notes
    )


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
    :raises BadInputError: as :func:`~trueup.training_sources.open_sources`.
    """
    try:
        opened = open_sources(settings, model, engine, blobs, folder, now, quarantined)
        if not isinstance(opened, Opened):
            return 0
        rule = opened.rule
        if after is not None and rule.time is not None:
            rule = replace(rule, since=max(microseconds(after) + 1, rule.since or 0))
        return usable_rows(opened.sources, opened.spec, rule)
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
