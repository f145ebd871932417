"""States of a job and of its tasks, and what they say of themselves: files of JSON in the job's
folder, rows in the store."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Literal

from pydantic import Field

from trueup.records.input_spec import Record


class JobState(str, Enum):
    """``queued → preparing → running → succeeded | failed | cancelled``."""

    QUEUED = "queued"
    PREPARING = "preparing"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class TaskType(str, Enum):
    """Who a task is in the cluster. A cluster of one has a chief only."""

    CHIEF = "chief"
    WORKER = "worker"
    PS = "ps"


class TaskStatus(Record):
    """How a task is doing, as it says itself about once a second.

    :param rows: seen so far, over all epochs; ``rows_per_s`` of late.
    :param loss: of the training rows; ``tune_loss`` of the tuning rows, after an epoch.
    :param message: why it failed, in one sentence with what to do; else what it does now.
    """

    type: TaskType
    index: int
    host: str
    pid: int
    state: Literal["starting", "running", "succeeded", "failed"]
    epoch: int = 0
    epochs: int = 0
    rows: int = 0
    rows_per_s: float = 0.0
    loss: float | None = None
    tune_loss: float | None = None
    started_at: datetime
    updated_at: datetime
    message: str = ""


class TrainingResult(Record):
    """What came of a training job; written by the chief when the export is whole.

    :param metrics: of the tuning rows, by name.
    :param restarts: how often training was resumed from its backup.
    """

    epochs: int
    rows: int
    loss: float
    metrics: dict[str, float] = Field(default_factory=dict)
    stopped_early: bool = False
    restarts: int = 0
    seconds: float
