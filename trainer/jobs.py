"""Jobs as rows in the store: moved by conditional update, held by one process at a time.

``queued → preparing → running → succeeded | failed | cancelled``. The process that runs a job is
its *holder* and writes ``seen_at`` every few seconds; one that did not for long is gone, and what
it held is declared failed. A holder that wakes up after that finds that the job is no longer its.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, insert, or_, select
from sqlalchemy.exc import IntegrityError

from trueup.errors import BadInputError, ConflictError
from trueup.records.job import JobState
from trueup.store.registry import Author
from trueup.store.tables import jobs
from trueup.store.updates import must_update, try_update
from trueup.trainer.job_spec import JobSpec
from trueup.trainer.launcher import JobProgress

#: A holder that was silent for so long is gone.
SILENT_FOR = timedelta(seconds=60)

_HELD = (JobState.PREPARING.value, JobState.RUNNING.value)
_OPEN = (JobState.QUEUED.value, *_HELD)


@dataclass(frozen=True, slots=True)
class Job:
    """A row of ``jobs``.

    :param progress: what its launcher said last. :param version: that came of it.
    :param cancel_at: when somebody asked for its end.
    """

    id: str
    model: str
    kind: str
    state: JobState
    created_at: datetime
    created_by: str
    reason: str
    spec: JobSpec
    folder: str
    holder: str | None
    seen_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    message: str
    progress: JobProgress | None
    machine_seconds: float
    cost: float
    version: int | None
    cancel_at: datetime | None
    cancel_by: str | None
    cancel_reason: str | None


def create_job(connection: Connection, spec: JobSpec, *, folder: str, author: Author) -> Job:
    """A queued job.

    :param folder: where its data, backups and export are.
    :raises ConflictError: another job learns this model, or has this id.
    """
    values = {
        "id": spec.id,
        "model": spec.model,
        "kind": spec.kind,
        "state": JobState.QUEUED.value,
        "created_at": author.at,
        "created_by": author.who,
        "reason": author.reason,
        "spec": spec.model_dump(mode="json"),
        "folder": folder,
        "message": "",
        "machine_seconds": 0.0,
        "cost": 0.0,
    }
    try:
        with connection.begin_nested():
            connection.execute(insert(jobs).values(values))
    except IntegrityError as error:
        other = connection.execute(
            select(jobs.c.id, jobs.c.state).where(
                jobs.c.model == spec.model, jobs.c.kind == spec.kind, jobs.c.state.in_(_OPEN)
            )
        ).first()
        if other is None:
            raise ConflictError(f"there is a job {spec.id} already") from error
        raise ConflictError(
            f"job {other.id} of model {spec.model!r} is {other.state}, and one at a time learns a "
            "model",
            remedy=f"wait for it, or: trueup cancel {other.id}",
            retry=True,
        ) from error
    return get_job(connection, spec.id)


def get_job(connection: Connection, job_id: str) -> Job:
    """:raises BadInputError: there is none."""
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().first()
    if row is None:
        raise BadInputError(f"there is no job {job_id!r}", remedy="trueup jobs lists them")
    return _job(row)


def list_jobs(
    connection: Connection,
    *,
    model: str | None = None,
    states: Collection[JobState] = (),
    limit: int = 100,
) -> list[Job]:
    """The newest first."""
    query = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
    if model is not None:
        query = query.where(jobs.c.model == model)
    if states:
        query = query.where(jobs.c.state.in_([state.value for state in states]))
    return [_job(row) for row in connection.execute(query).mappings()]


def claim_job(connection: Connection, job_id: str, *, holder: str, now: datetime) -> bool:
    """Take a queued job, to prepare and run it; whether it was there to take."""
    return try_update(
        connection,
        jobs,
        where={"id": job_id, "state": JobState.QUEUED.value},
        values={
            "state": JobState.PREPARING.value,
            "holder": holder,
            "seen_at": now,
            "started_at": now,
        },
    )


def job_runs(connection: Connection, job_id: str, *, holder: str, now: datetime) -> None:
    """Its data are ready and its tasks are about to start.

    :raises ConflictError: it is no longer the holder's.
    """
    must_update(
        connection,
        jobs,
        where={"id": job_id, "state": JobState.PREPARING.value, "holder": holder},
        values={"state": JobState.RUNNING.value, "seen_at": now},
    )


def beat_job(
    connection: Connection,
    job_id: str,
    *,
    holder: str,
    now: datetime,
    progress: JobProgress | None = None,
) -> Job:
    """The holder lives; what it reads back says whether somebody asked for the job's end.

    :raises ConflictError: it is no longer the holder's: it must end the tasks.
    """
    job = get_job(connection, job_id)
    if job.state.ended:
        raise ConflictError(f"job {job_id} is {job.state.value} by now")
    must_update(
        connection,
        jobs,
        where={"id": job_id, "state": job.state.value, "holder": holder},
        values={"seen_at": now, **_told(progress)},
    )
    return job


def finish_job(
    connection: Connection,
    job_id: str,
    *,
    holder: str,
    now: datetime,
    state: JobState,
    message: str = "",
    progress: JobProgress | None = None,
    version: int | None = None,
) -> None:
    """The end, in the caller's transaction, so that a version appears with it or not at all.

    :raises ConflictError: it is no longer the holder's.
    """
    if not state.ended:
        raise ValueError(f"{state.value} is no end")
    held = get_job(connection, job_id)
    if held.state.ended:
        raise ConflictError(f"job {job_id} is {held.state.value} by now")
    must_update(
        connection,
        jobs,
        where={"id": job_id, "state": held.state.value, "holder": holder},
        values={
            "state": state.value,
            "message": message,
            "finished_at": now,
            "seen_at": now,
            "version": version,
            **_told(progress),
        },
    )


def request_cancel(connection: Connection, job_id: str, *, author: Author) -> Job:
    """Ask for a job's end: a queued one is cancelled at once, any other by its holder soon.

    :raises BadInputError: there is no such job, or it has ended.
    """
    asked = {
        "cancel_at": author.at,
        "cancel_by": author.who,
        "cancel_reason": author.reason,
    }
    at_once = {
        "state": JobState.CANCELLED.value,
        "finished_at": author.at,
        "message": f"cancelled by {author.who}: {author.reason}",
    }
    waiting = {"id": job_id, "state": JobState.QUEUED.value}
    if not try_update(connection, jobs, where=waiting, values={**asked, **at_once}):
        for state in _HELD:
            if try_update(connection, jobs, where={"id": job_id, "state": state}, values=asked):
                break
        else:
            job = get_job(connection, job_id)
            raise BadInputError(
                f"job {job_id} is {job.state.value}", remedy="only jobs that go on can be cancelled"
            )
    return get_job(connection, job_id)


def orphaned_jobs(
    connection: Connection, *, now: datetime, silent_for: timedelta = SILENT_FOR
) -> list[Job]:
    """Jobs whose holder is gone, and those that were made and never taken: who makes a job takes
    it."""
    silent = or_(jobs.c.seen_at.is_(None), jobs.c.seen_at < now - silent_for)
    query = select(jobs).where(
        or_(
            and_(jobs.c.state.in_(_HELD), silent),
            and_(jobs.c.state == JobState.QUEUED.value, jobs.c.created_at < now - silent_for),
        )
    )
    return [_job(row) for row in connection.execute(query).mappings()]


def fail_orphan(connection: Connection, job: Job, *, now: datetime) -> bool:
    """Declare a job failed whose holder is gone; not when that one wrote meanwhile, or another
    process was first."""
    who = "that made it" if job.holder is None else f"that ran it ({job.holder})"
    message = f"the process {who} was lost; start the job again"
    return try_update(
        connection,
        jobs,
        where={
            "id": job.id,
            "state": job.state.value,
            "holder": job.holder,
            "seen_at": job.seen_at,
        },
        values={"state": JobState.FAILED.value, "finished_at": now, "message": message},
    )


def _told(progress: JobProgress | None) -> dict[str, Any]:
    if progress is None:
        return {}
    return {
        "progress": progress.model_dump(mode="json"),
        "machine_seconds": progress.machine_seconds,
        "cost": progress.cost,
    }


def _job(row: Mapping[Any, Any]) -> Job:
    values = dict(row)
    progress = values["progress"]
    values["state"] = JobState(values["state"])
    values["spec"] = JobSpec.model_validate(values["spec"])
    values["progress"] = None if progress is None else JobProgress.model_validate(progress)
    return Job(**values)
