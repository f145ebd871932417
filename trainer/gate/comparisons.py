"""Rules that hold the candidate against another version, over all rows and per slice.

For an improvement D with margin m > 0 there are three outcomes:

    pass              the lower limit of D is at or above -m: a loss beyond the margin is excluded
    fail              it is not, and the upper limit is below 0: the candidate is clearly worse
    not enough data   it is not, and the candidate is not clearly worse

Whatever the number of rows, a version worse by m or more passes with a probability of at most
1 - confidence, and a version that is as good as the other one fails with at most as much. The
limits that a pass rests on need no correction for slices: all rules must pass, so the least sure
one decides (Berger 1982). Those that a failure rests on do, for one failure of many is enough. All
comparisons of a gate share 1 - confidence by Bonferroni: half for all rows against the live
version, half in equal parts for the others. Holm's procedure would refuse exactly the same
candidates, as its first step is Bonferroni's, and has no intervals of its own to show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trueup.config.training import GateSettings
from trueup.records.gate import Clarity, Comparison, Limits, Outcome, Rule, RuleResult, Slice
from trueup.trainer.gate.blocks import Blocks
from trueup.trainer.gate.bootstrap import LEAST_BLOCKS, Drawings, Estimate, estimate
from trueup.trainer.gate.evidence import Array, PairedRows
from trueup.trainer.gate.metrics import metric_value
from trueup.trainer.gate.slices import SliceRows
from trueup.trainer.gate.words import clarity, count, interval, number, percent

LEAST_OF_A_CLASS = 20
"""Positive or negative rows below which an AUC's normal approximation does not hold."""


@dataclass(frozen=True, slots=True)
class Confidences:
    """Of the limits of one comparison."""

    low: float
    high: float


def shared(confidence: float, others: int) -> tuple[Confidences, Confidences]:
    """Confidences for all rows against the live version, and for each of ``others`` comparisons.

    >>> main, other = shared(0.95, 5)
    >>> main.low, main.high, other.high
    (0.95, 0.975, 0.995)
    """
    error = 1.0 - confidence
    if not others:
        return Confidences(confidence, confidence), Confidences(confidence, confidence)
    return (
        Confidences(confidence, 1.0 - error / 2),
        Confidences(confidence, 1.0 - error / (2 * others)),
    )


@dataclass(frozen=True, eq=False)
class Compared:
    """One comparison that is to be judged.

    :param name: of the other version in sentences, such as ``"the live version"``.
    :param share: the margin as a share of the other version's metric.
    """

    rule: Rule
    name: str
    metric: str
    unit: str
    share: float
    rows: int
    blocks: Blocks
    estimate: Estimate
    other_value: float
    confidences: Confidences
    slice: Slice | None = None

    @property
    def margin(self) -> float:
        return self.share * abs(self.other_value)

    @property
    def limits(self) -> Limits:
        return self.estimate.limits(self.confidences.low, self.confidences.high)

    def sentence(self) -> str:
        """Such as ``"log_loss is 0.3 nats, the live version's 0.36: better by …"``."""
        value, limits = self.estimate.value, self.limits
        direction = "better" if value > 0 else "worse" if value < 0 else "different"
        if value == 0.0 and self.estimate.error == 0.0:
            return f"{self.metric} is exactly that of {self.name}, {self.shown(self.other_value)}"
        return (
            f"{self.metric} is {direction} by {self.shown(abs(value))} than that of {self.name} "
            f"({self.shown(self.other_value)}); the improvement is {interval(limits, self.unit)}"
        )

    def shown(self, value: float) -> str:
        return number(value, self.unit)

    def judge(self) -> RuleResult:
        limits, margin = self.limits, self.margin
        where = f"on {self.slice}, " if self.slice else ""
        on = f"{where}{count(self.rows, 'row')} in {self.blocks.words}: {self.sentence()}"
        allowed = f"the margin of {self.shown(margin)} ({percent(self.share)})"
        if limits.low >= -margin:
            outcome, reason = Outcome.PASS, f"{on}: a loss beyond {allowed} is excluded"
        elif limits.high < 0:
            outcome = Outcome.FAIL
            reason = f"{on}: {Clarity.WORSE.value}, and a loss beyond {allowed} is not excluded"
        else:
            outcome = Outcome.NOT_ENOUGH_DATA
            reason = (
                f"{on}: {clarity(limits).value}, and a loss beyond {allowed} is not excluded"
                f"{self._rows_needed(limits)}"
            )
        return RuleResult(
            rule=self.rule,
            slice=self.slice,
            rows=self.rows,
            blocks=self.estimate.blocks,
            estimate=self.estimate.value,
            limits=limits,
            bound=-margin,
            unit=self.unit,
            outcome=outcome,
            binding=self.slice is None or outcome is Outcome.FAIL,
            reason=reason,
        )

    def _rows_needed(self, limits: Limits) -> str:
        """Rows with which the interval would be as narrow as the margin, so that a version as good
        as the other passes with the confidence asked for."""
        if self.margin <= 0:
            return "; with a margin of 0 only a clearly better version passes"
        ratio = (limits.high - limits.low) / self.margin
        if ratio <= 1.0:
            return ""
        return f"; some {float(f'{self.rows * ratio * ratio:.2g}'):,.0f} rows would tell"

    def comparison(self, version: int, candidate_value: float) -> Comparison:
        limits = self.limits
        return Comparison(
            version=version,
            candidate=candidate_value,
            other=self.other_value,
            improvement=self.estimate.value,
            limits=limits,
            clarity=clarity(limits),
            sentence=f"{clarity(limits).value}: {self.sentence()}",
        )


def too_little(metric: str, labels: Array, found: Estimate | None) -> str | None:
    """Why these rows cannot be judged, in words; ``None`` where they can."""
    if metric == "auc":
        positive = int(np.sum(labels > 0.5))
        fewest = min(positive, len(labels) - positive)
        if fewest < LEAST_OF_A_CLASS:
            return f"{count(fewest, 'row')} of one class, and an AUC needs {LEAST_OF_A_CLASS}"
    if found is None:
        return f"{metric} is not defined on them"
    if found.blocks < LEAST_BLOCKS:
        return f"they lie in {count(found.blocks, 'block')}, and {LEAST_BLOCKS} are needed"
    return None


def judge_slice(
    part: SliceRows,
    rows: PairedRows,
    metric: str,
    unit: str,
    blocks: Blocks,
    drawings: Drawings,
    settings: GateSettings,
    confidences: Confidences,
) -> RuleResult:
    """The candidate against the live version on one slice. A slice too small is not judged."""
    assert rows.live is not None
    n = len(part.rows)
    why: str | None = None
    found: Estimate | None = None
    labels = rows.labels[part.rows]
    if n < settings.min_slice_rows:
        why = f"{settings.min_slice_rows:,} are needed (gate.min_slice_rows)"
    else:
        within = Blocks(blocks.ids[part.rows], blocks.count, blocks.ordered, blocks.words)
        found = estimate(rows.improvement(metric, rows.live, part.rows), within, drawings)
        why = too_little(metric, labels, found)
    if why is not None or found is None:
        return RuleResult(
            rule=Rule.WITHIN_MARGIN,
            slice=part.slice,
            rows=n,
            outcome=Outcome.NOT_ENOUGH_DATA,
            binding=False,
            reason=f"on {part.slice}, {count(n, 'row')}: not judged, for {why}",
        )
    return Compared(
        rule=Rule.WITHIN_MARGIN,
        name="the live version",
        metric=metric,
        unit=unit,
        share=settings.margin,
        rows=n,
        blocks=blocks,
        estimate=found,
        other_value=metric_value(metric, labels, rows.live[part.rows]),
        confidences=confidences,
        slice=part.slice,
    ).judge()
