"""What the gate says of a candidate: a verdict, and each rule with its numbers and its reason."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Literal

from pydantic import Field

from trueup.records.input_spec import Record


class Outcome(str, Enum):
    """Of one rule and of the whole gate. ``not_enough_data``: neither shown nor refuted; such a
    candidate does not go live by itself either."""

    PASS = "pass"
    FAIL = "fail"
    NOT_ENOUGH_DATA = "not_enough_data"


class Rule(str, Enum):
    """What is asked of a candidate."""

    ENOUGH_DATA = "enough_data"
    FINITE_ANSWERS = "finite_answers"
    WITHIN_MARGIN = "within_margin"
    DROP_SINCE_BEST = "drop_since_best"
    FLOOR = "floor"
    BETTER_THAN_CONSTANT = "better_than_constant"
    CALIBRATION = "calibration"
    CHANGED_ANSWERS = "changed_answers"
    REPLAY_EQUALITY = "replay_equality"
    REPLAY_LATENCY = "replay_latency"
    REPLAY_SLOWDOWN = "replay_slowdown"
    REPLAY_MEMORY = "replay_memory"


class Clarity(str, Enum):
    """How a candidate compares with another version."""

    BETTER = "clearly better"
    WORSE = "clearly worse"
    UNCLEAR = "no clear difference"


class Limits(Record):
    """Two one-sided confidence limits, each with its own confidence.

    :param low: the value is above it, with ``low_confidence``.
    :param high: the value is below it, with ``high_confidence``.
    """

    low: float
    high: float
    low_confidence: float = Field(gt=0.5, lt=1)
    high_confidence: float = Field(gt=0.5, lt=1)


class Slice(Record):
    """Rows in which one variable has one value, or lies in one range."""

    variable: str
    value: str

    def __str__(self) -> str:
        return f"{self.variable} = {self.value}"


class RuleResult(Record):
    """One rule, on all rows or on one slice.

    :param rows: that it rests on; requests for the rules of the replay.
    :param blocks: of these rows that were drawn together; 0 where none were drawn.
    :param estimate: what was measured, in ``unit``; of comparisons the improvement: above 0 the
        candidate is better.
    :param bound: what the estimate is held against: minus the margin for comparisons.
    :param binding: whether the verdict rests on it. A slice that cannot be judged is listed, and
        holds nothing back.
    :param reason: one sentence with the numbers.
    """

    rule: Rule
    slice: Slice | None = None
    rows: int = Field(ge=0)
    blocks: int = Field(default=0, ge=0)
    estimate: float | None = None
    limits: Limits | None = None
    bound: float | None = None
    unit: str = ""
    outcome: Outcome
    binding: bool = True
    reason: str

    @property
    def passed(self) -> bool:
        return self.outcome is Outcome.PASS


class Comparison(Record):
    """The candidate against another version, on the same rows.

    :param candidate, other: the metric of each.
    :param improvement: how much better the candidate is, in the metric's unit.
    :param sentence: the same in words, with the interval.
    """

    version: int
    candidate: float
    other: float
    improvement: float
    limits: Limits
    clarity: Clarity
    sentence: str


class ReplayEvidence(Record):
    """What a real server answered with the candidate's artifact.

    :param requests: that were answered; ``failed``: that were not.
    :param max_relative_difference: to the trainer's own answers for the same rows
        (:func:`trueup.trainer.gate.replay.relative_difference`).
    :param worst: the row and output where that is, in words.
    :param latency_p99_ms: of the answers, as a client sees it.
    :param peak_memory_bytes: of all processes of the server.
    :param live_latency_p50_ms, live_peak_memory_bytes: of a server with the live version, which
        was asked the same, in turn with the other.
    :param source: what the requests are, in words, such as ``"captured requests"``.
    """

    requests: int = Field(ge=0)
    failed: int = Field(default=0, ge=0)
    rows: int = Field(default=0, ge=0)
    max_relative_difference: float | None = None
    worst: str = ""
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    peak_memory_bytes: int | None = None
    live_latency_p50_ms: float | None = None
    live_peak_memory_bytes: int | None = None
    first_failure: str = ""
    source: str = ""


class GateReport(Record):
    """What the gate says of one candidate, version 1 of the schema.

    :param reasons: of the verdict, the weightiest first.
    :param rules: every rule that was looked at, each slice by itself.
    :param notes: what was left out, and why.
    :param rows: labelled rows that all versions answered.
    :param grouped: what was drawn together, in words, such as ``"168 blocks of 1h"``.
    """

    schema_version: Literal[1] = 1
    model: str
    candidate: int | None
    live: int | None
    best: int | None = None
    metric: str
    metric_value: float | None
    unit: str = ""
    rows: int
    blocks: int = 0
    grouped: str = ""
    verdict: Outcome
    reasons: tuple[str, ...]
    against_live: Comparison | None = None
    against_best: Comparison | None = None
    rules: tuple[RuleResult, ...]
    notes: tuple[str, ...] = ()
    made_at: datetime

    @property
    def refused_by(self) -> tuple[RuleResult, ...]:
        """The rules that failed."""
        return tuple(rule for rule in self.rules if rule.outcome is Outcome.FAIL)
