"""What the local launcher makes of tasks that end: scripted tasks, real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.trainer_task.conftest import HERE, MadeJob, processes_of, wait_until
from trueup.errors import BadInputError
from trueup.records.job import JobState
from trueup.trainer.launcher import JobProgress
from trueup.trainer.launchers.local import LocalLauncher
from trueup.trainer.launchers.local_run import LocalOptions

COMMAND = (sys.executable, str(HERE / "scripted_task.py"))
PS = "parameter_server"


@pytest.fixture
def launcher() -> Iterator[LocalLauncher]:
    found = LocalLauncher(LocalOptions(command=COMMAND, most_restarts=3))
    yield found
    found.close()


@pytest.fixture
def run(make_job: Callable[..., MadeJob], launcher: LocalLauncher, ended: Callable) -> Callable:
    def go(script: dict[str, list[str]], **settings: object) -> tuple[JobProgress, MadeJob]:
        job = make_job(rows=10, tune_rows=0, shards=1, **settings)
        (job.folder / "script.json").write_text(json.dumps(script))
        launcher.submit(job.spec, job.folder)
        done = ended(job, 60.0)
        assert processes_of(job.folder) == []
        for port in ports(job.folder):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        return done, job

    return go


def starts(folder: Path, task: str) -> list[dict[str, object]]:
    paths = sorted((folder / "starts").glob(f"{task}.*"))
    return [json.loads(path.read_text()) for path in paths]


def ports(folder: Path) -> set[int]:
    found = set()
    for path in (folder / "starts").glob("*"):
        cluster = json.loads(json.loads(path.read_text())["config"])["cluster"]
        found |= {int(a.rpartition(":")[2]) for addresses in cluster.values() for a in addresses}
    return found


@pytest.mark.parametrize(
    ("settings", "tasks"),
    [
        ({"strategy": "single"}, {"chief": 1}),
        ({"strategy": "multi_worker", "workers": 3}, {"chief": 1, "worker": 2}),
        (
            {"strategy": PS, "workers": 2, "parameter_servers": 2},
            {"chief": 1, "worker": 2, "ps": 2},
        ),
    ],
)
def test_all_tasks_know_who_they_are(run: Callable, settings: dict, tasks: dict) -> None:
    others = [f"{name}-{index}" for name in ("worker", "ps") for index in range(tasks.get(name, 0))]
    waits = "".join(f"after {other} 1 " for other in others)
    done, job = run({"chief-0": [f"{waits}finish"]}, **settings)
    assert (done.state, done.restarts) == (JobState.SUCCEEDED, 0)
    assert len(done.tasks) == sum(tasks.values())
    for name, count in tasks.items():
        for index in range(count):
            (start,) = starts(job.folder, f"{name}-{index}")
            config = json.loads(str(start["config"]))
            assert config["task"] == {"type": name, "index": index}
            sizes = {key: len(value) for key, value in config["cluster"].items()}
            assert sizes == (tasks if len(done.tasks) > 1 else {})
    assert done.machine_seconds > 0


def test_lost_worker_comes_back_alone_at_its_address(run: Callable) -> None:
    script = {"chief-0": ["after ps-0 1 after worker-1 2 finish"], "worker-1": ["kill", "wait"]}
    done, job = run(script, strategy=PS)
    assert (done.state, done.restarts) == (JobState.SUCCEEDED, 1)
    first, second = starts(job.folder, "worker-1")
    assert first["config"] == second["config"]
    assert len(starts(job.folder, "chief-0")) == len(starts(job.folder, "ps-0")) == 1


@pytest.mark.parametrize(
    ("strategy", "lost"),
    [(PS, "ps-0"), (PS, "chief-0"), ("multi_worker", "worker-0"), ("multi_worker", "chief-0")],
)
def test_others_take_the_group_with_them(run: Callable, strategy: str, lost: str) -> None:
    script = {"chief-0": ["wait", "finish"], lost: ["after chief-0 1 kill", "wait"]}
    if lost == "chief-0":
        script = {"chief-0": ["kill", "finish"]}
    done, job = run(script, strategy=strategy)
    assert (done.state, done.restarts) == (JobState.SUCCEEDED, 1)
    assert {len(starts(job.folder, f"{t.type.value}-{t.index}")) for t in done.tasks} <= {1, 2}
    assert len(starts(job.folder, "chief-0")) == 2


def test_new_starts_are_bounded(run: Callable) -> None:
    done, job = run({"chief-0": ["kill"]})
    assert done.state is JobState.FAILED
    assert "chief 0 was killed by signal 9" in done.message
    assert "after 3 new starts" in done.message
    assert len(starts(job.folder, "chief-0")) == 4


def test_what_cannot_get_better_is_not_tried_again(run: Callable) -> None:
    done, job = run({"chief-0": ["exit 2 shard x is gone; write the data again"]})
    assert (done.state, done.restarts) == (JobState.FAILED, 0)
    assert done.message == "chief 0: shard x is gone; write the data again"
    assert len(starts(job.folder, "chief-0")) == 1


def test_cause_is_told_and_not_its_consequence(run: Callable) -> None:
    script = {
        "chief-0": ["exit 1 connection lost"],
        "worker-0": ["after chief-0 1 exit 2 the loss became NaN"],
    }
    done, _ = run(script, strategy="multi_worker")
    assert done.message == "worker 0: the loss became NaN"


def test_port_that_was_taken_asks_for_others(run: Callable) -> None:
    script = {"worker-0": ["exit 3 port taken", "wait"], "chief-0": ["after worker-0 2 finish"]}
    done, job = run(script, strategy=PS)
    assert (done.state, done.restarts) == (JobState.SUCCEEDED, 0)
    first, second = starts(job.folder, "worker-0")
    assert first["config"] != second["config"]


def test_children_of_tasks_are_ended_too(run: Callable) -> None:
    done, _ = run({"chief-0": ["after worker-0 1 finish"], "worker-0": ["child"]}, strategy=PS)
    assert done.state is JobState.SUCCEEDED  # and `run` saw that no process is left


def test_job_that_takes_too_long_fails(run: Callable) -> None:
    done, _ = run({"chief-0": ["linger"]}, timeout="1s")
    assert done.state is JobState.FAILED
    assert "training.timeout" in done.message


def test_stopped_worker_is_started_anew(run: Callable) -> None:
    script = {"chief-0": ["after worker-1 2 finish"], "worker-1": ["stop", "wait"]}
    done, job = run(script, strategy=PS, stall_timeout="4s")
    assert (done.state, done.restarts) == (JobState.SUCCEEDED, 1)
    assert len(starts(job.folder, "worker-1")) == 2
    assert len(starts(job.folder, "chief-0")) == 1


def test_job_that_gets_no_further_starts_again_and_then_fails(run: Callable) -> None:
    done, job = run({"chief-0": ["linger"]}, strategy="multi_worker", stall_timeout="2s")
    assert done.state is JobState.FAILED
    assert "the job got no further for 2 s (training.stall_timeout)" in done.message
    assert len(starts(job.folder, "chief-0")) == len(starts(job.folder, "worker-0")) == 4


def test_finished_job_is_not_run_again(run: Callable, launcher: LocalLauncher) -> None:
    """Its launcher may have died between the result and the news of it."""
    _, job = run({"chief-0": ["finish"]})
    again = LocalLauncher(LocalOptions(command=COMMAND))
    again.submit(job.spec, job.folder)
    wait_until(lambda: again.poll(job.spec.id).state is JobState.SUCCEEDED, 30)
    again.close()
    assert len(starts(job.folder, "chief-0")) == 1


LAUNCHING = """
import sys
from pathlib import Path
from trueup.trainer.job_spec import JobSpec
from trueup.trainer.launchers.local import LocalLauncher
from trueup.trainer.launchers.local_run import LocalOptions
folder = Path(sys.argv[1])
launcher = LocalLauncher(LocalOptions(command=tuple(sys.argv[2:])))
launcher.submit(JobSpec.model_validate_json((folder / "given.json").read_text()), folder)
print("submitted", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_launcher(make_job: Callable[..., MadeJob]) -> Iterator[tuple[subprocess.Popen, MadeJob]]:
    """A process that launched a job whose worker has a child, both of which linger."""
    job = make_job(rows=10, tune_rows=0, shards=1, strategy=PS)
    script = {"chief-0": ["linger"], "worker-0": ["child"]}
    (job.folder / "script.json").write_text(json.dumps(script))
    (job.folder / "given.json").write_text(job.spec.model_dump_json())
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHING, str(job.folder), *COMMAND],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: len(list((job.folder / "starts").glob("*"))) == 4, 60)
    wait_until(lambda: len(processes_of(job.folder)) == 5, 60)
    yield process, job
    process.kill()
    process.communicate()
    wait_until(lambda: len(processes_of(job.folder)) <= 1, 30)
    LocalLauncher().reap(job.folder)  # the worker's child
    assert processes_of(job.folder) == []


def test_killed_launcher_takes_its_tasks_along_and_the_next_one_their_children(
    other_launcher: tuple[subprocess.Popen, MadeJob], launcher: LocalLauncher
) -> None:
    process, job = other_launcher
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: len(processes_of(job.folder)) == 1, 30)  # the child knows of no lifeline
    assert launcher.reap(job.folder) == 1
    assert processes_of(job.folder) == []
    assert launcher.reap(job.folder) == 0


def test_nothing_is_reaped_while_its_launcher_lives(
    other_launcher: tuple[subprocess.Popen, MadeJob], launcher: LocalLauncher
) -> None:
    _, job = other_launcher
    assert launcher.reap(job.folder) == 0
    with pytest.raises(BadInputError, match="in use by another launcher"):
        launcher.submit(job.spec, job.folder)
    assert len(processes_of(job.folder)) == 5


def test_only_marked_processes_are_ended(tmp_path: Path, launcher: LocalLauncher) -> None:
    """A number in the record that is another process's by now is nothing to it."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as foreign:
        record = {"mark": "0" * 32, "launcher": foreign.pid}
        (tmp_path / "launch.json").write_text(json.dumps(record))
        assert launcher.reap(tmp_path) == 0
        assert foreign.poll() is None
        foreign.communicate(b"\n")
    assert not (tmp_path / "launch.json").exists()


def test_stopped_tasks_end_with_their_launcher_too(
    other_launcher: tuple[subprocess.Popen, MadeJob], launcher: LocalLauncher
) -> None:
    """A task that cannot run its own threads is found by its mark."""
    process, job = other_launcher
    os.kill(int(str(starts(job.folder, "ps-0")[0]["pid"])), signal.SIGSTOP)
    process.kill()
    process.wait()
    wait_until(lambda: len(processes_of(job.folder)) == 2, 30)
    assert launcher.reap(job.folder) == 2
    assert processes_of(job.folder) == []
