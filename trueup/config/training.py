"""How a model is trained, gated and retrained: ``[models.X.training]``, ``[models.X.gate]`` and
``[models.X.retraining]``."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from trueup.config.duration import Duration
from trueup.config.section import Section

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]

#: ``package.module:function`` of the user's own code.
_FUNCTION = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")
MODELS = ("linear", "dnn", "wide_and_deep")


def _function(text: str) -> str:
    if not _FUNCTION.match(text):
        raise ValueError(f"{text!r} is not of the form package.module:function")
    return text


class FeatureSettings(Section):
    """``[models.X.training.features.NAME]``: how one raw variable enters the model."""

    transform: Literal["auto", "scale", "log", "buckets", "vocabulary", "hash", "text", "leave"] = (
        Field(
            "auto",
            description="scale: (x - mean) / sd; log: the same of log1p; buckets: quantiles; "
            "vocabulary: training's values; hash; text: hashed words; leave: not used",
        )
    )
    buckets: Annotated[int, Field(ge=2, le=1_000_000)] = Field(
        32, description="of buckets and hash"
    )
    vocabulary: Count = Field(1024, description="most frequent values that are told apart")
    embedding: Annotated[int, Field(ge=0, le=1024)] = Field(
        0, description="size of the embedding; 0 takes one that fits the number of values"
    )


class DataSettings(Section):
    """``[models.X.training.data]``: which rows, and who may see them."""

    sources: tuple[str, ...] = Field(
        (),
        description="files, globs, folders or URLs (Parquet, CSV, JSON lines, TFRecord)",
        examples=[["training/*.parquet"]],
    )
    query: str | None = Field(
        None, description="a SQL query besides, or instead", examples=["SELECT * FROM flights"]
    )
    query_url: str | None = Field(
        None, description="its database; the store where it is absent", examples=["sqlite:///x.db"]
    )
    capture: bool = Field(
        True, description="also the captured rows whose labels are mature, from the newest row of "
        "the live version's training data on"
    )  # fmt: skip
    time: str | None = Field(
        None, description="variable with the event time; splits are by time then",
        examples=["time_hour"],
    )  # fmt: skip
    since: datetime | None = Field(
        None, description="rows before are left out", examples=["2013-01-01T00:00:00Z"]
    )
    until: datetime | None = Field(
        None, description="rows from here on are left out", examples=["2013-04-01T00:00:00Z"]
    )
    gate_period: Duration = Field(
        timedelta(days=7), description="the newest rows, this long, are the gate's alone"
    )
    gate_share: Share = Field(
        0.05, description="share of keys that no version ever trains on, the gate's too; the whole "
        "of the gate's rows where there is no time"
    )  # fmt: skip
    tune_share: Share = Field(
        0.1, description="share of the training rows for early stopping and tuning: the newest, "
        "or, without time, by hash"
    )  # fmt: skip
    keys: tuple[str, ...] = Field(
        (), description="variables that name an entity for the hash; the whole row without",
        examples=[["customer"]],
    )  # fmt: skip
    shard_rows: Count = Field(262_144, description="rows of one TFRecord file")


class TrainingSettings(Section):
    """``[models.X.training]``: what is learnt, from what, by whom."""

    label: str = Field("", description="variable that is to be predicted", examples=["arr_delay"])
    task: Literal["auto", "regression", "binary", "multiclass"] = Field(
        "auto", description="auto: numbers are regression, two values binary, others multiclass"
    )
    positive_above: float | None = Field(
        None, description="binary: whether the label is above this", examples=[15.0]
    )
    model: str = Field(
        "wide_and_deep",
        description="linear, dnn, wide_and_deep, or package.module:function, which gets the plan "
        "of features and the settings and returns a tf_keras model",
    )
    functions: tuple[str, ...] = Field(
        (),
        description="features of your own, package.module:function: tensors by name in, tensors "
        "by name out, by operations of the graph only",
        examples=[["mymodel.features:weekday"]],
    )
    features: dict[str, FeatureSettings] = Field(
        default_factory=dict, description="how a raw variable enters", examples=["distance"]
    )
    crosses: tuple[tuple[str, ...], ...] = Field(
        (), description="variables whose combinations are features", examples=[[["origin", "dest"]]]
    )
    cross_buckets: Count = Field(4096, description="hash buckets of one cross")
    hidden_units: tuple[Count, ...] = Field((64, 32), description="of the deep part")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="of the deep part")
    learning_rate: Annotated[float, Field(gt=0)] = Field(0.001, description="of Adam")
    batch_size: Count = Field(1024, description="rows of one step, over all workers")
    epochs: Count = Field(5, description="times that the training rows are seen at most")
    patience: Annotated[int, Field(ge=0)] = Field(
        2, description="epochs without progress on the tuning rows before it ends; 0: never"
    )
    seed: int = Field(1, description="of weights and order")
    strategy: Literal["single", "mirrored", "multi_worker", "parameter_server"] = Field(
        "single", description="how it is spread over processes and machines"
    )
    workers: Count = Field(2, description="of multi_worker and parameter_server")
    parameter_servers: Count = Field(1, description="of parameter_server")
    threads: Annotated[int, Field(ge=0)] = Field(
        0, description="of one task; 0 shares the machine's cores among the tasks"
    )
    timeout: Duration = Field(timedelta(hours=24), description="a longer job is ended")
    stall_timeout: Duration = Field(
        timedelta(minutes=10), description="a task that gives no sign of life, or a job that gets "
        "no further, for so long is started anew from its backup"
    )  # fmt: skip
    cost_per_hour: Annotated[float, Field(ge=0)] = Field(
        0.0, description="of one task, in any currency, for the cost of a job"
    )
    data: DataSettings = Field(DataSettings(), description="which rows, and who may see them")

    @field_validator("model")
    @classmethod
    def _known_model(cls, model: str) -> str:
        return model if model in MODELS else _function(model)

    @field_validator("functions")
    @classmethod
    def _functions(cls, functions: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_function, functions))

    @model_validator(mode="after")
    def _binary(self) -> TrainingSettings:
        if self.positive_above is not None and self.task not in ("auto", "binary"):
            raise ValueError("positive_above makes the label binary, and task says otherwise")
        return self


class GateSettings(Section):
    """``[models.X.gate]``: what a candidate must show before it goes live."""

    metric: Literal["auto", "log_loss", "brier", "auc", "accuracy", "mae", "rmse"] = Field(
        "auto", description="auto: log_loss for classes, mae for numbers"
    )
    margin: Annotated[float, Field(ge=0)] = Field(
        0.01, description="how much worse it may be, as a share of the live version's metric"
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        0.95, description="of the one-sided limit that must lie within the margin"
    )
    slices: tuple[str, ...] = Field(
        (), description="variables whose values are looked at apart", examples=[["carrier"]]
    )
    max_slices: Count = Field(20, description="of one variable: its most frequent values")
    block: Duration = Field(
        timedelta(hours=1), description="rows of one block of time are drawn together, as they "
        "depend on each other"
    )  # fmt: skip
    min_rows: Count = Field(500, description="fewer rows of the gate are not enough data")
    min_slice_rows: Count = Field(200, description="fewer rows of a slice say nothing of it")
    drop_since_best: Annotated[float, Field(ge=0)] = Field(
        0.02, description="how much worse than the best version ever, as a share"
    )
    floor: float | None = Field(
        None, description="the metric itself must be this good", examples=[0.7]
    )
    max_changed: Share = Field(
        1.0, description="share of answers that may change (class, or by more than 10 %)"
    )
    max_calibration_error: Share | None = Field(
        None, description="of classes: expected calibration error", examples=[0.05]
    )
    replay_rows: Annotated[int, Field(ge=0)] = Field(
        1000,
        description="captured rows, or, where there are none, rows of the gate, that a real "
        "server answers with the artifact; 0: none",
    )
    tolerance: Annotated[float, Field(ge=0)] = Field(
        1e-5, description="how far answers of server and trainer may be apart, relatively"
    )
    max_latency_ms: Annotated[float, Field(gt=0)] | None = Field(
        None, description="99th percentile in the replay", examples=[50.0]
    )
    max_slowdown: Annotated[float, Field(gt=0)] = Field(
        3.0, description="median latency in the replay, as a multiple of the live version's"
    )
    max_memory: Annotated[float, Field(gt=0)] = Field(
        3.0, description="memory of a server with it, as a multiple of one with the live version"
    )


class RetrainingSettings(Section):
    """``[models.X.retraining]``: when to train anew, and when not."""

    on_drift: bool = Field(True, description="when a verdict is drift at level alert")
    every: Duration | None = Field(None, description="on a schedule", examples=["30d"])
    max_age: Duration | None = Field(
        None, description="when the live version's newest row is older", examples=["90d"]
    )
    fresh_rows: Annotated[int, Field(ge=0)] = Field(
        0, description="when there are so many fresh labelled rows; 0: never"
    )
    metric_drop: Annotated[float, Field(ge=0)] = Field(
        0.0, description="when the metric on labelled rows is worse by this share; 0: never"
    )
    cooldown: Duration = Field(timedelta(days=1), description="between two jobs of one model")
    min_rows: Count = Field(1000, description="fewer fresh labelled rows are not worth a job")
    max_cost: Annotated[float, Field(ge=0)] = Field(
        0.0, description="of the jobs of 30 days; 0: no bound"
    )
    freeze_after: Count = Field(
        3, description="refused candidates in a row, after which only people start jobs"
    )
    warm_start: bool = Field(False, description="begin with the live version's weights")


def is_function(model: str) -> bool:
    """Whether ``model`` of :class:`TrainingSettings` is the user's own.

    >>> is_function("dnn"), is_function("mymodel.net:build")
    (False, True)
    """
    return model not in MODELS
