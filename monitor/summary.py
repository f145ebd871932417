"""Every column of either side, with all that the page draws of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trueup.monitor.detectable import minimum_detectable
from trueup.monitor.levels import higher
from trueup.monitor.measured import FeaturePair, Limits
from trueup.monitor.quantities import shares
from trueup.monitor.shown import categories, histogram, side_summary
from trueup.monitor.windows import Designs
from trueup.profile.states import Profile
from trueup.records.input_spec import Role, Variable
from trueup.records.report import FeatureSummary, Finding, Level


@dataclass(frozen=True)
class Seen:
    """What decides how small a change could be seen: limits by feature, the false discovery rate,
    the number of quantities, and design effects."""

    limits: Mapping[str, Limits]
    alpha: float
    tests: int
    designs: Designs

    def minimum_detectable(self, pair: FeaturePair) -> dict[str, float]:
        return minimum_detectable(
            pair, self.limits[pair.name], self.alpha, self.tests, self.designs
        )


def feature_summaries(
    training: Profile, serving: Profile, pairs: Mapping[str, FeaturePair],
    findings: Sequence[Finding], seen: Seen,
) -> tuple[FeatureSummary, ...]:  # fmt: skip
    """Every column of either side, in the order of the InputSpec, then new ones."""
    best: dict[str, tuple[Level, int | None]] = {}
    for finding in findings:
        level, rank = best.get(finding.feature, (Level.OK, finding.rank))
        best[finding.feature] = (higher(level, finding.level), rank)
    result = []
    for variable in training.edges.spec.variables:
        level, rank = best.get(variable.name, (Level.OK, None))
        pair = pairs.get(variable.name)
        if pair is None:
            result.append(_bare(variable, level, rank))
        else:
            detectable = seen.minimum_detectable(pair)
            result.append(_summary(pair, training, serving, level, rank, detectable))
    for name, type_name in serving.extra:
        level, rank = best.get(name, (Level.OK, None))
        result.append(FeatureSummary(
            feature=name, kind=None, role=Role.IGNORED, level=level, rank=rank,
            role_reason=f"only in serving ({type_name})",
        ))  # fmt: skip
    return tuple(result)


def _bare(variable: Variable, level: Level, rank: int | None) -> FeatureSummary:
    return FeatureSummary(
        feature=variable.name, kind=variable.kind, role=variable.role,
        role_reason=variable.reason, unit=variable.unit, level=level, rank=rank,
    )  # fmt: skip


def _summary(
    pair: FeaturePair, training: Profile, serving: Profile, level: Level, rank: int | None,
    detectable: dict[str, float],
) -> FeatureSummary:  # fmt: skip
    variable = pair.variable
    shown, other = categories(pair)
    in_training = pair.name not in training.absent
    in_serving = pair.name not in serving.absent
    return _bare(variable, level, rank).model_copy(update={
        "training": side_summary(pair.training, pair.edges.numeric) if in_training else None,
        "serving": side_summary(pair.serving, pair.edges.numeric) if in_serving else None,
        "histogram": histogram(pair),
        "categories": shown,
        "categories_other": other,
        "distances": shares.distances(pair),
        "minimum_detectable": detectable,
    })  # fmt: skip
