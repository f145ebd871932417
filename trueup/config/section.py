"""What every table of the configuration is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """One table of the configuration: frozen, and unknown keys are refused. A field's description
    is its documentation, in the commented ``trueup.toml`` too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
