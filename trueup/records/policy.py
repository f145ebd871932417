"""When a model is trained anew: what is known at that moment, what was decided, and why."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from pydantic import Field

from trueup.records.input_spec import Record
from trueup.records.report import Level, Verdict


class Trigger(str, Enum):
    """What asks for a new version, the weightiest first."""

    MANUAL = "manual"
    PERFORMANCE = "performance"
    DRIFT = "drift"
    AGE = "age"
    SCHEDULE = "schedule"
    FRESH_ROWS = "fresh_rows"


class Guard(str, Enum):
    """What holds a job back."""

    FAULT = "fault"
    RUNNING = "running"
    FROZEN = "frozen"
    COOLDOWN = "cooldown"
    TOO_FEW_ROWS = "too_few_rows"
    COST = "cost"


class Situation(Record):
    """All that the decision rests on; the caller reads it from store and capture.

    :param verdict, level: of the last check of the live version; ``None`` where there is none.
    :param check_id: of that check.
    :param open_fault: whether a ``fault`` of an earlier check is not resolved yet.
    :param running_job: id of a job of this model that has not ended.
    :param last_job_at: when the last job was started, whatever came of it.
    :param last_scheduled_at: when the schedule last started a job, or the model was registered:
        ``every`` counts from there.
    :param newest_row_at: event time of the newest row that the live version was trained on.
    :param fresh_labelled_rows: usable rows since: labelled, mature, not quarantined.
    :param metric_drop: how much worse the live version's metric is than at its gate, as a share;
        ``metric_drop_low``: its lower confidence limit, which is what counts.
    :param cost_30d: of the jobs of the last 30 days, ``expected_cost``: of the next one.
    :param failed_gates: candidates refused in a row.
    :param requested_by: who asked for it by hand.
    """

    model: str
    live_version: int | None = None
    verdict: Verdict | None = None
    level: Level | None = None
    check_id: str | None = None
    open_fault: bool = False
    running_job: str | None = None
    last_job_at: datetime | None = None
    last_scheduled_at: datetime | None = None
    newest_row_at: datetime | None = None
    fresh_labelled_rows: int = Field(default=0, ge=0)
    metric_name: str = ""
    metric_drop: float | None = None
    metric_drop_low: float | None = None
    cost_30d: float = Field(default=0.0, ge=0)
    expected_cost: float = Field(default=0.0, ge=0)
    failed_gates: int = Field(default=0, ge=0)
    requested_by: str | None = None


class RetrainingDecision(Record):
    """Whether a job is started.

    :param trigger: the weightiest of ``triggers``; ``None`` where nothing asks for a job.
    :param held_by: guards that hold it back; a job starts if there is a trigger and no guard.
    :param alert: whether somebody must be told: the model is frozen and something asks for a job.
    :param reasons: sentences with numbers, also for "no".
    """

    model: str
    start: bool
    trigger: Trigger | None = None
    triggers: tuple[Trigger, ...] = ()
    held_by: tuple[Guard, ...] = ()
    alert: bool = False
    warm_start: bool = False
    reasons: tuple[str, ...]
    decided_at: datetime
