"""What a user can get wrong ends a job with a sentence that names cause and remedy."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainer_task.conftest import MadeJob, processes_of
from trueup.records.job import JobState, TaskType
from trueup.trainer import fit_errors
from trueup.trainer.launchers.local import LocalLauncher
from trueup.trainer.launchers.local_run import LocalOptions
from trueup.trainer.progress import read_status


@pytest.fixture
def failed(launcher: LocalLauncher, ended: Callable) -> Callable[..., str]:
    def run(job: MadeJob, using: LocalLauncher | None = None) -> str:
        (using or launcher).submit(job.spec, job.folder)
        done = ended(job, 150, using)
        log = (using or launcher).logs(job.spec.id, TaskType.CHIEF, 0)[-3000:]
        assert done.state is JobState.FAILED, log
        assert done.restarts == 0, (done.message, log)
        assert processes_of(job.folder) == []
        assert not (job.folder / "export").exists()
        assert not (job.folder / "result.json").exists()
        assert not list(job.folder.glob(".*unfinished*"))
        return done.message

    return run


def test_absent_data(make_job: Callable, failed: Callable) -> None:
    job = make_job()
    (job.folder / "data" / "data.json").unlink()
    message = failed(job)
    assert "data.json of the job cannot be read" in message
    assert "prepare the job again" in message


def test_unreadable_plan(make_job: Callable, failed: Callable) -> None:
    job = make_job()
    (job.folder / "plan.json").write_text('{"inputs": []}')
    assert "plan.json of the job is not a FeaturePlan: features" in failed(job)


def test_truncated_shard(make_job: Callable, failed: Callable) -> None:
    job = make_job()
    shard = job.folder / "data" / "train" / "00001.tfrecord"
    os.truncate(shard, shard.stat().st_size - 7)
    message = failed(job)
    assert str(shard) in message
    assert "write the data again" in message


def test_absent_shard(make_job: Callable, failed: Callable) -> None:
    job = make_job(strategy="parameter_server")
    (job.folder / "data" / "tune" / "00000.tfrecord").unlink()
    assert "tune/00000.tfrecord of the training data cannot be read" in failed(job)


def test_no_rows(make_job: Callable, failed: Callable) -> None:
    assert "has no training rows" in failed(make_job(rows=0, shards=1))


@pytest.mark.heavy
@pytest.mark.parametrize("strategy", ["single", "parameter_server"])
def test_damaged_shard_is_named(make_job: Callable, failed: Callable, strategy: str) -> None:
    job = make_job(strategy=strategy)
    shard = job.folder / "data" / "train" / "00002.tfrecord"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    message = failed(job)
    assert str(shard) in message
    assert "damaged" in message


@pytest.mark.heavy
def test_loss_that_runs_away(make_job: Callable, failed: Callable) -> None:
    message = failed(make_job(learning_rate=1e38, hidden_units=(8, 8)))
    assert "the loss became" in message
    assert "lower training.learning_rate" in message


@pytest.mark.heavy
def test_model_of_the_users_own_that_raises(make_job: Callable, failed: Callable) -> None:
    message = failed(make_job(model="own_models:build"))
    assert "own_models:build" in message
    assert "KeyError" in message
    assert "weekday" in message


LIMITED = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
runpy.run_module("trueup.trainer.task", run_name="__main__", alter_sys=True)
"""


@pytest.mark.heavy
def test_full_disk_in_mid_export(make_job: Callable, failed: Callable) -> None:
    """The weights fit under the limit; the SavedModel does not."""
    limited = LocalLauncher(
        LocalOptions(command=(sys.executable, "-c", LIMITED.format(limit=20_000)))
    )
    message = failed(make_job(tune_rows=0), limited)
    assert "full" in message
    assert "in the export" in message
    assert "make room" in message


@pytest.mark.heavy
def test_port_in_use(make_job: Callable) -> None:
    job = make_job(strategy="parameter_server")
    (job.folder / "job.json").write_text(job.spec.model_dump_json())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        address = [f"127.0.0.1:{port}"]
        config = {
            "cluster": {"chief": address, "worker": ["127.0.0.1:1"], "ps": ["127.0.0.1:2"]},
            "task": {"type": "chief", "index": 0},
        }
        done = subprocess.run(
            [sys.executable, "-m", "trueup.trainer.task", "--job", str(job.folder)],
            env={**os.environ, "TF_CONFIG": json.dumps(config)}, capture_output=True, timeout=100,
        )  # fmt: skip
    assert done.returncode == fit_errors.PORT
    status = read_status(job.folder, TaskType.CHIEF, 0)
    assert status is not None
    assert f"port {port} of chief 0 is taken by another process" in status.message


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("nonsense", "TF_CONFIG is not the JSON"),
        ('{"cluster": {"evaluator": ["a:1"]}, "task": {"type": "evaluator"}}', "'evaluator'"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 3}}', "has 1"),
    ],
)
def test_cluster_that_makes_no_sense(tmp_path: Path, config: str, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trueup.trainer.task", "--job", str(tmp_path)],
        env={**os.environ, "TF_CONFIG": config}, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == fit_errors.BAD
    assert words in done.stderr


def test_cluster_that_does_not_fit_the_strategy(make_job: Callable) -> None:
    job = make_job(strategy="parameter_server")
    (job.folder / "job.json").write_text(job.spec.model_dump_json())
    done = subprocess.run(
        [sys.executable, "-m", "trueup.trainer.task", "--job", str(job.folder)],
        env={**os.environ, "TF_CONFIG": ""}, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == fit_errors.BAD
    assert "needs a worker and a ps at least" in done.stderr
