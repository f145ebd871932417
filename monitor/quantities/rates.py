"""How often is a value missing, of the wrong type, infinite, or out of range?"""

from __future__ import annotations

from dataclasses import dataclass

from scipy import special

from trueup.monitor import evidence
from trueup.monitor.intervals import rate_difference, wilson
from trueup.monitor.measured import FeaturePair, Limits, Measured
from trueup.monitor.words import moved, number, percent
from trueup.profile.states import FeatureState, NumericState
from trueup.records.input_spec import CategoricalDomain, NumericDomain
from trueup.records.report import Level, Quantity


@dataclass(frozen=True)
class Counts:
    """How many of how many, on both sides; ``design`` as in ``FeaturePair.design``."""

    training: int
    n_training: int
    serving: int
    n_serving: int
    design: float = 1.0


def rate(
    feature: str, quantity: Quantity, what: str, counts: Counts, limits: Limits
) -> list[Measured]:
    """A rate on both sides, in points. Nothing where it is 0 on both sides or a side is too
    small. A rate that falls is worth a look (*watch*) but is no alarm by itself.

    :param what: the rate in words, such as ``"missing values of temp"``.
    """
    n0, n = counts.n_training, counts.n_serving
    either = counts.training + counts.serving
    if min(n0, n) < limits.min_rows or either == 0 or either == n0 + n:
        return []
    before, after = counts.training / n0, counts.serving / n
    # Whole numbers for the exact distribution; without a design effect they are the counts.
    some0, some = (max(1, round(rows / counts.design)) for rows in (n0, n))
    few0, few = round(before * some0), round(after * some)
    test = evidence.rate_test(few, some, few0, some0)
    low, high = rate_difference(few, some, few0, some0, limits.confidence)
    effect = 100 * (after - before)
    return [
        Measured(
            feature, quantity, effect, "difference of rates", "points", n0, n,
            "score or exact test of two rates",
            moved(what, percent(before), percent(after), effect, f"{number(effect)} points"),
            p_value=float(test.p_value), statistic=float(test.statistic),
            low=100 * low, high=100 * high,
            threshold=limits.rate, dead_band=limits.rate * limits.dead,
            ceiling=Level.ALERT if effect > 0 else Level.WATCH,
            training=100 * before, serving=100 * after, value_unit="%",
        )
    ]  # fmt: skip


def missing(pair: FeaturePair, limits: Limits) -> list[Measured]:
    """Rows without a value."""
    before, after = pair.training, pair.serving
    counts = Counts(before.missing, before.rows, after.missing, after.rows)
    return rate(pair.name, Quantity.MISSING, f"missing values of {pair.name}", counts, limits)


def type_errors(pair: FeaturePair, limits: Limits) -> list[Measured]:
    """Rows whose value is not of the declared type."""
    before, after = pair.training, pair.serving
    what = f"values of {pair.name} that are not {pair.variable.dtype}"
    counts = Counts(before.type_errors, before.rows, after.type_errors, after.rows)
    return rate(pair.name, Quantity.TYPE_ERROR, what, counts, limits)


def non_finite(pair: FeaturePair, limits: Limits) -> list[Measured]:
    """Values that are plus or minus infinity."""
    before, after = pair.training, pair.serving
    finite0, finite = _finite(before), _finite(after)
    counts = Counts(
        before.non_finite, finite0 + before.non_finite,
        after.non_finite, finite + after.non_finite, pair.design,
    )  # fmt: skip
    return rate(pair.name, Quantity.NON_FINITE, f"infinite values of {pair.name}", counts, limits)


def _finite(state: FeatureState) -> int:
    """Finite values, also where training had none and no moments are kept therefore."""
    return state.numeric.n if state.numeric else max(0, state.present - state.non_finite)


def out_of_range(pair: FeaturePair, limits: Limits) -> list[Measured]:
    """Values outside the declared domain, or else outside of what training had."""
    domain = pair.variable.domain
    if isinstance(domain, CategoricalDomain):
        return _outside_values(pair, domain, limits)
    before, after = pair.training.numeric, pair.serving.numeric
    if before is None or after is None:
        return []
    if isinstance(domain, NumericDomain):
        return _outside_domain(pair, before, after, domain, limits)
    return _outside_training(pair, before, after, limits)


def _outside_training(
    pair: FeaturePair, before: NumericState, after: NumericState, limits: Limits
) -> list[Measured]:
    """Of ``N`` training values, another one of the same distribution is beyond all with
    probability ``2/(N + 1)``; only what is past the upper quantile of that counts."""
    n0, n = before.n, after.n
    outside0, outside = (int(s.counts[0] + s.counts[-1]) for s in (before, after))
    if min(n0, n) < limits.min_rows or outside == 0:
        return []
    some0, few0, some, few = (c / pair.design for c in (n0, outside0, n, outside))
    test = evidence.outside_test(few, some, few0, some0)
    expected = min(1.0, (few0 + 2) / (some0 + 1))
    null_rate = float(special.betaincinv(few0 + 2, max(some0 - 1 - few0, 1), limits.confidence))
    low, high = wilson(few, some, limits.confidence)
    edges = pair.edges.numeric.edges if pair.edges.numeric is not None else (0.0, 0.0)
    unit = f" {pair.variable.unit}" if pair.variable.unit else ""
    extremes = [
        number(value)
        for value, count in (
            (after.raw.minimum, after.counts[0]),
            (after.raw.maximum, after.counts[-1]),
        )
        if count
    ]
    effect = 100 * (outside / n - outside0 / n0)
    return [
        Measured(
            pair.name, Quantity.OUT_OF_RANGE, effect, "difference of rates", "points", n0, n,
            "order statistics of training",
            f"{percent(outside / n)} of {pair.name} lie outside training's range of "
            f"{number(edges[0])} … {number(edges[-1])}{unit}, reaching {' and '.join(extremes)}",
            p_value=float(test.p_value), statistic=float(test.statistic),
            null_quantile=100 * (null_rate - outside0 / n0),
            low=100 * (low - max(null_rate, expected)), high=100 * (high - outside0 / n0),
            threshold=limits.rate, dead_band=limits.rate * limits.dead,
            training=100 * outside0 / n0, serving=100 * outside / n, value_unit="%",
        )
    ]  # fmt: skip


def _outside_domain(
    pair: FeaturePair, before: NumericState, after: NumericState, domain: NumericDomain,
    limits: Limits,
) -> list[Measured]:  # fmt: skip
    """Rates of values whose whole bin is outside the domain: a lower bound, exact as soon as the
    domain holds training's range."""
    edges = pair.edges.numeric.edges if pair.edges.numeric is not None else None
    if edges is None:
        return []

    def outside(state: NumericState) -> int:
        """Bins that lie outside as a whole, and the tail on whose side the extreme is outside."""
        count = 0
        if domain.low is not None:
            count += int(state.counts[1:-1][edges[1:] <= domain.low].sum())
            count += int(state.counts[0]) if state.raw.minimum < domain.low else 0
        if domain.high is not None:
            count += int(state.counts[1:-1][edges[:-1] > domain.high].sum())
            count += int(state.counts[-1]) if state.raw.maximum > domain.high else 0
        return count

    low = "-∞" if domain.low is None else number(domain.low)
    high = "∞" if domain.high is None else number(domain.high)
    what = f"values of {pair.name} outside {low} … {high}"
    counts = Counts(outside(before), before.n, outside(after), after.n, pair.design)
    return rate(pair.name, Quantity.OUT_OF_RANGE, what, counts, limits)


def _outside_values(pair: FeaturePair, domain: CategoricalDomain, limits: Limits) -> list[Measured]:
    before, after = pair.training.categories, pair.serving.categories
    if before is None or after is None or pair.edges.categories is None:
        return []
    allowed = set(domain.values)
    foreign = [i for i, v in enumerate(pair.edges.categories.values) if v not in allowed]
    counts = []
    for state in (before, after):
        named = sum(c for v, c in state.unseen_items.items.items() if v in allowed)
        counts.append(int(state.counts[foreign].sum()) + max(0, state.unseen - named))
    what = f"values of {pair.name} outside its declared ones"
    both = Counts(counts[0], before.n, counts[1], after.n, pair.design)
    return rate(pair.name, Quantity.OUT_OF_RANGE, what, both, limits)
