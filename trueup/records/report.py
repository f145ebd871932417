"""Report v1: what one check found. Alerts, page, policy and notebooks all read this one form.

The JSON schema is published as ``docs/schemas/report-v1.json`` (a test keeps it in step).
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Literal

from pydantic import Field

from trueup.records.input_spec import Kind, Record, Role


class Level(str, Enum):
    """How much attention a finding asks for."""

    OK = "ok"
    WATCH = "watch"
    ALERT = "alert"


class Verdict(str, Enum):
    """What a check says of the whole: ``drift`` is worth retraining, ``fault`` is to be mended."""

    OK = "ok"
    WATCH = "watch"
    DRIFT = "drift"
    FAULT = "fault"


class Quantity(str, Enum):
    """What is compared. The effect's name and unit are in the finding."""

    PRESENCE = "presence"
    TYPE = "type"
    MEAN = "mean"
    VARIANCE = "variance"
    MISSING = "missing"
    TYPE_ERROR = "type_error"
    NON_FINITE = "non_finite"
    OUT_OF_RANGE = "out_of_range"
    UNSEEN = "unseen"
    SHARES = "shares"
    LENGTH = "length"
    CORRELATION = "correlation"
    ROW_SKEW = "row_skew"
    VOLUME = "volume"
    UNIQUENESS = "uniqueness"


class CauseKind(str, Enum):
    """What a finding is explained by. All of them make the verdict ``fault``."""

    COLUMN_GONE = "column_gone"
    COLUMN_NEW = "column_new"
    TYPE_CHANGED = "type_changed"
    UNIT = "unit"
    TIME_SHIFT = "time_shift"
    STUCK = "stuck"
    DEFAULT_FILL = "default_fill"
    LETTER_CASE = "letter_case"
    TRUNCATION = "truncation"
    MISSING_JUMP = "missing_jump"
    ROUNDING = "rounding"
    TIME_ZONE = "time_zone"
    STALE = "stale"
    DTYPE = "dtype"


class Cause(Record):
    """A named explanation, in words a user understands, with the numbers behind it."""

    kind: CauseKind
    statement: str
    remedy: str = ""
    parameters: dict[str, float | str] = Field(default_factory=dict)


class Interval(Record):
    """A confidence interval of an effect, in the effect's unit."""

    low: float
    high: float
    confidence: float = Field(gt=0, lt=1)


class Evidence(Record):
    """Why an effect is taken for real.

    :param method: name of the test, such as ``"Welch z"``.
    :param p_value: of the null hypothesis of no change; absent for distances and diagnoses.
    :param p_adjusted: after Benjamini-Hochberg over all quantities of the report.
    """

    method: str
    statistic: float | None = None
    p_value: float | None = Field(default=None, ge=0, le=1)
    p_adjusted: float | None = Field(default=None, ge=0, le=1)
    null_quantile: float | None = None


class Trend(Record):
    """Slope per window and the forecast date on which the threshold is crossed."""

    slope_per_window: float
    crosses_at: datetime | None = None


class Finding(Record):
    """One feature × quantity.

    :param effect: signed where it has a direction; what is levelled.
    :param effect_name: such as ``"standardized mean difference"`` or ``"PSI"``.
    :param unit: of ``effect``: ``"sd"``, ``"ln ratio"``, ``"points"``, ``""`` for distances.
    :param training: the quantity's value in training, in ``value_unit`` (mean, sd, rate in %).
    :param rank: 1 is what to look at first.
    """

    feature: str
    quantity: Quantity
    effect: float
    effect_name: str
    unit: str
    interval: Interval | None = None
    n_training: int = Field(ge=0)
    n_serving: int = Field(ge=0)
    evidence: Evidence
    level: Level
    threshold: float | None = None
    onset: datetime | None = None
    trend: Trend | None = None
    cause: Cause | None = None
    rank: int = Field(ge=1)
    training: float | None = None
    serving: float | None = None
    value_unit: str = ""
    reason: str
    other_effects: dict[str, float] = Field(default_factory=dict)


class Histogram(Record):
    """Counts over shown bins: ``len(edges) == len(training) + 1``; outer edges are the observed
    minimum and maximum over both sides, so that every value is shown."""

    edges: tuple[float, ...]
    training: tuple[int, ...]
    serving: tuple[int, ...]


class CategoryShare(Record):
    """One category's counts; ``new`` when training never had it."""

    value: str
    training: int
    serving: int
    new: bool = False


class SideSummary(Record):
    """The numbers of one feature on one side; absent ones do not apply to its kind."""

    rows: int
    missing: int = 0
    type_errors: int = 0
    non_finite: int = 0
    mean: float | None = None
    sd: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    quantiles: dict[str, float] = Field(default_factory=dict)
    distinct: float | None = None
    zeros: int | None = None
    mean_length: float | None = None


class FeatureSummary(Record):
    """Everything that the page draws of one feature; every input column has one, also ignored
    ones (with the reason)."""

    feature: str
    kind: Kind | None
    role: Role
    role_reason: str = ""
    unit: str = ""
    level: Level = Level.OK
    rank: int | None = None
    training: SideSummary | None = None
    serving: SideSummary | None = None
    histogram: Histogram | None = None
    categories: tuple[CategoryShare, ...] = ()
    categories_other: tuple[int, int] = (0, 0)
    distances: dict[str, float] = Field(default_factory=dict)
    minimum_detectable: dict[str, float] = Field(default_factory=dict)


class Side(Record):
    """Where one side of a comparison came from."""

    name: str
    rows: int
    columns: int
    first_time: datetime | None = None
    last_time: datetime | None = None


class Report(Record):
    """One check's result, version 1 of the schema."""

    schema_version: Literal[1] = 1
    check_id: str
    created_at: datetime
    model: str | None = None
    versions: tuple[int, ...] = ()
    window: str | None = None
    watermark: datetime | None = None
    rows: int
    baseline_id: str
    policy_hash: str
    revision: int = 0
    stale: bool = False
    verdict: Verdict
    reasons: tuple[str, ...]
    training: Side
    serving: Side
    findings: tuple[Finding, ...]
    features: tuple[FeatureSummary, ...]
    notes: tuple[str, ...] = ()
