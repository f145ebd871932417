"""``trueup train``: rows of all sources become a candidate, which goes live if the gate lets it.

    sources → rows, splits → baseline, plan of features → shards → tasks → export → version
            → scores of candidate and live version on the gate's rows → gate → promote

It alone knows the capture, the trainer and the registry. A version appears in the transaction that
ends its job, with its baseline, or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Engine, insert

from trueup.candidate_gate import Candidate, CandidateGate
from trueup.config.settings import Settings
from trueup.errors import BadInputError, ChildTaskError, TrueupError
from trueup.job_leftovers import recover, tidy, tidy_earlier
from trueup.profile.mapreduce import Progress
from trueup.records.features import FeaturePlan
from trueup.records.gate import GateReport, Outcome
from trueup.records.job import JobState, TrainingResult
from trueup.records.training import Target, TrainingData
from trueup.store.artifacts import publish, remove
from trueup.store.blobs import BlobRoot
from trueup.store.engine import writing
from trueup.store.promotion import promote
from trueup.store.registry import (
    INPUT_SPEC,
    Author,
    ensure_model,
    mark_failed,
    mark_ready,
    register_version,
)
from trueup.store.tables import baselines
from trueup.store.unfinished_imports import JOB
from trueup.trainer.decisions import record_gate
from trueup.trainer.features import plan_features
from trueup.trainer.graph.export import served_spec
from trueup.trainer.importance_task import importances_in_process
from trueup.trainer.job_keeper import JobCancelledError, JobKeeper
from trueup.trainer.job_spec import JobSpec
from trueup.trainer.jobs import create_job, finish_job
from trueup.trainer.launcher import JobProgress, Launcher
from trueup.trainer.target import find_target
from trueup.training_rows import TrainingDataset, VersionBaseline, baseline_of, training_dataset
from trueup.version_baseline import NewBaseline, put_baseline

TARGET = "target"
"""Key of a version's details: what its outputs mean."""

IMPORTANCES = "importances"
"""Key of a baseline's details."""

Say = Callable[[str], None]
Follow = Callable[[JobProgress], None]


@dataclass(frozen=True)
class Trained:
    """What came of a job.

    :param gate: absent where the job did not get so far. :param live: whether it was promoted.
    """

    job: str
    version: int
    gate: GateReport | None
    live: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Prepared:
    """What a job trains on. :param time: variable with the event time, if there is one."""

    time: str | None
    baseline: VersionBaseline
    plan: FeaturePlan
    data: TrainingData
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Trainer:
    """Trains versions of models.

    :param jobs_root: folder on the local disk with a folder for each job.
    :param say: hears what is done now. :param follow: hears how the tasks are doing.
    """

    settings: Settings
    engine: Engine
    blobs: BlobRoot
    launcher: Launcher
    jobs_root: Path
    say: Say = lambda text: None
    follow: Follow = lambda progress: None
    progress: Progress | None = None

    def train(
        self,
        model: str,
        author: Author,
        *,
        python_path: tuple[str, ...] = (),
        begun: Callable[[Connection], object] = lambda connection: None,
    ) -> Trained:
        """Train a new version of ``model``, and let the gate decide on it.

        :param begun: called in the transaction in which the job comes to be.
        :raises TrueupError: the job failed, or was cancelled; no version is left of it then.
        """
        recover(self.engine, self.blobs, self.launcher)
        tidy_earlier(self.engine, model)
        mine = self.settings.model(model).training
        spec = JobSpec(id=_job_id(model), model=model, settings=mine, python_path=python_path)
        folder = self.jobs_root / spec.id
        with writing(self.engine) as connection:
            ensure_model(connection, model, author)
            create_job(connection, spec, folder=str(folder), author=author)
            begun(connection)
        with JobKeeper.claim(self.engine, spec.id) as keeper:
            try:
                trained = self._run(spec, folder, keeper, author)
            except BaseException as error:
                ended = isinstance(error, JobCancelledError | KeyboardInterrupt)
                with suppress(TrueupError):
                    keeper.finish(
                        JobState.CANCELLED if ended else JobState.FAILED,
                        str(error) or type(error).__name__,
                    )
                raise
        tidy(folder)
        return trained

    def _run(self, spec: JobSpec, folder: Path, keeper: JobKeeper, author: Author) -> Trained:
        prepared = self._prepare(spec, folder, keeper, author)
        keeper.runs()
        self.say("training")
        self.launcher.submit(spec, folder)
        ended = self._follow(keeper, spec.id)
        if ended.state is not JobState.SUCCEEDED:
            keeper.check()
            raise BadInputError(ended.message or f"job {spec.id} {ended.state.value}")
        self.say("taking importances")
        importances, unknown = _importances(folder)
        keeper.check()
        self.say("registering the version")
        version = self._register(spec, folder, keeper, author, prepared, importances)
        gate = CandidateGate(self.settings, self.engine, self.blobs, self.say)
        report = gate.decide(Candidate(spec.model, version, folder, prepared.plan, prepared.data))
        live = report.verdict is Outcome.PASS
        with writing(self.engine) as connection:
            record_gate(connection, report)
            if live:
                why = f"gate passed: {'; '.join(report.reasons)}"
                promote(connection, spec.model, version, Author(author.who, why, _now()))
        return Trained(spec.id, version, report, live, (*prepared.notes, *unknown))

    def _prepare(self, spec: JobSpec, folder: Path, keeper: JobKeeper, author: Author) -> _Prepared:
        """What the tasks need, in the job's folder."""
        self.say("reading the sources")
        rows = training_dataset(
            self.settings, spec.model, self.engine, self.blobs, folder / "sources",
            now=author.at, progress=self.progress,
        )  # fmt: skip
        keeper.check()
        self.say("profiling the training rows")
        baseline = baseline_of(rows, self.engine, progress=self.progress)
        target = _begun(rows, find_target(baseline.profile, rows.spec, spec.settings))
        planned = plan_features(baseline.profile, rows.spec, spec.settings, target)
        keeper.check()
        self.say("writing the shards")
        data, notes = rows.write(folder / "data", now=author.at, progress=self.progress)
        shutil.rmtree(folder / "sources", ignore_errors=True)
        (folder / "plan.json").write_text(planned.plan.model_dump_json())
        keeper.check()
        return _Prepared(
            rows.rule.time, baseline, planned.plan, data,
            (*rows.notes, *baseline.notes, *planned.notes, *notes),
        )  # fmt: skip

    def _follow(self, keeper: JobKeeper, job_id: str) -> JobProgress:
        launcher = _Heard(self.launcher, self.follow)
        return keeper.follow(launcher)

    def _register(
        self,
        spec: JobSpec,
        folder: Path,
        keeper: JobKeeper,
        author: Author,
        prepared: _Prepared,
        importances: dict[str, Any],
    ) -> int:
        """The version, its artifact and baseline, and the job's end: at once, or not at all."""
        model, baseline, plan = spec.model, prepared.baseline, prepared.plan
        result = TrainingResult.model_validate_json((folder / "result.json").read_bytes())
        served = served_spec(plan)
        with writing(self.engine) as connection:
            version = register_version(connection, model, author, details={JOB: spec.id})
        undo: list[Callable[[], object]] = []
        try:
            artifact = publish(self.blobs, folder / "export", model, version)
            undo.append(lambda: remove(self.blobs, artifact.artifact_uri))
            new = NewBaseline(
                model, version, served, baseline.baseline.to_file(),
                tuple(source.name for source in prepared.data.sources), baseline.series,
                prepared.time,
                baseline.schema, importances,
            )  # fmt: skip
            row = put_baseline(self.blobs, new, author, undo)
            with writing(self.engine) as connection:
                mark_ready(
                    connection, model, version,
                    artifact_uri=artifact.artifact_uri, manifest_sha256=artifact.manifest_sha256,
                    details={
                        INPUT_SPEC: served.model_dump(mode="json"),
                        TARGET: plan.target.model_dump(mode="json"),
                        JOB: spec.id,
                        "training_data": prepared.data.model_dump(mode="json", exclude={"spec"}),
                        "training": spec.settings.model_dump(mode="json"),
                        "result": result.model_dump(mode="json"),
                        "artifact_files": artifact.files,
                        "artifact_bytes": artifact.size,
                    },
                )  # fmt: skip
                connection.execute(insert(baselines).values(**row))
                finish_job(
                    connection, spec.id, holder=keeper.holder, now=_now(),
                    state=JobState.SUCCEEDED, message=f"version {version}", version=version,
                )  # fmt: skip
        except BaseException:
            with suppress(TrueupError):
                with writing(self.engine) as connection:
                    failed = mark_failed(connection, model, version)
                if failed:
                    for step in undo:
                        with suppress(TrueupError):
                            step()
            raise
        return version


def _importances(folder: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """For the baseline's details; a model that has none is a model all the same, with a note."""
    try:
        found = importances_in_process(folder)
    except ChildTaskError as error:
        return {}, (error.message,)
    return {IMPORTANCES: found.model_dump(mode="json")}, ()


class _Heard:
    """A launcher whose polls somebody else hears, too."""

    def __init__(self, launcher: Launcher, follow: Follow) -> None:
        self._launcher, self._follow = launcher, follow

    def __getattr__(self, name: str) -> Any:
        return getattr(self._launcher, name)

    def poll(self, job_id: str) -> JobProgress:
        progress = self._launcher.poll(job_id)
        self._follow(progress)
        return progress


def _begun(rows: TrainingDataset, learnt: Target) -> Target:
    """The target of all usable rows, with where a model of the training rows begins: the gate may
    know classes that training does not."""
    known: dict[str, Any] = {"dtype": learnt.dtype, "scale": learnt.scale}
    if learnt.classes == rows.target.classes:
        known["bias"] = learnt.bias
    return rows.target.model_copy(update=known)


def _job_id(model: str) -> str:
    return f"{model}-{_now():%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"


def _now() -> datetime:
    return datetime.now(timezone.utc)
