"""Tasks and launchers are killed in mid-job: the job ends right, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainer_task.conftest import MadeJob, processes_of, wait_until
from trueup.records.job import JobState, TaskType, TrainingResult
from trueup.trainer.launcher import JobProgress
from trueup.trainer.launchers.local import LocalLauncher
from trueup.trainer.progress import read_status

pytestmark = pytest.mark.chaos

PS = "parameter_server"
#: So many passes that a task can be killed in their midst, and few enough for three minutes.
LONG = {"rows": 10_000, "epochs": 30, "batch_size": 100, "patience": 0, "tune_rows": 200}


def config_of(pid: int) -> dict:
    for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        name, _, value = variable.partition(b"=")
        if name == b"TF_CONFIG":
            return json.loads(value)
    raise AssertionError(f"{pid} is no task")


def pid_of(folder: Path, task: str) -> int:
    for pid in processes_of(folder):
        found = config_of(pid)["task"]
        if f"{found['type']}-{found['index']}" == task:
            return pid
    raise AssertionError(f"{task} does not run")


def ports_of(folder: Path) -> set[int]:
    cluster = config_of(processes_of(folder)[0])["cluster"]
    return {int(a.rpartition(":")[2]) for addresses in cluster.values() for a in addresses}


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def assert_nothing_left(folder: Path, ports: set[int]) -> None:
    """The kernel closes the sockets of a process that was killed a moment after its name went."""
    assert processes_of(folder) == []
    wait_until(lambda: all(map(is_free, ports)), 10)
    assert not list(folder.glob(".unfinished-*"))


def in_mid_job(folder: Path) -> bool:
    """Training goes on, and there is a backup."""
    status = read_status(folder, TaskType.CHIEF, 0)
    backed_up = (folder / "position").exists() and int((folder / "position").read_text()) > 0
    return status is not None and status.state == "running" and backed_up and status.epoch > 2


def result_of(job: MadeJob, done: JobProgress, launcher: LocalLauncher) -> TrainingResult:
    log = launcher.logs(job.spec.id, TaskType.CHIEF, 0)[-2000:]
    assert done.state is JobState.SUCCEEDED, f"{done.message}\n{log}"
    assert (job.folder / "export" / "saved_model.pb").is_file()
    return TrainingResult.model_validate_json((job.folder / "result.json").read_bytes())


@pytest.mark.parametrize(
    ("strategy", "lost"),
    [
        ("single", "chief-0"),
        ("multi_worker", "worker-0"),
        ("multi_worker", "chief-0"),
        (PS, "ps-0"),
        (PS, "chief-0"),
    ],
)
def test_group_goes_on_from_its_backup(
    strategy: str, lost: str, make_job: Callable, launcher: LocalLauncher, ended: Callable
) -> None:
    job = make_job(strategy=strategy, **LONG)
    launcher.submit(job.spec, job.folder)
    wait_until(lambda: in_mid_job(job.folder), 100)
    ports = ports_of(job.folder)
    os.kill(pid_of(job.folder, lost), signal.SIGKILL)
    seen = int((job.folder / "position").read_text())
    done = ended(job, 150)
    result = result_of(job, done, launcher)
    assert done.restarts == 1
    assert result.restarts == 1
    assert result.rows >= 300_000
    assert result.metrics["accuracy"] > 0.9
    assert seen > 0
    assert_nothing_left(job.folder, ports)


def test_lost_worker_costs_speed_only(
    make_job: Callable, launcher: LocalLauncher, ended: Callable
) -> None:
    job = make_job(strategy=PS, **LONG)
    launcher.submit(job.spec, job.folder)
    wait_until(lambda: in_mid_job(job.folder), 100)
    ports = ports_of(job.folder)
    os.kill(pid_of(job.folder, "worker-1"), signal.SIGKILL)
    done = ended(job, 150)
    result = result_of(job, done, launcher)
    assert (done.restarts, result.restarts) == (1, 0)
    assert result.metrics["accuracy"] > 0.9
    assert_nothing_left(job.folder, ports)


LAUNCHING = """
import sys
from pathlib import Path
from trueup.trainer.job_spec import JobSpec
from trueup.trainer.launchers.local import LocalLauncher
folder = Path(sys.argv[1])
launcher = LocalLauncher()
launcher.submit(JobSpec.model_validate_json((folder / "given.json").read_text()), folder)
sys.stdin.read()
"""


@pytest.mark.parametrize("strategy", ["single", "multi_worker", PS])
def test_killed_launcher_leaves_nothing_and_the_next_goes_on(
    strategy: str, make_job: Callable, launcher: LocalLauncher, ended: Callable
) -> None:
    job = make_job(strategy=strategy, **LONG)
    (job.folder / "given.json").write_text(job.spec.model_dump_json())
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHING, str(job.folder)], stdin=subprocess.PIPE
    )
    wait_until(lambda: in_mid_job(job.folder), 100)
    ports = ports_of(job.folder)
    process.kill()
    process.communicate()
    wait_until(lambda: processes_of(job.folder) == [], 30)
    assert_nothing_left(job.folder, ports)
    assert not (job.folder / "result.json").exists()
    launcher.submit(job.spec, job.folder)
    result = result_of(job, ended(job, 150), launcher)
    assert result.restarts == 1
    assert_nothing_left(job.folder, set())
