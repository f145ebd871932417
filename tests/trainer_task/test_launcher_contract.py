"""What every launcher does, whatever its cluster is. A new one is a line in ``LAUNCHERS``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.trainer_task.conftest import HERE, MadeJob, processes_of, wait_until
from trueup.errors import BadInputError
from trueup.records.job import JobState, TaskType
from trueup.trainer.launcher import JobProgress, Launcher
from trueup.trainer.launchers.local import LocalLauncher
from trueup.trainer.launchers.local_run import LocalOptions

COMMAND = (sys.executable, str(HERE / "scripted_task.py"))
LAUNCHERS: dict[str, Callable[[], Launcher]] = {
    "local": lambda: LocalLauncher(LocalOptions(command=COMMAND)),
}
PS = "parameter_server"


@pytest.fixture(params=LAUNCHERS)
def new_launcher(request: pytest.FixtureRequest) -> Iterator[Callable[[], Launcher]]:
    made: list[Launcher] = []

    def new() -> Launcher:
        made.append(LAUNCHERS[request.param]())
        return made[-1]

    yield new
    for launcher in made:
        launcher.close()


@pytest.fixture
def launcher(new_launcher: Callable[[], Launcher]) -> Launcher:  # type: ignore[override]
    return new_launcher()


@pytest.fixture
def scripted(make_job: Callable[..., MadeJob]) -> Callable[..., MadeJob]:
    def make(script: dict[str, list[str]], name: str = "job", **settings: object) -> MadeJob:
        job = make_job(name, rows=10, tune_rows=0, shards=1, **settings)
        (job.folder / "script.json").write_text(json.dumps(script))
        return job

    return make


def started(folder: Path, count: int) -> None:
    wait_until(lambda: len(list((folder / "starts").glob("*"))) == count, 60)


def test_job_runs_and_succeeds(
    scripted: Callable, launcher: Launcher, ended: Callable[..., JobProgress]
) -> None:
    job = scripted({"chief-0": ["after ps-0 1 finish"]}, strategy=PS, cost_per_hour=36.0)
    launcher.submit(job.spec, job.folder)
    first = launcher.poll(job.spec.id)
    assert first.id == job.spec.id
    assert first.finished_at is None or first.state.ended
    done = ended(job, 60)
    assert (done.state, done.message, done.restarts) == (JobState.SUCCEEDED, "", 0)
    assert done.tasks[0].type is TaskType.CHIEF
    assert len(done.tasks) == 4
    assert done.finished_at is not None and done.finished_at >= done.started_at
    assert done.cost == pytest.approx(done.machine_seconds / 100)
    assert launcher.poll(job.spec.id) == done
    assert processes_of(job.folder) == []


def test_failure_is_the_sentence_of_the_task(
    scripted: Callable, launcher: Launcher, ended: Callable[..., JobProgress]
) -> None:
    job = scripted({"worker-0": ["exit 2 the label is constant; name another"]}, strategy=PS)
    launcher.submit(job.spec, job.folder)
    done = ended(job, 60)
    assert done.state is JobState.FAILED
    assert "the label is constant; name another" in done.message
    assert processes_of(job.folder) == []


def test_cancelled_job_leaves_nothing(
    scripted: Callable, launcher: Launcher, ended: Callable[..., JobProgress]
) -> None:
    job = scripted({"chief-0": ["linger"], "worker-1": ["child"]}, strategy=PS)
    launcher.submit(job.spec, job.folder)
    started(job.folder, 4)
    launcher.cancel(job.spec.id, "cancelled by ada: wrong data")
    done = ended(job, 60)
    assert (done.state, done.message) == (JobState.CANCELLED, "cancelled by ada: wrong data")
    assert processes_of(job.folder) == []
    launcher.cancel(job.spec.id, "again")
    assert launcher.poll(job.spec.id) == done


def test_cancelling_what_has_ended_changes_nothing(
    scripted: Callable, launcher: Launcher, ended: Callable[..., JobProgress]
) -> None:
    job = scripted({"chief-0": ["finish"]})
    launcher.submit(job.spec, job.folder)
    done = ended(job, 60)
    launcher.cancel(job.spec.id, "too late")
    assert launcher.poll(job.spec.id) == done


def test_jobs_do_not_disturb_each_other(
    scripted: Callable, launcher: Launcher, ended: Callable[..., JobProgress]
) -> None:
    stays = scripted({"chief-0": ["linger"]}, "stays", strategy=PS)
    ends = scripted({"chief-0": ["after worker-1 1 finish"]}, "ends", strategy=PS)
    launcher.submit(stays.spec, stays.folder)
    started(stays.folder, 4)
    launcher.submit(ends.spec, ends.folder)
    assert ended(ends, 60).state is JobState.SUCCEEDED
    assert launcher.poll("stays").state is JobState.RUNNING
    assert len(processes_of(stays.folder)) == 4


def test_closing_ends_all_jobs(
    scripted: Callable, launcher: Launcher, ended: Callable[..., JobProgress]
) -> None:
    jobs = [scripted({"chief-0": ["linger"]}, name, strategy=PS) for name in ("a", "b")]
    for job in jobs:
        launcher.submit(job.spec, job.folder)
        started(job.folder, 4)
    launcher.close()
    for job in jobs:
        assert launcher.poll(job.spec.id).state is JobState.CANCELLED
        assert processes_of(job.folder) == []


def test_job_is_submitted_once(
    scripted: Callable, launcher: Launcher, new_launcher: Callable[[], Launcher]
) -> None:
    job = scripted({"chief-0": ["linger"]})
    launcher.submit(job.spec, job.folder)
    started(job.folder, 1)
    with pytest.raises(BadInputError, match="was submitted before"):
        launcher.submit(job.spec, job.folder)
    other = new_launcher()
    with pytest.raises(BadInputError, match="in use by another launcher"):
        other.submit(job.spec, job.folder)
    assert other.reap(job.folder) == 0
    assert launcher.poll(job.spec.id).state is JobState.RUNNING
    assert len(processes_of(job.folder)) == 1


def test_what_is_not_there(launcher: Launcher, tmp_path: Path) -> None:
    for ask in (
        lambda: launcher.poll("x"),
        lambda: launcher.cancel("x", "why"),
        lambda: launcher.logs("x", TaskType.CHIEF, 0),
    ):
        with pytest.raises(BadInputError, match="job x is not of this launcher"):
            ask()
    assert launcher.reap(tmp_path) == 0
    assert launcher.reap(tmp_path / "absent") == 0


def test_logs_are_of_all_starts(
    scripted: Callable, launcher: Launcher, ended: Callable[..., JobProgress]
) -> None:
    job = scripted({"chief-0": ["kill", "finish"]})
    launcher.submit(job.spec, job.folder)
    ended(job, 60)
    text = launcher.logs(job.spec.id, TaskType.CHIEF, 0)
    assert text == "start 0\nstart 1\n"
    assert launcher.logs(job.spec.id, TaskType.CHIEF, 0, tail_bytes=8) == "start 1\n"
    assert launcher.logs(job.spec.id, TaskType.PS, 0) == ""
