"""``decide``: two profiles in, one report out. No files, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from trueup.config.compare import CompareSettings
from trueup.errors import ProfileError
from trueup.monitor.adjust import adjusted
from trueup.monitor.causes import schema
from trueup.monitor.causes.diagnose import diagnose
from trueup.monitor.levels import level_of, lower
from trueup.monitor.measured import FeaturePair, Limits, Measured
from trueup.monitor.quantities import correlation, moments, presence, rates, shares, unseen
from trueup.monitor.rank import order_key
from trueup.monitor.row_skew import RowSkew
from trueup.monitor.summary import Seen, feature_summaries
from trueup.monitor.verdict import verdict_of
from trueup.monitor.windows import Designs, with_designs
from trueup.monitor.words import number
from trueup.profile.edges import FeatureEdges
from trueup.profile.states import FeatureState, Profile
from trueup.records.input_spec import Role
from trueup.records.report import (
    Cause,
    Evidence,
    Finding,
    Interval,
    Level,
    Quantity,
    Report,
    Side,
)

QUANTITIES = (
    rates.missing, rates.type_errors, rates.non_finite, rates.out_of_range,
    moments.mean_and_variance, moments.lengths, unseen.unseen, shares.shares,
)  # fmt: skip
TIME_QUANTITIES = (rates.missing, rates.type_errors, shares.shares)


@dataclass(frozen=True)
class Levelled:
    """A measured quantity with its adjusted p-value, level and cause."""

    measured: Measured
    p_adjusted: float | None
    level: Level
    cause: Cause | None = None


def decide(
    training: Profile,
    serving: Profile,
    settings: CompareSettings,
    *,
    check_id: str,
    now: datetime,
    model: str | None = None,
    sides: tuple[Side, Side] | None = None,
    designs: Designs | None = None,
    row_skew: Sequence[RowSkew] = (),
    notes: Sequence[str] = (),
) -> Report:
    """Compare serving with training; nothing but the arguments decides.

    :param training, serving: counted against the same edges, or :class:`ProfileError`.
    :param sides: training's and serving's names and sizes, as the report shows them.
    :param designs: what windows add to the rows' own errors, of
        :func:`trueup.monitor.windows.design_effects`; absent when rows are taken as independent.
    :param row_skew: what joined rows showed, of :mod:`trueup.monitor.row_skew`.
    """
    if training.edges.edges_id != serving.edges.edges_id:
        raise ProfileError(
            f"profiles of edges {training.edges.edges_id} and {serving.edges.edges_id} cannot be "
            "compared",
            remedy="profile both data sets against the training data's edges",
        )
    limits = {v.name: Limits.of(settings, v.name) for v in training.edges.spec.variables}
    pairs = _pairs(training, serving)
    measured = _measure(training, serving, pairs, limits, settings)
    if designs:
        measured = with_designs(measured, designs)
    levelled = _level(measured, settings, pairs)
    levelled = _strongest_correlations(levelled) + [_of_row_skew(one) for one in row_skew]
    levelled.sort(key=lambda one: order_key(one.measured, one.level, one.cause))
    findings = tuple(
        _finding(one, rank, settings.confidence) for rank, one in enumerate(levelled, start=1)
    )
    verdict, reasons = verdict_of(findings)
    tests = sum(one.p_value is not None for one in measured)
    return Report(
        check_id=check_id,
        created_at=now,
        model=model,
        rows=serving.rows,
        baseline_id=training.edges.edges_id,
        policy_hash=settings.policy_hash,
        verdict=verdict,
        reasons=reasons,
        training=sides[0] if sides else _side("training", training),
        serving=sides[1] if sides else _side("serving", serving),
        findings=findings,
        features=feature_summaries(
            training,
            serving,
            pairs,
            findings,
            Seen(limits, settings.alpha, tests, designs or {}),
        ),
        notes=tuple(notes),
    )


def _pairs(training: Profile, serving: Profile) -> dict[str, FeaturePair]:
    spec = training.edges.spec
    return {
        v.name: FeaturePair(
            v, training.edges.features.get(v.name, FeatureEdges()),
            training.features[v.name], serving.features[v.name],
        )
        for v in spec.variables
        if v.name in training.features and v.name in serving.features
    }  # fmt: skip


def _measure(
    training: Profile, serving: Profile, pairs: Mapping[str, FeaturePair],
    limits: Mapping[str, Limits], settings: CompareSettings,
) -> list[Measured]:  # fmt: skip
    found = presence.extra(training, serving)
    for variable in training.edges.spec.variables:
        if not variable.compared and variable.role is not Role.TIME:
            continue
        there = presence.presence(variable, training, serving)
        found += there
        if not there and variable.name in pairs:
            found += _feature(pairs[variable.name], limits[variable.name])
    tests = correlation.compare_pairs(training, serving, settings.min_rows)
    if tests is not None:
        found += correlation.correlation(tests, limits)
    return found


def _feature(pair: FeaturePair, limits: Limits) -> list[Measured]:
    """All quantities of one feature, or the reason why there are none."""
    least = limits.min_rows
    rows0, rows = pair.training.rows, pair.serving.rows
    if min(rows0, rows) < least:
        return [presence.too_few(pair.name, Quantity.PRESENCE, rows0, rows, least)]
    if pair.variable.role is Role.TIME:
        return [one for quantity in TIME_QUANTITIES for one in quantity(pair, limits)]
    if not presence.given(pair.training, pair.variable):
        # Without a value there is no type, range or share that could have changed.
        found = rates.missing(pair, limits) + rates.non_finite(pair, limits)
        return [*found, presence.empty(pair)]
    found = presence.changed_type(pair, least)
    found += [one for quantity in QUANTITIES for one in quantity(pair, limits)]
    values0, values = _values(pair.training), _values(pair.serving)
    if min(values0, values) < least:
        found.append(presence.too_few(pair.name, Quantity.SHARES, values0, values, least))
    return found


def _values(state: FeatureState) -> int:
    """Values that could be read, also those that are not of the declared type."""
    if state.numeric is not None:
        return max(state.present, state.numeric.n)
    return max(state.present, state.categories.n if state.categories is not None else 0)


def _level(
    measured: Sequence[Measured], settings: CompareSettings, pairs: Mapping[str, FeaturePair]
) -> list[Levelled]:
    """Levels after the adjustment over all quantities, and causes of what is an alert."""
    p_adjusted = adjusted([one.p_value for one in measured])
    free = [level_of(one, p, settings.alpha) for one, p in zip(measured, p_adjusted, strict=True)]
    moved: dict[Level, dict[str, set[Quantity]]] = {level: {} for level in Level}
    for one, level in zip(measured, free, strict=True):
        moved[level].setdefault(one.feature, set()).add(one.quantity)
    alerts, watched = moved[Level.ALERT], moved[Level.WATCH]
    diagnosed = {
        name: diagnose(pairs[name], alerts.get(name, ()), watched.get(name, ()))
        for name in sorted({*alerts, *watched})
        if name in pairs
    }
    result = []
    for one, p, level in zip(measured, p_adjusted, free, strict=True):
        cause = _schema_cause(one, level)
        diagnosis = diagnosed.get(one.feature, {}).get(one.quantity)
        if cause is None and diagnosis is not None and level is not Level.OK:
            cause = diagnosis.cause
        if cause is None:
            level = lower(level, one.ceiling)
        result.append(Levelled(one, p, level, cause))
    return result


def _schema_cause(one: Measured, level: Level) -> Cause | None:
    if one.quantity is not Quantity.PRESENCE or one.training is None or one.serving is None:
        return None
    if level is Level.ALERT:
        return schema.gone(one.feature)
    if level is Level.WATCH and one.effect > 0:
        return schema.new(one.feature)
    return None


def _strongest_correlations(levelled: list[Levelled]) -> list[Levelled]:
    """One correlation finding per feature, the surest: a feature's others follow from the same
    change as a rule, and the finding names how many there are."""
    kept = [one for one in levelled if one.measured.quantity is not Quantity.CORRELATION]
    by_feature: dict[str, list[Levelled]] = {}
    for one in levelled:
        if one.measured.quantity is Quantity.CORRELATION:
            by_feature.setdefault(one.measured.feature, []).append(one)
    for group in by_feature.values():
        group.sort(key=lambda one: order_key(one.measured, one.level, one.cause))
        first = group[0]
        others = {
            name: effect
            for one in group if one.level is first.level and one.level is not Level.OK
            for name, effect in one.measured.other_effects.items()
        } or first.measured.other_effects  # fmt: skip
        reason = first.measured.reason
        if len(others) > 1:
            reason += f" (and {len(others) - 1} more of its correlations changed)"
        kept.append(
            replace(first, measured=replace(first.measured, reason=reason, other_effects=others))
        )
    return kept


def _of_row_skew(one: RowSkew) -> Levelled:
    return Levelled(one.measured(), None, one.level, one.cause)


def _finding(one: Levelled, rank: int, confidence: float) -> Finding:
    m = one.measured
    interval, reason = None, m.reason
    if m.quantity is Quantity.SHARES and m.null_quantile is not None:
        reason += f" (chance: up to {number(m.null_quantile)})"
    if m.low is not None and m.high is not None:
        interval = Interval(low=m.low, high=m.high, confidence=confidence)
    return Finding(
        feature=m.feature, quantity=m.quantity, effect=m.effect, effect_name=m.effect_name,
        unit=m.unit, interval=interval, n_training=m.n_training, n_serving=m.n_serving,
        evidence=Evidence(
            method=m.method, statistic=m.statistic, p_value=m.p_value, p_adjusted=one.p_adjusted,
            null_quantile=m.null_quantile,
        ),
        level=one.level, threshold=m.threshold, cause=one.cause, rank=rank,
        training=m.training, serving=m.serving, value_unit=m.value_unit, reason=reason,
        other_effects=m.other_effects,
    )  # fmt: skip


def _side(name: str, profile: Profile) -> Side:
    columns = len(profile.edges.spec.variables) - len(profile.absent) + len(profile.extra)
    return Side(name=name, rows=profile.rows, columns=columns)
