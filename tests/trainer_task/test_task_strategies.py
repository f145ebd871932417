"""Real clusters of processes train, export and report, under each strategy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
    print(result, done)
    assert result.loss < 0.4
    assert result.metrics["accuracy"] > 0.85
    assert (job.folder / "export" / "saved_model.pb").is_file()
