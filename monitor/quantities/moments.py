"""Did the mean move, did the variance grow?"""

from __future__ import annotations

import math
from dataclasses import replace

from trueup.monitor import evidence
from trueup.monitor.effects import log_variance_ratio
from trueup.monitor.intervals import normal_quantile
from trueup.monitor.measured import FeaturePair, Limits, Measured
from trueup.monitor.words import moved, number, with_unit
from trueup.profile.moments import Moments
from trueup.profile.states import NumericState
from trueup.records.report import Quantity

TWO_VALUES = 1e-9
"""Pearson's inequality κ ≥ skewness² + 1 is an equality for two values alone; nearer than this,
the variance is a function of the mean and is not asked for again."""

BULK, MOST = 0.01, 0.5
"""Shares of serving beyond training's range: from the first on they count as they are if neither
side has outliers that would rule its moments (kurtosis up to ``TAME_KURTOSIS``), from the second
on in any case, because the clipped values would be nearly constant."""

TAME_KURTOSIS = 30.0

CLIPPED = 0.05
"""Clipped means are shown as such where they differ from the raw ones by more than this many
standard deviations; else the raw mean is shown, which is the one a user can check."""


def mean_and_variance(pair: FeaturePair, limits: Limits) -> list[Measured]:
    """Mean and variance of a numeric feature (of the elements of a multi-valued one)."""
    before, after = pair.training.numeric, pair.serving.numeric
    if before is None or after is None:
        return []
    design = pair.design
    found = _mean(pair, before, after, limits, design)
    return found + _variance(pair, before, after, limits, design)


def lengths(pair: FeaturePair, limits: Limits) -> list[Measured]:
    """Mean length of texts (characters) or of lists (elements)."""
    before, after = pair.training.lengths, pair.serving.lengths
    if before is None or after is None:
        return []
    unit = "elements" if pair.variable.multi_valued else "characters"
    found = _mean(pair, before, after, replace(limits, mean=limits.length), 1.0, unit)
    return [
        replace(one, quantity=Quantity.LENGTH, effect_name="standardized difference of mean length")
        for one in found
    ]


def outside_share(state: NumericState) -> float:
    """Share of the values that lie beyond training's range."""
    return float(state.counts[0] + state.counts[-1]) / state.n if state.n else 0.0


def counted(before: NumericState, after: NumericState) -> tuple[Moments, Moments]:
    """The moments that are compared: of the clipped values, as a rule.

    The raw ones where clipping would hide what happened: where it leaves training without any
    variance (values rarer than one in a thousand), and where so much of serving lies beyond
    training's range that these are no outliers (see ``BULK``, ``MOST``).
    """
    if before.clipped.m2 <= 0.0 < before.raw.m2:
        return before.raw, after.raw
    beyond = outside_share(after)
    tame = max(before.raw.kurtosis, after.raw.kurtosis) <= TAME_KURTOSIS
    if beyond > MOST or (beyond > BULK and tame):
        return before.raw, after.raw
    return before.clipped, after.clipped


def scale_of(before: Moments, after: Moments) -> float:
    """The standard deviation that mean differences are measured in: training's, or serving's
    where training is constant, or the size of training's one value where both are."""
    return before.sd or after.sd or abs(before.mean) or 1.0


def _mean(
    pair: FeaturePair, before: NumericState, after: NumericState, limits: Limits, design: float,
    unit: str | None = None,
) -> list[Measured]:  # fmt: skip
    old, new = counted(before, after)
    n0, n = old.n / design, new.n / design
    if min(n0, n) < max(2, limits.min_rows):
        return []
    scale = scale_of(old, new)
    shift = new.mean - old.mean
    test = evidence.mean_test(n, new.mean, new.variance, n0, old.mean, old.variance)
    error = float(evidence.mean_error(n, new.variance, n0, old.variance))
    half = normal_quantile(limits.confidence) * error
    effect = shift / scale
    unit = pair.variable.unit if unit is None else unit
    of = f"mean {'length ' if unit in ('characters', 'elements') else ''}of {pair.name}"
    shown0, shown, of = _shown(before, after, old, new, scale, of)
    varies = old.m2 > 0.0 or new.m2 > 0.0
    size = f"{effect:+.2g} sd" if varies else f"{effect:+.0%}"
    return [
        Measured(
            pair.name, Quantity.MEAN, effect, "standardized mean difference",
            "sd" if varies else "",
            old.n, new.n, "Welch t",
            moved(of, with_unit(shown0, unit), with_unit(shown, unit), shift, size),
            p_value=float(test.p_value),
            statistic=float(test.statistic) if math.isfinite(test.statistic) else None,
            low=(shift - half) / scale, high=(shift + half) / scale,
            threshold=limits.mean, dead_band=limits.dead_band,
            training=shown0, serving=shown, value_unit=unit,
            other_effects={"difference": shown - shown0},
        )
    ]  # fmt: skip


def _shown(
    before: NumericState, after: NumericState, old: Moments, new: Moments, scale: float, of: str
) -> tuple[float, float, str]:
    raw_shift = after.raw.mean - before.raw.mean
    if abs(raw_shift - (new.mean - old.mean)) <= CLIPPED * scale:
        return before.raw.mean, after.raw.mean, of
    low, high = number(old.minimum), number(old.maximum)
    return old.mean, new.mean, f"{of}, clipped to {low} … {high},"


def _variance(
    pair: FeaturePair, before: NumericState, after: NumericState, limits: Limits, design: float
) -> list[Measured]:
    old, new = counted(before, after)
    n0, n = old.n / design, new.n / design
    if min(n0, n) < max(3, limits.min_rows) or (_two_valued(old) and _two_valued(new)):
        return []
    kurtosis = float(evidence.pooled_kurtosis(new.n, new.m2, new.m4, old.n, old.m2, old.m4))
    test = evidence.variance_test(n, new.variance, n0, old.variance, kurtosis)
    effect = log_variance_ratio(new.variance, old.variance)
    half = normal_quantile(limits.confidence) * float(evidence.log_variance_error(n, n0, kurtosis))
    unit = pair.variable.unit
    change = f"variance {math.expm1(effect):+.0%}" if abs(effect) < 5 else "not the same scale"
    return [
        Measured(
            pair.name, Quantity.VARIANCE, effect, "log-variance ratio", "ln ratio",
            old.n, new.n, "log-variance z (kurtosis)",
            moved(
                f"standard deviation of {pair.name}", with_unit(old.sd, unit),
                with_unit(new.sd, unit), new.sd - old.sd, change,
            ),
            p_value=float(test.p_value), statistic=float(test.statistic),
            low=effect - half, high=effect + half,
            threshold=limits.variance, dead_band=limits.dead_band,
            training=old.sd, serving=new.sd, value_unit=unit,
            other_effects={"kurtosis": kurtosis},
        )
    ]  # fmt: skip


def _two_valued(moments: Moments) -> bool:
    """Whether at most two different values occur (equality in Pearson's inequality)."""
    if moments.m2 <= 0.0:
        return True
    skewness2 = moments.n * moments.m3**2 / moments.m2**3
    return moments.kurtosis - skewness2 - 1.0 < TWO_VALUES * moments.kurtosis
