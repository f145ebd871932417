"""How large a change must be before it counts (docs/statistics.md; the section ``[compare]``)."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from pydantic import Field, FiniteFloat

from trueup.config.section import Section

Probability = Annotated[float, Field(gt=0, lt=1)]
Threshold = Annotated[FiniteFloat, Field(gt=0)]
THRESHOLDS = ("mean", "variance", "psi", "rate_points", "correlation", "length", "dead_band")


class FeatureThresholds(Section):
    """``[compare.features.NAME]``: thresholds of one feature, where they differ from the rest."""

    mean: Threshold | None = Field(None, description="as compare.mean", examples=[0.3])
    variance: Threshold | None = Field(None, description="as compare.variance", examples=[0.5])
    psi: Threshold | None = Field(None, description="as compare.psi", examples=[0.2])
    rate_points: Threshold | None = Field(
        None, description="as compare.rate_points", examples=[2.5]
    )
    correlation: Threshold | None = Field(
        None, description="as compare.correlation", examples=[0.2]
    )
    length: Threshold | None = Field(None, description="as compare.length", examples=[0.3])
    dead_band: Annotated[FiniteFloat, Field(ge=0)] | None = Field(
        None, description="as compare.dead_band", examples=[0.05]
    )


class CompareSettings(Section):
    """``[compare]``: when a difference between training and serving data is an alert.

    >>> CompareSettings(features={"fare": {"mean": 0.3}}).thresholds("fare").mean
    0.3
    >>> CompareSettings(features={"fare": {"mean": 0.3}}).thresholds("fare").psi
    0.1
    """

    alpha: Probability = Field(
        0.05, description="false discovery rate over all findings (Benjamini-Hochberg)"
    )
    confidence: Probability = Field(0.95, description="confidence of the shown intervals")
    mean: Threshold = Field(
        0.1, description="alert when the mean moved by this many training standard deviations"
    )
    variance: Threshold = Field(
        0.2, description="alert when |ln(variance ratio)| is past this; 0.2 is +22 % or -18 %"
    )
    psi: Threshold = Field(
        0.1, description="alert when the population stability index of the bins is past this"
    )
    rate_points: Threshold = Field(
        1.0,
        description="alert when missing, type errors, out of range or unseen rose by this many "
        "percentage points",
    )
    correlation: Threshold = Field(
        0.1, description="alert when the correlation of two features changed by this much"
    )
    length: Threshold = Field(
        0.1, description="as mean, for lengths of texts and of multi-valued features"
    )
    dead_band: Annotated[FiniteFloat, Field(ge=0)] = Field(
        0.02,
        description="differences below this, in training standard deviations, never count, "
        "however many rows there are",
    )
    min_rows: Annotated[int, Field(ge=2)] = Field(
        30, description="rows needed on each side before anything is an alert"
    )
    features: dict[str, FeatureThresholds] = Field(
        default_factory=dict, description="thresholds per feature", examples=["fare"]
    )

    def thresholds(self, feature: str) -> FeatureThresholds:
        """The thresholds in force for ``feature``; all of them are set."""
        own = self.features.get(feature, FeatureThresholds())
        return FeatureThresholds(
            **{
                name: getattr(self, name) if getattr(own, name) is None else getattr(own, name)
                for name in THRESHOLDS
            }
        )

    @property
    def policy_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON form.

        Equal settings have equal hashes, in whatever order the features were written.
        """
        canonical = json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
