"""The gate's decision: a pure function of evidence, settings and the time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from trueup.config.training import GateSettings
from trueup.records.gate import Comparison, GateReport, Outcome, Rule, RuleResult
from trueup.trainer.gate import replay_rules, rules
from trueup.trainer.gate.blocks import Blocks
from trueup.trainer.gate.bootstrap import Drawings, Estimate, estimate
from trueup.trainer.gate.comparisons import Compared, Confidences, judge_slice, shared, too_little
from trueup.trainer.gate.evidence import GateEvidence, PairedRows, choose_blocks, pair
from trueup.trainer.gate.metrics import UNITS, metric_value, resolve
from trueup.trainer.gate.slices import SliceRows, slices_of
from trueup.trainer.gate.words import count

DEFAULT_SEED = 1


@dataclass(frozen=True, eq=False)
class _Case:
    """What every rule of one gate looks at."""

    evidence: GateEvidence
    settings: GateSettings
    rows: PairedRows
    metric: str
    unit: str
    blocks: Blocks
    drawings: Drawings
    main: Estimate | None
    slices: tuple[SliceRows, ...]

    @property
    def judged_slices(self) -> int:
        return sum(len(part.rows) >= self.settings.min_slice_rows for part in self.slices)

    @property
    def has_other_best(self) -> bool:
        return self.rows.live is not None and self.rows.best is not None


def decide_gate(
    evidence: GateEvidence, settings: GateSettings, now: datetime, seed: int = DEFAULT_SEED
) -> GateReport:
    """Whether the candidate may go live, with every rule's numbers and reason.

    ``fail`` where any rule failed, else ``not_enough_data`` where a binding rule has not enough,
    else ``pass``. The same evidence gives the same report.

    :raises BadInputError: the metric is none for the task, or a slice cannot be made.
    """
    metric = resolve(settings.metric, evidence.target.task)
    unit = UNITS.get(metric, evidence.unit if metric in ("mae", "rmse") else "")
    rows = pair(evidence)
    found = [rules.finite_answers(rows)]
    against: dict[Rule, Comparison] = {}
    blocks: Blocks | None = None
    if len(rows.kept) >= max(settings.min_rows, 2):
        blocks, drawings, main = choose_blocks(evidence, rows, metric, settings.block, seed)
        slices = tuple(_slices(evidence, rows, settings))
        case = _Case(
            evidence, settings, rows, metric, unit, blocks, drawings, main, slices
        )  # fmt: skip
        why = too_little(metric, rows.labels, main)
        found.append(rules.enough_data(rows, settings, why))
        if why is None:
            compared, against = _comparisons(case)
            found += [*compared, *_others(case)]
    else:
        found.append(rules.enough_data(rows, settings, None))
    found += replay_rules.replay(evidence.replay, settings)
    verdict = _verdict(found)
    return GateReport(
        model=evidence.model,
        candidate=evidence.candidate.version,
        live=None if evidence.live is None else evidence.live.version,
        best=evidence.best_version,
        metric=metric,
        metric_value=_finite_or_none(metric_value(metric, rows.labels, rows.candidate)),
        unit=unit,
        rows=len(rows.kept),
        blocks=0 if blocks is None else blocks.count,
        grouped="" if blocks is None else blocks.words,
        verdict=verdict,
        reasons=_reasons(found, verdict),
        against_live=against.get(Rule.WITHIN_MARGIN),
        against_best=against.get(Rule.DROP_SINCE_BEST),
        rules=tuple(found),
        notes=tuple(_notes(evidence, rows, settings)),
        made_at=now,
    )


def _slices(
    evidence: GateEvidence, rows: PairedRows, settings: GateSettings
) -> Iterator[SliceRows]:
    if rows.live is None:
        return
    for variable in settings.slices:
        if variable in evidence.columns:
            column = evidence.columns[variable].take(rows.kept)
            yield from slices_of(variable, column, settings.max_slices)


def _comparisons(case: _Case) -> tuple[list[RuleResult], dict[Rule, Comparison]]:
    """Against the live version over all rows and per slice, and against the best one."""
    rows, settings, live = case.rows, case.settings, case.evidence.live
    if rows.live is None or live is None or case.main is None:
        return [], {}
    others = case.judged_slices + case.has_other_best
    main, other = shared(settings.confidence, others)
    value = metric_value(case.metric, rows.labels, rows.candidate)
    compared = Compared(
        rule=Rule.WITHIN_MARGIN,
        name="the live version",
        metric=case.metric,
        unit=case.unit,
        share=settings.margin,
        rows=len(rows.kept),
        blocks=case.blocks,
        estimate=case.main,
        other_value=metric_value(case.metric, rows.labels, rows.live),
        confidences=main,
    )
    results = [compared.judge()]
    against = {Rule.WITHIN_MARGIN: compared.comparison(live.version or 0, value)}
    since = _since_best(case, compared, other)
    if since is not None:
        results.append(since.judge())
        against[Rule.DROP_SINCE_BEST] = since.comparison(case.evidence.best_version or 0, value)
    results += [
        judge_slice(part, rows, case.metric, case.unit, case.blocks, case.drawings, settings, other)
        for part in case.slices
    ]
    return results, against


def _since_best(case: _Case, compared: Compared, other: Confidences) -> Compared | None:
    """The comparison with the best version ever; where that is the live one, the same comparison
    with the other margin."""
    evidence, rows = case.evidence, case.rows
    version, share = evidence.best_version, case.settings.drop_since_best
    since = replace(
        compared,
        rule=Rule.DROP_SINCE_BEST,
        name=f"version {version} (the best ever)",
        share=share,
    )
    if rows.best is None:
        is_live = evidence.live is not None and version == evidence.live.version
        return since if version is not None and is_live else None
    found = estimate(rows.improvement(case.metric, rows.best), case.blocks, case.drawings)
    if found is None:
        return None
    return replace(
        since,
        estimate=found,
        other_value=metric_value(case.metric, rows.labels, rows.best),
        confidences=other,
    )


def _others(case: _Case) -> Iterator[RuleResult]:
    rows, blocks, drawings, settings = case.rows, case.blocks, case.drawings, case.settings
    numbers = case.evidence.target.task == "regression"
    optional = [rules.floor(case.metric, case.unit, rows, blocks, drawings, settings)]
    if rows.live is None and settings.floor is None:
        optional.append(rules.better_than_constant(case.metric, rows, blocks, drawings, settings))
    if not numbers:
        optional.append(rules.calibration(rows, blocks, drawings, settings))
    optional.append(rules.changed_answers(rows, blocks, drawings, settings, numbers))
    yield from (result for result in optional if result is not None)


def _verdict(found: list[RuleResult]) -> Outcome:
    binding = [result.outcome for result in found if result.binding]
    for outcome in (Outcome.FAIL, Outcome.NOT_ENOUGH_DATA):
        if outcome in binding:
            return outcome
    return Outcome.PASS


def _reasons(found: list[RuleResult], verdict: Outcome) -> tuple[str, ...]:
    """Those of the rules that decided; of a pass the comparison, or else every rule."""
    deciding = [r for r in found if r.binding and r.outcome is verdict]
    if verdict is Outcome.PASS:
        compared = [r for r in deciding if r.limits is not None and r.slice is None]
        deciding = compared or deciding
    open_slices = [r for r in found if r.slice and r.outcome is Outcome.NOT_ENOUGH_DATA]
    reasons = [f"{r.rule.value}: {r.reason}" for r in deciding]
    if open_slices:
        names = ", ".join(f"{r.slice} ({count(r.rows, 'row')})" for r in open_slices)
        reasons.append(f"not enough data to judge {count(len(open_slices), 'slice')}: {names}")
    return tuple(reasons)


def _notes(evidence: GateEvidence, rows: PairedRows, settings: GateSettings) -> Iterator[str]:
    yield from evidence.notes
    unlabelled = len(evidence.labels) - rows.labelled
    if unlabelled:
        yield f"{count(unlabelled, 'row')} without a label were left out"
    if rows.others_silent:
        yield (
            f"{count(rows.others_silent, 'row')} to which another version gives no finite answer "
            "were left out"
        )
    if evidence.live is None:
        yield "there is no live version: only floors were looked at"
    elif evidence.best_version is None:
        yield "no best version is known: the drop since it was not looked at"
    elif evidence.best is None and evidence.best_version != evidence.live.version:
        yield (
            f"version {evidence.best_version}, the best ever, could not be scored: the drop since "
            "it was not looked at"
        )
    for variable in settings.slices:
        if variable not in evidence.columns:
            yield f"the gate's rows have no variable {variable}: no slices by it"
    if evidence.target.task == "regression" and settings.max_calibration_error is not None:
        yield "gate.max_calibration_error is for classes, and was not looked at"
    if evidence.event_seconds is not None:
        timeless = int(np.sum(~np.isfinite(evidence.event_seconds)))
        if timeless:
            yield f"{count(timeless, 'row')} without an event time are one block"
    elif evidence.entities is None:
        yield "rows have neither event time nor key: neighbours in the files are drawn together"
    if evidence.replay is not None and evidence.replay.source:
        yield f"the server was asked with {evidence.replay.source}"
    if settings.replay_rows == 0:
        yield "gate.replay_rows is 0: nothing was replayed in a server"


def _finite_or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
