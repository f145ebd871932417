"""When a task counts as stalled: by a clock that the test moves."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from trueup.records.job import TaskStatus, TaskType
from trueup.trainer.launchers.local_stalls import Stalls

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Cluster:
    """A chief and a worker, and what time it is."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stalls = Stalls(60.0, lambda: self.now)
        self.silent: set[TaskType] = set()
        self.chief: dict[str, Any] = {"rows": 0}
        self._written = dict.fromkeys((TaskType.CHIEF, TaskType.WORKER), START)

    def status(self, type_: TaskType) -> TaskStatus:
        if type_ not in self.silent:
            self._written[type_] = START + timedelta(seconds=self.now)
        more = {"state": "running", **(self.chief if type_ is TaskType.CHIEF else {})}
        return TaskStatus(
            type=type_, index=0, host="a", pid=1, started_at=START,
            updated_at=self._written[type_], **more,
        )  # fmt: skip

    def wait(self, seconds: int, rows_per_s: int = 0) -> dict[str, str]:
        found: dict[str, str] = {}
        for _ in range(seconds):
            self.now += 1.0
            self.chief["rows"] += rows_per_s
            found = self.stalls.look(lambda: [self.status(type_) for type_ in self._written])
        return found


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_progress_of_the_chief_is_enough(cluster: Cluster) -> None:
    assert cluster.wait(200, rows_per_s=10) == {}


def test_silent_worker_is_named_before_the_chief_that_waits_for_it(cluster: Cluster) -> None:
    cluster.wait(5, rows_per_s=10)
    cluster.silent = {TaskType.WORKER}
    assert cluster.wait(60) == {}
    assert cluster.wait(2) == {"worker 0": "worker 0 gave no sign of life for 60 s"}


def test_chief_that_writes_and_gets_no_further(cluster: Cluster) -> None:
    cluster.wait(5, rows_per_s=10)
    assert cluster.wait(62) == {"chief 0": "the job got no further for 60 s"}


def test_another_message_is_progress(cluster: Cluster) -> None:
    cluster.wait(40)
    cluster.chief["message"] = "exporting"
    assert cluster.wait(40) == {}


def test_ended_tasks_and_new_starts_do_not_stall(cluster: Cluster) -> None:
    cluster.wait(50)
    cluster.stalls.forget()
    assert cluster.wait(50) == {}
    cluster.chief["state"] = "succeeded"
    cluster.silent = {TaskType.CHIEF}
    assert cluster.wait(200) == {}


def test_files_are_read_once_a_second(cluster: Cluster) -> None:
    reads = []
    for _ in range(50):
        cluster.now += 0.1
        cluster.stalls.look(lambda: reads.append(1) or [])  # type: ignore[func-returns-value]
    assert 4 <= len(reads) <= 6
