"""The settings as a whole: what ``trueup.toml`` may say, with its defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, StringConstraints, field_validator

from trueup.config.compare import CompareSettings
from trueup.config.section import Section
from trueup.config.serving import (
    CaptureSettings,
    ModelCaptureSettings,
    ServingSettings,
    WindowSettings,
)
from trueup.config.training import GateSettings, RetrainingSettings, TrainingSettings
from trueup.config.variables import VariableSettings

#: Model names are part of URLs and of paths in the blob root.
ModelName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
]
_STORE_URL = re.compile(r"(sqlite|postgresql)(\+\w+)?://")


class StoreSettings(Section):
    """``[store]``: the database that all processes share."""

    url: SecretStr = Field(
        SecretStr("sqlite:///.trueup/store.db"),
        description="sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/DATABASE; a password is "
        "better given by the environment variable TRUEUP_STORE__URL",
    )
    busy_timeout_s: Annotated[float, Field(gt=0, le=600)] = Field(
        30.0, description="how long a write waits for another process, and a connection for a free "
        "place in the pool, in seconds"
    )  # fmt: skip

    @field_validator("url")
    @classmethod
    def _known_database(cls, url: SecretStr) -> SecretStr:
        if not _STORE_URL.match(url.get_secret_value()):
            raise ValueError("the URL must begin with sqlite:/// or postgresql://")
        return url


class ModelSettings(Section):
    """``[models.X]``: one model."""

    variables: dict[str, VariableSettings] = Field(
        default_factory=dict, description="corrections per raw variable", examples=["dep_time"]
    )

    capture: ModelCaptureSettings = Field(
        ModelCaptureSettings(), description="what is written down of its requests"
    )
    windows: WindowSettings = Field(
        WindowSettings(), description="event time: windows, lateness, retention, labels"
    )

    training: TrainingSettings = Field(
        TrainingSettings(),
        description="what is learnt, from what, by whom: trueup train",
    )
    gate: GateSettings = Field(
        GateSettings(), description="what a candidate must show before it goes live"
    )
    retraining: RetrainingSettings = Field(
        RetrainingSettings(),
        description="when to train anew, and when not: trueup retrain",
    )

    def overrides(self) -> dict[str, dict[str, Any]]:
        """What is corrected, by variable: the mapping that changes an InputSpec."""
        return {name: variable.overrides() for name, variable in self.variables.items()}


class Settings(Section):
    """Everything that ``trueup.toml`` may say. Relative paths begin at the folder of that file."""

    blob_root: str = Field(
        ".trueup/blobs",
        min_length=1,
        description="where artifacts, captures and reports go: a folder, or a URL such as "
        "s3://BUCKET/PREFIX or gs://BUCKET/PREFIX",
    )
    spool_dir: Path = Field(
        Path(".trueup/spool"),
        description="where servers write the capture first: a folder on a local disk",
    )
    store: StoreSettings = Field(StoreSettings(), description="the database of all processes")
    compare: CompareSettings = Field(
        CompareSettings(), description="when a difference between two data sets is an alert"
    )
    serving: ServingSettings = Field(
        ServingSettings(), description="the prediction server: address and limits"
    )
    capture: CaptureSettings = Field(
        CaptureSettings(), description="how the server writes requests down"
    )
    models: dict[ModelName, ModelSettings] = Field(
        default_factory=dict, description="the models", examples=["flights"]
    )

    def model(self, name: str) -> ModelSettings:
        """The settings of one model; the defaults for one that the file does not mention."""
        return self.models.get(name, ModelSettings())
