"""The settings as a whole: what ``trueup.toml`` may say, with its defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator

from trueup.config.compare import CompareSettings
from trueup.config.section import Section
from trueup.records.input_spec import CategoricalDomain, Kind, NumericDomain, Role

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


class VariableSettings(Section):
    """``[models.X.variables.NAME]``: corrects what was inferred of one raw variable."""

    role: Role | None = Field(
        None, description="feature, id, time, label or ignored", examples=["ignored"]
    )
    reason: str | None = Field(
        None, description="why it has this role; shown to users", examples=["leaks the outcome"]
    )
    kind: Kind | None = Field(
        None, description="numeric, categorical, text or time", examples=["categorical"]
    )
    unit: str | None = Field(
        None, description="shown with every number of this variable", examples=["min"]
    )
    optional: bool | None = Field(
        None, description="whether requests may leave it out", examples=[True]
    )
    low: float | None = Field(
        None, description="values below this are out of range", examples=[0.0]
    )
    high: float | None = Field(
        None, description="values above this are out of range", examples=[2400.0]
    )
    values: tuple[str, ...] | None = Field(
        None, description="the only values that may occur (in place of low and high)"
    )
    missing: tuple[float | str, ...] | None = Field(
        None, description="values that mean missing", examples=[[-999.0, "NA"]]
    )

    @model_validator(mode="after")
    def _one_domain(self) -> VariableSettings:
        if self.values is not None and not (self.low is None and self.high is None):
            raise ValueError("give either values, or low and high")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self

    @property
    def domain(self) -> NumericDomain | CategoricalDomain | None:
        """The declared domain, if any."""
        if self.values is not None:
            return CategoricalDomain(values=self.values)
        if self.low is None and self.high is None:
            return None
        return NumericDomain(low=self.low, high=self.high)


class ModelSettings(Section):
    """``[models.X]``: one model."""

    variables: dict[str, VariableSettings] = Field(
        default_factory=dict, description="corrections per raw variable", examples=["dep_time"]
    )


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
    models: dict[ModelName, ModelSettings] = Field(
        default_factory=dict, description="the models", examples=["flights"]
    )
