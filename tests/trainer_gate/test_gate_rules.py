"""Every rule passes what is good, and refuses what is not with rule, slice, size and reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from tests.trainer_gate.conftest import GOOD_REPLAY, HOUR_S, NOW, Rows
from trueup.config.training import GateSettings
from trueup.errors import BadInputError
from trueup.records.gate import Clarity, GateReport, Outcome, Rule, RuleResult
from trueup.records.training import Target
from trueup.trainer.gate.decide import decide_gate
from trueup.trainer.gate.evidence import GateEvidence, Scores

SETTINGS = GateSettings(margin=0.02)
SLICED = GateSettings(margin=0.02, slices=("carrier",))


def gate(evidence: GateEvidence, settings: GateSettings = SETTINGS) -> GateReport:
    return decide_gate(evidence, settings, NOW)


def only(report: GateReport, rule: Rule) -> RuleResult:
    (found,) = [result for result in report.rules if result.rule is rule]
    return found


def test_a_version_as_good_passes_and_a_better_one_is_called_so(rows: Rows) -> None:
    equal = gate(rows.evidence(rows.answers(0.3)))
    assert equal.verdict is Outcome.PASS
    assert equal.against_live is not None
    assert equal.against_live.clarity is Clarity.UNCLEAR
    better = gate(rows.evidence(rows.answers(0.0)))
    assert better.verdict is Outcome.PASS and better.against_live is not None
    assert better.against_live.clarity is Clarity.BETTER
    assert better.against_live.limits.low > 0
    assert better.against_live.sentence.startswith("clearly better: log_loss is better by ")
    assert "each limit with 95 % confidence" in better.against_live.sentence


def test_shuffled_labels_are_refused_over_all_rows(rows: Rows) -> None:
    rng = np.random.default_rng(5)
    report = gate(rows.evidence(rng.permutation(rows.live)))
    assert report.verdict is Outcome.FAIL
    result = only(report, Rule.WITHIN_MARGIN)
    assert result.outcome is Outcome.FAIL and result.slice is None
    assert result.rows == len(rows.labels) and result.blocks == 168
    assert result.limits is not None and result.bound is not None
    assert result.limits.high < 0 and result.limits.low < result.bound
    assert "clearly worse" in report.reasons[0] and "16,000 rows" in report.reasons[0]


def test_shuffled_labels_are_refused_where_nothing_is_live(rows: Rows) -> None:
    rng = np.random.default_rng(5)
    first = rows.evidence(rng.permutation(rows.live), live=None, best_version=None)
    report = gate(first)
    assert report.verdict is Outcome.FAIL
    assert [result.rule for result in report.refused_by] == [Rule.BETTER_THAN_CONSTANT]
    assert "there is no live version: only floors were looked at" in report.notes
    good = gate(rows.evidence(rows.answers(0.3), live=None, best_version=None))
    assert good.verdict is Outcome.PASS and good.against_live is None


def test_worse_on_one_slice_only_is_refused_with_that_slice(rows: Rows) -> None:
    worse = np.where(rows.carrier == "UA", rows.answers(0.8), rows.answers(0.2))
    settings = GateSettings(margin=0.03, drop_since_best=0.03)
    assert gate(rows.evidence(worse), settings).verdict is Outcome.PASS, "the whole hides it"
    report = gate(rows.evidence(worse), settings.model_copy(update={"slices": ("carrier",)}))
    assert report.verdict is Outcome.FAIL
    (refused,) = report.refused_by
    assert refused.rule is Rule.WITHIN_MARGIN and str(refused.slice) == "carrier = UA"
    assert refused.rows == int(np.sum(rows.carrier == "UA"))
    assert f"on carrier = UA, {refused.rows:,} rows" in report.reasons[0]


def test_slices_share_the_error_and_small_ones_are_listed(rows: Rows) -> None:
    carrier = rows.carrier.astype(object).copy()
    carrier[:50] = "OO"
    carrier[50:90] = None
    columns = {"carrier": pa.array(carrier, pa.string())}
    report = gate(rows.evidence(rows.answers(0.3), columns=columns), SLICED)
    slices = {r.slice.value: r for r in report.rules if r.slice}
    assert set(slices) == {"AA", "B6", "DL", "UA", "OO", "(missing)"}
    assert sum(result.rows for result in slices.values()) == len(rows.labels)
    for name in ("OO", "(missing)"):
        assert slices[name].outcome is Outcome.NOT_ENOUGH_DATA and not slices[name].binding
        assert "200 are needed (gate.min_slice_rows)" in slices[name].reason
    judged = slices["AA"].limits
    assert judged is not None
    assert judged.high_confidence == pytest.approx(1 - 0.05 / 2 / 4)
    whole = only_whole(report)
    assert whole.limits is not None and whole.limits.high_confidence == pytest.approx(0.975)
    assert whole.limits.low_confidence == 0.95
    assert report.verdict is Outcome.PASS
    assert any("carrier = OO (50 rows)" in reason for reason in report.reasons)


def only_whole(report: GateReport) -> RuleResult:
    return next(r for r in report.rules if r.rule is Rule.WITHIN_MARGIN and r.slice is None)


def test_too_little_data_is_no_pass_and_no_refusal() -> None:
    few = Rows(rows=300)
    report = gate(few.evidence(few.answers(0.3)))
    assert report.verdict is Outcome.NOT_ENOUGH_DATA
    assert only(report, Rule.ENOUGH_DATA).rows == 300
    assert "500 are needed (gate.min_rows)" in report.reasons[0]
    hours = Rows(rows=5000, hours=6)
    report = gate(hours.evidence(hours.answers(0.3)))
    assert report.verdict is Outcome.NOT_ENOUGH_DATA
    assert "6 blocks" in report.reasons[0]
    vague = Rows(rows=1000)
    report = gate(vague.evidence(vague.answers(0.3)), GateSettings(margin=0.002))
    assert report.verdict is Outcome.NOT_ENOUGH_DATA
    assert "rows would tell" in report.reasons[0]
    assert gate(vague.evidence(np.full(1000, 0.5), labels=np.full(1000, np.nan))).rows == 0


def test_answers_of_the_server_that_differ_are_refused(rows: Rows) -> None:
    differs = GOOD_REPLAY.model_copy(
        update={"max_relative_difference": 0.03, "worst": "row 7: server 0.5, trainer 0.515"}
    )
    report = gate(rows.evidence(rows.live, replay=differs))
    assert [r.rule for r in report.refused_by] == [Rule.REPLAY_EQUALITY]
    result = only(report, Rule.REPLAY_EQUALITY)
    assert (result.estimate, result.bound, result.rows) == (0.03, 1e-5, 1000)
    assert "row 7: server 0.5, trainer 0.515" in result.reason
    nan = GOOD_REPLAY.model_copy(update={"max_relative_difference": float("inf")})
    assert gate(rows.evidence(rows.live, replay=nan)).verdict is Outcome.FAIL
    failing = GOOD_REPLAY.model_copy(update={"failed": 3, "first_failure": "HTTP 500"})
    report = gate(rows.evidence(rows.live, replay=failing))
    assert "3 of 1,003 replayed requests failed" in report.reasons[0]


def test_without_a_replay_nothing_passes_unless_none_is_asked_for(rows: Rows) -> None:
    report = gate(rows.evidence(rows.live, replay=None))
    assert report.verdict is Outcome.NOT_ENOUGH_DATA
    assert "no request was replayed" in report.reasons[0]
    report = gate(rows.evidence(rows.live, replay=None), GateSettings(replay_rows=0))
    assert report.verdict is Outcome.PASS
    assert any("nothing was replayed" in note for note in report.notes)


def test_too_slow_is_refused(rows: Rows) -> None:
    settings = GateSettings(margin=0.02, max_latency_ms=3.0)
    report = gate(rows.evidence(rows.live), settings)
    assert [r.rule for r in report.refused_by] == [Rule.REPLAY_LATENCY]
    assert "within 4 ms; 3 ms are allowed" in report.reasons[0]
    few = GOOD_REPLAY.model_copy(update={"requests": 40})
    report = gate(rows.evidence(rows.live, replay=few), settings)
    assert only(report, Rule.REPLAY_LATENCY).outcome is Outcome.NOT_ENOUGH_DATA
    assert gate(rows.evidence(rows.live), GateSettings(max_latency_ms=5.0)).verdict is Outcome.PASS


def test_a_small_loss_each_time_ends_at_the_best_version(rows: Rows) -> None:
    """Against the live version it is within the margin; against the best ever it is not."""
    best, live = rows.answers(0.0), rows.answers(0.55)
    settings = GateSettings(margin=0.05, drop_since_best=0.02)
    evidence = rows.evidence(
        rows.answers(0.6), live=Scores(8, live), best=Scores(3, best), best_version=3
    )
    report = gate(evidence, settings)
    assert only_whole(report).passed
    assert [r.rule for r in report.refused_by] == [Rule.DROP_SINCE_BEST]
    assert "version 3 (the best ever)" in report.reasons[0]
    assert report.against_best is not None and report.against_best.version == 3
    same = replace(evidence, best=None, best_version=8)
    assert (
        only(gate(same, settings), Rule.DROP_SINCE_BEST).limits
        == only_whole(gate(same, settings)).limits
    )


def test_floors_are_shown_refuted_or_open(rows: Rows) -> None:
    auc = {"metric": "auc", "margin": 0.02}
    for floor, outcome in ((0.5, "pass"), (0.95, "fail")):
        report = gate(rows.evidence(rows.live), GateSettings(**auc, floor=floor))
        assert only(report, Rule.FLOOR).outcome.value == outcome
    value = report.metric_value
    assert value is not None
    report = gate(rows.evidence(rows.live), GateSettings(**auc, floor=round(value, 4)))
    assert only(report, Rule.FLOOR).outcome is Outcome.NOT_ENOUGH_DATA
    report = gate(rows.evidence(rows.live), GateSettings(margin=0.02, floor=0.3))
    assert only(report, Rule.FLOOR).outcome is Outcome.FAIL, "of a log-loss less is better"


def test_calibration_is_bounded(rows: Rows) -> None:
    settings = GateSettings(margin=5.0, max_calibration_error=0.05, drop_since_best=5.0)
    assert gate(rows.evidence(rows.live), settings).verdict is Outcome.PASS
    report = gate(rows.evidence(rows.live**0.3), settings)
    assert [r.rule for r in report.refused_by] == [Rule.CALIBRATION]
    result = only(report, Rule.CALIBRATION)
    assert result.limits is not None and result.limits.low > 0.05


def test_changed_answers_are_bounded(rows: Rows) -> None:
    turned = rows.live.copy()
    turned[::10] = 1 - turned[::10]
    settings = GateSettings(margin=50.0, max_changed=0.05, drop_since_best=50.0)
    report = gate(rows.evidence(turned), settings)
    assert [r.rule for r in report.refused_by] == [Rule.CHANGED_ANSWERS]
    assert only(report, Rule.CHANGED_ANSWERS).estimate == pytest.approx(0.1)
    assert only(gate(rows.evidence(turned)), Rule.CHANGED_ANSWERS).passed, "any share may"


def test_answers_that_are_no_numbers_are_refused(rows: Rows) -> None:
    broken = rows.live.copy()
    broken[[3, 5]] = np.nan
    report = gate(rows.evidence(broken))
    assert [r.rule for r in report.refused_by] == [Rule.FINITE_ANSWERS]
    assert "2 of 16,000 rows" in report.reasons[0]
    report = gate(rows.evidence(rows.answers(0.3), live=Scores(1, broken)))
    assert report.rows == len(rows.labels) - 2
    assert any("2 rows to which another version" in note for note in report.notes)


def test_the_same_version_passes_with_any_margin_and_metric(rows: Rows) -> None:
    for metric in ("log_loss", "brier", "auc", "accuracy"):
        report = gate(rows.evidence(rows.live), GateSettings(metric=metric, margin=0.0))
        assert report.verdict is Outcome.PASS
        assert "exactly that of the live version" in report.reasons[0]


def test_regression_and_multiclass() -> None:
    rng = np.random.default_rng(3)
    n = 8000
    truth, seconds = rng.standard_normal(n), np.arange(n) * 60.0
    numbers = GateEvidence(
        "m", Target(label="y", task="regression"), truth,
        Scores(2, truth + rng.standard_normal(n)), Scores(1, truth + 0.5 * rng.standard_normal(n)),
        event_seconds=seconds, replay=GOOD_REPLAY, unit="min",
    )  # fmt: skip
    for metric in ("mae", "rmse"):
        report = gate(numbers, GateSettings(metric=metric))
        assert report.verdict is Outcome.FAIL and report.unit == "min"
    scores = rng.dirichlet([1, 1, 1], n)
    classes = (scores.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=2)
    three = Target(label="y", task="multiclass", classes=("a", "b", "c"))
    flat = np.full((n, 3), 1 / 3)
    for metric in ("log_loss", "brier", "accuracy"):
        evidence = GateEvidence(
            "m", three, classes.astype(float), Scores(2, scores), Scores(1, flat),
            event_seconds=seconds, replay=GOOD_REPLAY,
        )  # fmt: skip
        report = gate(evidence, GateSettings(metric=metric, max_calibration_error=0.1))
        assert report.verdict is Outcome.PASS and report.against_live is not None
        assert report.against_live.clarity is Clarity.BETTER
    with pytest.raises(BadInputError, match=r"'auc' is no metric of a multiclass model; use one"):
        gate(evidence, GateSettings(metric="auc"))


def test_dependence_is_found_in_time_and_in_entities(rows: Rows) -> None:
    """Errors that last for hours, or belong to a customer, are not the evidence that so many rows
    would be."""
    rng = np.random.default_rng(8)
    n, customers = len(rows.labels), 300
    customer = rng.integers(0, customers, n)
    lasting = np.repeat(rng.standard_normal(28), 6)[rows.hour]
    odd = sigmoid_of(rows, 0.8 * rng.standard_normal(customers)[customer])
    by_time = gate(rows.evidence(odd)).against_live
    both = gate(rows.evidence(odd, entities=customer))
    assert by_time is not None and both.against_live is not None
    assert both.grouped == "300 entities"
    assert width(both) > 1.3 * (by_time.limits.high - by_time.limits.low)
    slow = gate(rows.evidence(sigmoid_of(rows, 0.8 * lasting)))
    assert slow.blocks < 168 and "blocks of" in slow.grouped
    neither = gate(rows.evidence(odd, event_seconds=None))
    assert any("neither event time nor key" in note for note in neither.notes)
    longer = gate(rows.evidence(odd), GateSettings(margin=0.02, block=timedelta(hours=12)))
    assert longer.grouped == "14 blocks of 12h"


def sigmoid_of(rows: Rows, error: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-(rows.logit + error)))


def width(report: GateReport) -> float:
    assert report.against_live is not None
    return report.against_live.limits.high - report.against_live.limits.low


def test_a_report_is_the_same_each_time_and_survives_json(rows: Rows) -> None:
    evidence = rows.evidence(rows.answers(0.5))
    report = gate(evidence, SLICED)
    assert gate(evidence, SLICED) == report
    assert GateReport.model_validate_json(report.model_dump_json()) == report
    shifted = rows.evidence(evidence.candidate.predictions, event_seconds=rows.hour * HOUR_S + 7e8)
    assert gate(shifted, SLICED).verdict is report.verdict
