"""``[models.X.variables.NAME]``: corrections of what was inferred of raw variables.

The keys are those of :class:`~trueup.records.input_spec.Variable`, as in a corrected InputSpec's
own TOML file; what is not said stays as it was inferred.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from trueup.config.section import Section
from trueup.records.input_spec import Dtype, Kind, Role


class DomainSettings(Section):
    """The values that may occur: between two numbers, or of a list."""

    low: float | None = Field(
        None, description="numbers below this are out of range", examples=[0.0]
    )
    high: float | None = Field(
        None, description="numbers above this are out of range", examples=[2400.0]
    )
    values: tuple[str, ...] | None = Field(
        None, description="in place of low and high: the only texts that may occur"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> DomainSettings:
        if self.values is not None and not (self.low is None and self.high is None):
            raise ValueError("give either values, or low and high")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class MissingSettings(Section):
    """How a missing value is written."""

    sentinels: tuple[float | str, ...] | None = Field(
        None, description="values that mean missing", examples=[[-999.0, "NA"]]
    )
    nan: bool | None = Field(None, description="NaN means missing", examples=[True])
    empty_string: bool | None = Field(None, description='"" means missing', examples=[True])
    json_null: bool | None = Field(
        None, description="null in a request means missing", examples=[True]
    )
    json_absent: bool | None = Field(
        None, description="a key left out of a request means missing", examples=[True]
    )
    graph: float | str | None = Field(
        None, description="what the model's graph receives for it; NaN for floats", examples=[-1.0]
    )


class VariableSettings(Section):
    """What is corrected of one raw variable."""

    role: Role | None = Field(
        None, description="feature, id, time, label or ignored", examples=["feature"]
    )
    reason: str | None = Field(
        None, description="why it has this role; shown to users", examples=["known in advance"]
    )
    kind: Kind | None = Field(
        None, description="numeric, categorical, text or time", examples=["numeric"]
    )
    dtype: Dtype | None = Field(
        None, description="float64, int64, bool, string, bytes, timestamp …", examples=["float64"]
    )
    shape: tuple[int, ...] | None = Field(
        None, description="of one row: [] is a scalar, [-1] any number of values", examples=[[]]
    )
    unit: str | None = Field(
        None, description="shown with every number of this variable", examples=["min"]
    )
    optional: bool | None = Field(
        None, description="whether requests may leave it out", examples=[True]
    )
    domain: DomainSettings | None = Field(None, description="the values that may occur")
    missing: MissingSettings | None = Field(None, description="how a missing value is written")

    def overrides(self) -> dict[str, Any]:
        """What is set, as plain values in the form of the InputSpec's own TOML file."""
        return self.model_dump(mode="json", exclude_none=True)
