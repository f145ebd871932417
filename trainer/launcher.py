"""What starts the tasks of a job, and ends them: one interface, an implementation for each kind of
cluster in ``launchers/``, and one contract suite for all of them (tests/trainer_task)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Protocol

from pydantic import Field

from trueup.records.input_spec import Record
from trueup.records.job import JobState, TaskStatus, TaskType
from trueup.trainer.job_spec import JobSpec


class JobProgress(Record):
    """How a job is doing, as its launcher knows it.

    :param tasks: what the tasks say, the chief first.
    :param restarts: tasks and groups that were started anew.
    :param machine_seconds: sum over tasks of the time that they ran, so far.
    :param cost: in the currency of ``training.cost_per_hour``.
    :param message: why it failed or was cancelled, in one sentence; else what it does.
    """

    id: str
    state: JobState
    message: str = ""
    tasks: tuple[TaskStatus, ...] = ()
    restarts: int = 0
    machine_seconds: float = 0.0
    cost: float = 0.0
    started_at: datetime
    finished_at: datetime | None = None
    details: dict[str, str] = Field(default_factory=dict)

    @property
    def chief(self) -> TaskStatus | None:
        return self.tasks[0] if self.tasks else None


class Launcher(Protocol):
    """Runs jobs. A job's folder holds ``job.json``, ``plan.json`` and ``data/`` before it is
    submitted; when its state is ``succeeded``, ``export/`` and ``result.json`` are whole, and in
    every end no process and no port of it is left."""

    def submit(self, spec: JobSpec, folder: Path) -> None:
        """Start all tasks of a job, and return at once.

        :raises BadInputError: the folder is in use by another launcher, or the id by another job.
        """

    def poll(self, job_id: str) -> JobProgress:
        """How it is doing.

        :raises BadInputError: this launcher does not know it.
        """

    def cancel(self, job_id: str, reason: str) -> None:
        """Ask for its end; :meth:`poll` says ``cancelled`` when nothing of it is left. Of a job
        that has ended nothing changes."""

    def logs(self, job_id: str, type: TaskType, index: int, *, tail_bytes: int = 65_536) -> str:
        """The newest lines that a task wrote, over all its starts."""

    def reap(self, folder: Path) -> int:
        """End what a launcher that died left of the job in ``folder``; how many processes.

        Nothing is done while that launcher lives.
        """

    def close(self) -> None:
        """Cancel what runs, and wait for it."""
