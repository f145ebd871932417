"""Real clusters of processes train, export and report, under each strategy."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.trainer_task.conftest import processes_of
from trueup.records.features import Hashed
from trueup.records.job import JobState, TaskType, TrainingResult
from trueup.trainer.launchers.local import LocalLauncher


@pytest.mark.heavy
@pytest.mark.parametrize("strategy", ["single", "mirrored", "multi_worker", "parameter_server"])
def test_trains_exports_and_leaves_nothing(
    strategy: str, make_job: Callable, launcher: LocalLauncher, ended: Callable
) -> None:
    job = make_job(strategy=strategy)
    launcher.submit(job.spec, job.folder)
    done = ended(job)
    assert done.state is JobState.SUCCEEDED, (
        done.message, launcher.logs("job", TaskType.CHIEF, 0)[-3000:]
    )  # fmt: skip
    result = TrainingResult.model_validate_json((job.folder / "result.json").read_bytes())
    assert result.loss < 0.4
    assert (result.epochs, result.restarts, result.stopped_early) == (2, 0, False)
    assert result.rows == 8000
    assert processes_of(job.folder) == []
    assert result.metrics["accuracy"] > 0.85
    assert (job.folder / "export" / "saved_model.pb").is_file()


@pytest.mark.heavy
def test_tables_in_pieces_on_two_parameter_servers(
    make_job: Callable, launcher: LocalLauncher, ended: Callable
) -> None:
    """A table of 8 MB is split over them, and whole again in the export."""
    hashed = Hashed(variable="z", buckets=500_000, embedding=4)
    job = make_job(strategy="parameter_server", parameter_servers=2, workers=1, features=[hashed])
    launcher.submit(job.spec, job.folder)
    done = ended(job)
    log = launcher.logs("job", TaskType.CHIEF, 0)
    assert done.state is JobState.SUCCEEDED, (done.message, log[-3000:])
    assert "2 of them pieces of tables" in log
    sizes = [path.stat().st_size for path in (job.folder / "export" / "variables").glob("*data*")]
    assert sum(sizes) > 500_000 * 4 * 4


@pytest.mark.heavy
def test_ends_early_with_the_best_weights(
    make_job: Callable, launcher: LocalLauncher, ended: Callable
) -> None:
    """A learning rate that is too high soon brings no progress on the tuning rows."""
    job = make_job(learning_rate=3.0, epochs=50, patience=2)
    launcher.submit(job.spec, job.folder)
    done = ended(job)
    assert done.state is JobState.SUCCEEDED, done.message
    result = TrainingResult.model_validate_json((job.folder / "result.json").read_bytes())
    losses = json.loads((job.folder / "tuning.json").read_text())["losses"]
    assert result.stopped_early
    assert result.epochs == len(losses) < 50
    best = min(loss for _, loss in losses)
    assert best < losses[-1][1]
    assert result.metrics["loss"] == pytest.approx(best, rel=1e-4)


@pytest.mark.heavy
def test_all_reduce_of_one(make_job: Callable, launcher: LocalLauncher, ended: Callable) -> None:
    job = make_job(strategy="multi_worker", workers=1)
    launcher.submit(job.spec, job.folder)
    done = ended(job)
    assert done.state is JobState.SUCCEEDED, done.message
    assert len(done.tasks) == 1


@pytest.mark.heavy
def test_warm_start_begins_where_a_version_ended(
    make_job: Callable, launcher: LocalLauncher, ended: Callable
) -> None:
    first = make_job("first", epochs=4)
    launcher.submit(first.spec, first.folder)
    assert ended(first).state is JobState.SUCCEEDED
    export = str(first.folder / "export")
    again = make_job("again", learning_rate=1e-9, epochs=1)
    launcher.submit(again.spec.model_copy(update={"warm_start": export}), again.folder)
    done = ended(again)
    assert done.state is JobState.SUCCEEDED, done.message
    results = [
        TrainingResult.model_validate_json((job.folder / "result.json").read_bytes())
        for job in (first, again)
    ]
    assert results[1].metrics["loss"] == pytest.approx(results[0].metrics["loss"], rel=1e-4)
    other = make_job("other", hidden_units=(4,))
    launcher.submit(other.spec.model_copy(update={"warm_start": export}), other.folder)
    assert "has other features or layers" in ended(other).message
