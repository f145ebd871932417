"""Jobs in the store, on SQLite and PostgreSQL."""

# ruff: noqa: F811  fixtures are named as what is imported for them

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from tests.spine.conftest import (  # noqa: F401  fixtures
    database_names,
    engine,
    postgresql_server,
    store_url,
)
from tests.trainer_task.conftest import wait_until
from trueup.config.training import TrainingSettings
from trueup.errors import BadInputError, ConflictError
from trueup.records.job import JobState, TaskType
from trueup.store.engine import reading, writing
from trueup.store.registry import Author
from trueup.store.tables import jobs
from trueup.trainer.job_keeper import JobCancelledError, JobKeeper, JobLostError, recover_jobs
from trueup.trainer.job_spec import JobSpec
from trueup.trainer.jobs import (
    Job,
    beat_job,
    claim_job,
    create_job,
    fail_orphan,
    finish_job,
    get_job,
    job_runs,
    list_jobs,
    orphaned_jobs,
    request_cancel,
)
from trueup.trainer.launcher import JobProgress

NOON = datetime(2026, 7, 1, 12, tzinfo=timezone.utc)
ADA = Author("ada", "newer rows", NOON)


def spec(name: str = "j1", model: str = "flights") -> JobSpec:
    return JobSpec(id=name, model=model, settings=TrainingSettings(label="delay"))


def progress(seconds: float, state: JobState = JobState.RUNNING) -> JobProgress:
    return JobProgress(
        id="j1", state=state, machine_seconds=seconds, cost=seconds / 10, started_at=NOON
    )


@pytest.fixture
def queued(engine: Engine) -> Job:
    with writing(engine) as connection:
        return create_job(connection, spec(), folder="jobs/j1", author=ADA)


def test_a_job_from_start_to_end(engine: Engine, queued: Job) -> None:
    assert (queued.state, queued.created_by, queued.reason) == (
        JobState.QUEUED,
        "ada",
        "newer rows",
    )
    later = NOON + timedelta(minutes=1)
    with writing(engine) as connection:
        assert claim_job(connection, "j1", holder="h", now=NOON)
        assert not claim_job(connection, "j1", holder="other", now=NOON)
        assert get_job(connection, "j1").state is JobState.PREPARING
        job_runs(connection, "j1", holder="h", now=NOON)
        beat_job(connection, "j1", holder="h", now=later, progress=progress(20.0))
        running = get_job(connection, "j1")
        finish_job(
            connection, "j1", holder="h", now=later, state=JobState.SUCCEEDED, version=3,
            progress=progress(50.0),
        )  # fmt: skip
    assert (running.state, running.seen_at, running.cost) == (JobState.RUNNING, later, 2.0)
    with reading(engine) as connection:
        done = get_job(connection, "j1")
    assert (done.state, done.version, done.machine_seconds) == (JobState.SUCCEEDED, 3, 50.0)
    assert (done.started_at, done.finished_at, done.spec) == (NOON, later, spec())
    assert done.progress == progress(50.0)


def test_one_job_at_a_time_learns_a_model(engine: Engine, queued: Job) -> None:
    with writing(engine) as connection:
        with pytest.raises(ConflictError, match="job j1 of model 'flights' is queued") as caught:
            create_job(connection, spec("j2"), folder="f", author=ADA)
        assert "trueup cancel j1" in str(caught.value)
        create_job(connection, spec("j3", "hotels"), folder="f", author=ADA)
        request_cancel(connection, "j1", author=ADA)
        create_job(connection, spec("j2"), folder="f", author=ADA)
        with pytest.raises(ConflictError, match="there is a job j3 already"):
            create_job(connection, spec("j3", "trains"), folder="f", author=ADA)


def test_processes_that_want_one_job_get_it_once(engine: Engine, queued: Job) -> None:
    start = threading.Barrier(6)

    def claim(name: int) -> bool:
        start.wait()
        with writing(engine) as connection:
            return claim_job(connection, "j1", holder=str(name), now=NOON)

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(claim, range(6))) == 1


def test_jobs_are_listed_newest_first(engine: Engine) -> None:
    with writing(engine) as connection:
        for number, model in enumerate(["a", "b", "a"]):
            author = replace(ADA, at=NOON + timedelta(minutes=number))
            create_job(connection, spec(f"j{number}", model), folder="f", author=author)
            if number == 0:
                request_cancel(connection, "j0", author=author)
        assert [job.id for job in list_jobs(connection)] == ["j2", "j1", "j0"]
        assert [job.id for job in list_jobs(connection, model="a")] == ["j2", "j0"]
        assert [job.id for job in list_jobs(connection, states=[JobState.CANCELLED])] == ["j0"]
        assert [job.id for job in list_jobs(connection, limit=1)] == ["j2"]


def test_cancelling(engine: Engine, queued: Job) -> None:
    bob = Author("bob", "wrong data", NOON)
    with writing(engine) as connection:
        claim_job(connection, "j1", holder="h", now=NOON)
        asked = request_cancel(connection, "j1", author=bob)
        assert (asked.state, asked.cancel_by) == (JobState.PREPARING, "bob")
        assert beat_job(connection, "j1", holder="h", now=NOON).cancel_reason == "wrong data"
        finish_job(connection, "j1", holder="h", now=NOON, state=JobState.CANCELLED, message="m")
        with pytest.raises(BadInputError, match="job j1 is cancelled"):
            request_cancel(connection, "j1", author=bob)
        with pytest.raises(BadInputError, match="there is no job 'x'"):
            request_cancel(connection, "x", author=bob)


def test_who_lost_a_job_cannot_write_it(engine: Engine, queued: Job) -> None:
    late = NOON + timedelta(minutes=5)
    with writing(engine) as connection:
        claim_job(connection, "j1", holder="slept", now=NOON)
        assert orphaned_jobs(connection, now=NOON + timedelta(seconds=30)) == []
        (lost,) = orphaned_jobs(connection, now=late)
        assert fail_orphan(connection, lost, now=late)
        assert not fail_orphan(connection, lost, now=late)
        assert "(slept) was lost" in get_job(connection, "j1").message
    for write in (
        lambda c: beat_job(c, "j1", holder="slept", now=late),
        lambda c: job_runs(c, "j1", holder="slept", now=late),
        lambda c: finish_job(
            c, "j1", holder="slept", now=late, state=JobState.SUCCEEDED, version=1
        ),
    ):
        with pytest.raises(ConflictError), writing(engine) as connection:
            write(connection)
    with reading(engine) as connection:
        assert get_job(connection, "j1").version is None


def test_job_that_its_maker_never_took_does_not_block_the_next(engine: Engine, queued: Job) -> None:
    with writing(engine) as connection:
        assert orphaned_jobs(connection, now=NOON + timedelta(seconds=30)) == []
        late = NOON + timedelta(minutes=2)
        (lost,) = orphaned_jobs(connection, now=late)
        assert fail_orphan(connection, lost, now=late)
        assert "the process that made it was lost" in get_job(connection, "j1").message
        create_job(connection, spec("j2"), folder="jobs/j2", author=ADA)


def test_sign_of_life_in_the_last_moment_saves_a_job(engine: Engine, queued: Job) -> None:
    late = NOON + timedelta(minutes=5)
    with writing(engine) as connection:
        claim_job(connection, "j1", holder="h", now=NOON)
        (lost,) = orphaned_jobs(connection, now=late)
        beat_job(connection, "j1", holder="h", now=late)
        assert not fail_orphan(connection, lost, now=late)


class Scripted:
    """Launches nothing: a launcher whose job ends when it is cancelled, or told to."""

    def __init__(self) -> None:
        self.state, self.message = JobState.RUNNING, ""
        self.reaped: list[Path] = []

    def submit(self, spec: JobSpec, folder: Path) -> None: ...

    def poll(self, job_id: str) -> JobProgress:
        return progress(1.0, self.state).model_copy(update={"message": self.message})

    def cancel(self, job_id: str, reason: str) -> None:
        self.state, self.message = JobState.CANCELLED, reason

    def logs(self, job_id: str, type: TaskType, index: int, *, tail_bytes: int = 1) -> str:
        return ""

    def reap(self, folder: Path) -> int:
        self.reaped.append(folder)
        return 0

    def close(self) -> None: ...


def test_keeper_hears_of_cancelling(engine: Engine, queued: Job) -> None:
    launcher = Scripted()
    with JobKeeper.claim(engine, "j1", beat_s=0.05) as keeper:
        keeper.runs()
        with writing(engine) as connection:
            request_cancel(connection, "j1", author=Author("bob", "wrong data", NOON))
        done = keeper.follow(launcher)
        assert (done.state, done.message) == (JobState.CANCELLED, "cancelled by bob: wrong data")
        with pytest.raises(JobCancelledError):
            keeper.check()
        keeper.finish(done.state, done.message)
    with reading(engine) as connection:
        job = get_job(connection, "j1")
    assert (job.state, job.message) == (JobState.CANCELLED, "cancelled by bob: wrong data")
    assert job.progress is not None


def test_keeper_writes_what_the_launcher_says(engine: Engine, queued: Job) -> None:
    with JobKeeper.claim(engine, "j1", beat_s=0.05) as keeper:
        keeper.say(progress(7.0))

        def told() -> bool:
            with reading(engine) as connection:
                return get_job(connection, "j1").machine_seconds == 7.0

        wait_until(told, 20)
        with pytest.raises(ConflictError, match="another process took it"):
            JobKeeper.claim(engine, "j1")


def test_keeper_that_lost_its_job_ends_the_tasks(engine: Engine, queued: Job) -> None:
    launcher = Scripted()
    with JobKeeper.claim(engine, "j1", beat_s=0.05) as keeper:
        keeper.runs()
        with writing(engine) as connection:
            connection.execute(update(jobs).values(holder="another"))
        assert keeper.follow(launcher).state is JobState.CANCELLED
        with pytest.raises(JobLostError):
            keeper.check()
        with pytest.raises(ConflictError):
            keeper.finish(JobState.SUCCEEDED, version=1)


def test_recovery_ends_what_is_left_and_says_so(
    engine: Engine, queued: Job, tmp_path: Path
) -> None:
    launcher = Scripted()
    with writing(engine) as connection:
        claim_job(connection, "j1", holder="gone", now=NOON)
    assert recover_jobs(engine, launcher, now=NOON) == []
    (failed,) = recover_jobs(engine, launcher, now=NOON + timedelta(minutes=2))
    assert (failed.id, launcher.reaped) == ("j1", [Path("jobs/j1")])
    with reading(engine) as connection:
        assert get_job(connection, "j1").state is JobState.FAILED
    assert recover_jobs(engine, launcher, now=NOON + timedelta(minutes=3)) == []
