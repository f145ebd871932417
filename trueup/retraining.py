"""``trueup retrain``: whether a model is trained anew, decided by the policy, kept, and done.

store, sources → situation → decision (recorded, also "no") → job → gate → promotion
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Connection, func, select

from trueup.errors import ConflictError
from trueup.records.gate import Outcome
from trueup.records.job import JobState
from trueup.records.policy import RetrainingDecision, Situation, Trigger
from trueup.records.registry import STABLE
from trueup.records.report import Level, Verdict
from trueup.records.training import Split, TrainingData
from trueup.store.engine import reading, writing
from trueup.store.registry import Author, VersionRow, list_versions
from trueup.store.tables import checks, jobs, models
from trueup.trainer.decisions import (
    POLICY_AUTHOR,
    gate_reports,
    record_retraining,
    retraining_decisions,
)
from trueup.trainer.policy import decide_retraining
from trueup.training import Trained, Trainer
from trueup.training_rows import fresh_rows

COST_PERIOD = timedelta(days=30)
_OPEN = tuple(state.value for state in JobState if not state.ended)
_LEVELS = (Level.OK, Level.WATCH, Level.ALERT)


@dataclass(frozen=True)
class Retrained:
    """:param trained: what came of the job, where one was started."""

    decision: RetrainingDecision
    trained: Trained | None = None


def retrain(
    trainer: Trainer,
    model: str,
    author: Author,
    *,
    by_hand: bool,
    python_path: tuple[str, ...] = (),
) -> Retrained:
    """Decide whether ``model`` is trained anew, keep the decision, and run the job.

    Of two who do this at once one starts a job; the other's decision says that it runs.

    :param author: who asks, or on whose behalf the schedule does. :param by_hand: a person asks,
        which is a trigger, and overrules freeze and cooldown.
    :raises TrueupError: the job failed; the decision is kept all the same.
    """
    decision = decide(trainer, model, author, by_hand=by_hand)
    if not decision.start:
        _keep(trainer, decision, author, by_hand)
        return Retrained(decision)

    def begun(connection: Connection) -> None:
        record_retraining(connection, decision, by=author.who if by_hand else POLICY_AUTHOR)

    why = Author(author.who, f"{author.reason}: {'; '.join(decision.reasons)}", author.at)
    try:
        return Retrained(decision, trainer.train(model, why, python_path=python_path, begun=begun))
    except ConflictError:
        again = decide(trainer, model, author, by_hand=by_hand)
        if again.start:  # it was no other job
            raise
        _keep(trainer, again, author, by_hand)
        return Retrained(again)


def decide(trainer: Trainer, model: str, author: Author, *, by_hand: bool) -> RetrainingDecision:
    """What the policy says now; nothing is kept."""
    asks = author.who if by_hand else None
    situation = situation_of(trainer, model, author.at, requested_by=asks)
    return decide_retraining(situation, trainer.settings.model(model).retraining, author.at)


def situation_of(
    trainer: Trainer, model: str, now: datetime, *, requested_by: str | None = None
) -> Situation:
    """What store and sources say of ``model`` at this moment.

    Whether the metric has dropped on labelled rows since the gate is not looked at yet:
    ``metric_drop`` is absent.
    """
    with reading(trainer.engine) as connection:
        rows = list_versions(connection, model) if _is_registered(connection, model) else []
        live = next((version for version in rows if STABLE in version.aliases), None)
        data = _training_data(live)
        known: dict[str, Any] = {
            **_last_check(connection, model),
            **_jobs(connection, model, now),
            "live_version": None if live is None else live.version,
            "last_scheduled_at": _last_scheduled(connection, model),
            "newest_row_at": _newest_row(data),
            "failed_gates": _refused_in_a_row(connection, model),
        }
    with TemporaryDirectory(prefix="trueup-") as folder:
        count = fresh_rows(
            trainer.settings, model, trainer.engine, trainer.blobs, Path(folder, "rows"),
            now=now, after=known["newest_row_at"],
        )  # fmt: skip
    return Situation(model=model, fresh_labelled_rows=count, requested_by=requested_by, **known)


def _keep(trainer: Trainer, decision: RetrainingDecision, author: Author, by_hand: bool) -> None:
    with writing(trainer.engine) as connection:
        if _is_registered(connection, decision.model):
            record_retraining(connection, decision, by=author.who if by_hand else POLICY_AUTHOR)


def _is_registered(connection: Connection, model: str) -> bool:
    """A decision belongs to a model; one that was never trained has none."""
    found = connection.execute(select(models.c.name).where(models.c.name == model)).first()
    return found is not None


def _training_data(live: VersionRow | None) -> TrainingData | None:
    """Lineage of the live version; one that was imported has none."""
    told = None if live is None else live.details.get("training_data")
    if not isinstance(told, dict):
        return None
    # It is kept without the spec, which is the version's.
    return TrainingData.model_validate({**told, "spec": {"variables": []}})


def _newest_row(data: TrainingData | None) -> datetime | None:
    """Event time of the newest row that was trained or judged on."""
    if data is None:
        return None
    times = [
        found.last_event_at for split in Split if (found := data.splits.get(split)) is not None
    ]
    return max((time for time in times if time is not None), default=None)


def _last_check(connection: Connection, model: str) -> dict[str, Any]:
    row = connection.execute(
        select(checks.c.id, checks.c.verdict, checks.c.report)
        .where(checks.c.model == model)
        .order_by(checks.c.window_start.desc(), checks.c.revision.desc())
        .limit(1)
    ).first()
    if row is None:
        return {}
    levels = [Level(finding["level"]) for finding in row.report["findings"]]
    level = max(levels, key=_LEVELS.index, default=Level.OK)
    return {"check_id": row.id, "verdict": Verdict(row.verdict), "level": level}


def _jobs(connection: Connection, model: str, now: datetime) -> dict[str, Any]:
    running = connection.execute(
        select(jobs.c.id).where(jobs.c.model == model, jobs.c.state.in_(_OPEN)).limit(1)
    ).scalar()
    last = connection.execute(
        select(func.max(jobs.c.created_at)).where(jobs.c.model == model)
    ).scalar()
    cost = connection.execute(
        select(func.sum(jobs.c.cost)).where(
            jobs.c.model == model, jobs.c.created_at >= now - COST_PERIOD
        )
    ).scalar()
    expected = connection.execute(
        select(jobs.c.cost)
        .where(jobs.c.model == model, jobs.c.state == JobState.SUCCEEDED.value)
        .order_by(jobs.c.created_at.desc())
        .limit(1)
    ).scalar()
    return {
        "running_job": running,
        "last_job_at": last,
        "cost_30d": float(cost or 0.0),
        "expected_cost": float(expected or 0.0),
    }


def _last_scheduled(connection: Connection, model: str) -> datetime | None:
    """Of the last job that the schedule asked for; else when the model was registered."""
    for decision in retraining_decisions(connection, model):
        if decision.start and Trigger.SCHEDULE in decision.triggers:
            return decision.decided_at
    found: datetime | None = connection.execute(
        select(models.c.created_at).where(models.c.name == model)
    ).scalar()
    return found


def _refused_in_a_row(connection: Connection, model: str) -> int:
    """Candidates, the newest ones, that the gate let none of pass."""
    refused = 0
    for report in reversed(gate_reports(connection, model)):
        if report.verdict is Outcome.PASS:
            break
        refused += 1
    return refused
