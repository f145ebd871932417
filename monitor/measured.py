"""What a quantity of one feature came to, before it is levelled against all the others."""

from __future__ import annotations

from dataclasses import dataclass, field

from trueup.config.compare import CompareSettings
from trueup.profile.edges import FeatureEdges
from trueup.profile.states import FeatureState
from trueup.records.input_spec import Variable
from trueup.records.report import Level, Quantity


@dataclass(frozen=True)
class FeaturePair:
    """One variable's states on both sides, counted against the same edges."""

    variable: Variable
    edges: FeatureEdges
    training: FeatureState
    serving: FeatureState

    @property
    def name(self) -> str:
        return self.variable.name

    @property
    def design(self) -> float:
        """Elements per row of a multi-valued variable, ``>= 1``; 1 of any other.

        Elements of one row may all be alike, so that rows and not elements count as independent:
        effective sample sizes are numbers of elements over this design effect (Kish 1965).
        """
        if not self.variable.multi_valued:
            return 1.0
        elements = self.training.elements + self.serving.elements
        return max(1.0, elements / max(self.training.present + self.serving.present, 1))


@dataclass(frozen=True)
class Limits:
    """The thresholds in force for one feature; rates in points.

    :param dead: the dead band as a share of each threshold that is not in sd or log-variance.
    """

    mean: float
    variance: float
    psi: float
    rate: float
    correlation: float
    length: float
    dead_band: float
    dead: float
    confidence: float
    min_rows: int

    @classmethod
    def of(cls, settings: CompareSettings, feature: str) -> Limits:
        own = settings.thresholds(feature)
        values = {name: float(getattr(own, name)) for name in type(own).model_fields}
        return cls(
            mean=values["mean"],
            variance=values["variance"],
            psi=values["psi"],
            rate=values["rate_points"],
            correlation=values["correlation"],
            length=values["length"],
            dead_band=values["dead_band"],
            dead=min(1.0, values["dead_band"] / values["mean"]),
            confidence=settings.confidence,
            min_rows=settings.min_rows,
        )


@dataclass(frozen=True)
class Measured:
    """One feature × quantity with its effect and evidence; the level is not yet known.

    :param effect: signed where it has a direction, in ``unit``.
    :param low, high: confidence limits of the effect; absent for diagnoses.
    :param freedom: degrees of freedom of a chi-squared statistic.
    :param threshold: past which the effect's nearer limit must lie for an alert.
    :param dead_band: an effect within it never counts.
    :param ceiling: the highest level this can reach without a cause.
    :param other: the second feature of a correlation.
    :param fixed: the level, where it is a matter of fact and not of chance.
    """

    feature: str
    quantity: Quantity
    effect: float
    effect_name: str
    unit: str
    n_training: int
    n_serving: int
    method: str
    reason: str
    p_value: float | None = None
    statistic: float | None = None
    null_quantile: float | None = None
    freedom: int | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    dead_band: float = 0.0
    ceiling: Level = Level.ALERT
    fixed: Level | None = None
    training: float | None = None
    serving: float | None = None
    value_unit: str = ""
    other: str = ""
    other_effects: dict[str, float] = field(default_factory=dict)
