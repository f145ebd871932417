"""Awkward data give findings with reasons, never an exception, and no column goes missing."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest

from trueup.config.compare import CompareSettings
from trueup.errors import ProfileError
from trueup.monitor.compare import decide
from trueup.records.input_spec import Kind, Role
from trueup.records.report import CauseKind, Level, Quantity, Report, Verdict

N = 500


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng([3, seed])


def finding(report: Report, feature: str, quantity: Quantity):
    found = [f for f in report.findings if f.feature == feature and f.quantity is quantity]
    assert len(found) == 1, [f.quantity for f in report.findings if f.feature == feature]
    return found[0]


def summary(report: Report, feature: str):
    return next(s for s in report.features if s.feature == feature)


def numbers(seed: int, n: int = N) -> np.ndarray:
    return rng(seed).normal(size=n)


def test_a_report_survives_json(compare) -> None:
    serving = {"x": np.where(rng(5).random(N) < 0.5, np.inf, numbers(1)), "b": ["q"] * N}
    report = compare({"x": numbers(0), "a": numbers(2)}, serving)
    again = Report.model_validate_json(report.model_dump_json())
    assert again == report
    assert [f.rank for f in report.findings] == list(range(1, len(report.findings) + 1))


def test_columns_on_one_side_only(compare) -> None:
    report = compare({"x": numbers(0), "old": numbers(1)}, {"x": numbers(2), "new": numbers(3)})
    gone = finding(report, "old", Quantity.PRESENCE)
    assert (gone.level, gone.cause.kind) == (Level.ALERT, CauseKind.COLUMN_GONE)
    new = finding(report, "new", Quantity.PRESENCE)
    assert (new.level, new.cause.kind) == (Level.WATCH, CauseKind.COLUMN_NEW)
    assert report.verdict is Verdict.FAULT
    assert {s.feature for s in report.features} == {"x", "old", "new"}
    assert summary(report, "old").serving is None
    assert "only in serving" in summary(report, "new").role_reason


def test_a_new_column_alone_is_worth_a_look(compare) -> None:
    report = compare({"x": numbers(0)}, {"x": numbers(2), "new": numbers(3)})
    assert report.verdict is Verdict.WATCH


def test_a_label_is_not_expected_in_serving(compare) -> None:
    report = compare({"x": numbers(0), "y": numbers(1)}, {"x": numbers(2)}, roles={"y": Role.LABEL})
    assert report.verdict is Verdict.OK
    assert "label" in finding(report, "y", Quantity.PRESENCE).reason


def test_ignored_columns_are_listed_with_their_reason(compare) -> None:
    report = compare(
        {"x": numbers(0), "id": numbers(1)}, {"x": numbers(2), "id": numbers(3) + 9},
        roles={"id": Role.IGNORED},
    )  # fmt: skip
    assert report.verdict is Verdict.OK
    assert summary(report, "id").role_reason == "the user said so"
    assert not [f for f in report.findings if f.feature == "id"]


@pytest.mark.parametrize("side", ["training", "serving", "both"])
def test_an_empty_column(compare, side: str) -> None:
    empty = np.full(N, np.nan)
    report = compare(
        {"x": numbers(0) if side == "serving" else empty, "y": numbers(1)},
        {"x": numbers(2) if side == "training" else empty, "y": numbers(3)},
    )
    expected = {"training": Verdict.WATCH, "serving": Verdict.FAULT, "both": Verdict.OK}[side]
    assert report.verdict is expected, report.reasons
    assert [f for f in report.findings if f.feature == "x"]
    assert summary(report, "x").training.rows == N


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (np.full(N, 4.0), np.full(N, 4.0), Verdict.OK),
        (np.full(N, 4.0), np.full(N, 5.0), Verdict.DRIFT),
        (np.full(N, 0.0), np.full(N, 5.0), Verdict.DRIFT),
        (np.full(N, 4.0), numbers(1), Verdict.DRIFT),
        (numbers(0), np.full(N, 0.1), Verdict.FAULT),
    ],
    ids=["same", "another", "from zero", "varies now", "stuck"],
)
def test_constant_columns(compare, before, after, verdict: Verdict) -> None:
    report = compare({"x": before}, {"x": after})
    assert report.verdict is verdict, report.reasons
    for f in report.findings:
        assert np.isfinite(f.effect)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, N), (N, 1), (0, N), (N, 0), (29, N)])
def test_too_few_rows_say_so(compare, n: int, m: int) -> None:
    report = compare(
        {"x": numbers(0, n), "s": ["a"] * n}, {"x": numbers(1, m) + 5, "s": ["b"] * m},
        kinds={"s": Kind.CATEGORICAL},
    )  # fmt: skip
    assert report.verdict is Verdict.WATCH  # nothing could be compared
    for name in ("x", "s"):
        assert "too few rows" in finding(report, name, Quantity.PRESENCE).reason
    assert len(report.features) == 2


def test_min_rows_is_a_setting(compare) -> None:
    both = {"x": numbers(0, 40)}, {"x": numbers(1, 40) + 3}
    assert compare(*both).verdict is Verdict.DRIFT
    assert compare(*both, settings=CompareSettings(min_rows=41)).verdict is Verdict.WATCH


def test_a_gone_column_is_seen_in_a_few_rows(compare) -> None:
    report = compare({"x": numbers(0), "y": numbers(1)}, {"x": numbers(2, 3)})
    assert report.verdict is Verdict.FAULT


def test_infinities_are_a_finding(compare) -> None:
    serving = np.where(rng(4).random(N) < 0.1, np.inf, numbers(1))
    report = compare({"x": numbers(0)}, {"x": serving})
    infinite = finding(report, "x", Quantity.NON_FINITE)
    assert infinite.level is Level.ALERT
    assert infinite.effect == pytest.approx(10, abs=4)
    assert report.verdict is Verdict.DRIFT


def test_a_single_huge_outlier_is_no_alarm(compare) -> None:
    """A taxi fare of 429,490 $ moved a month's raw mean from 13 to 56."""
    fares = rng(0).exponential(13.0, 20_000), rng(1).exponential(13.0, 20_000)
    fares[1][7] = 429_490.0
    report = compare({"fare": fares[0]}, {"fare": fares[1]})
    assert report.verdict is Verdict.OK
    assert summary(report, "fare").serving.maximum == 429_490.0


def test_huge_numbers(compare) -> None:
    report = compare({"x": 1e300 * numbers(0)}, {"x": 1e300 * numbers(1)})
    assert report.verdict is Verdict.OK, report.reasons


def test_lists_and_their_lengths(compare) -> None:
    def lists(seed, mean):
        r = rng(seed)
        return [r.normal(size=k).tolist() for k in r.poisson(mean, N)]

    assert compare({"x": lists(0, 4)}, {"x": lists(5, 4)}).verdict is Verdict.OK
    longer = compare({"x": lists(0, 4)}, {"x": lists(5, 8)})
    assert longer.verdict is Verdict.DRIFT
    assert finding(longer, "x", Quantity.LENGTH).level is Level.ALERT


def test_elements_of_one_row_are_not_independent(compare) -> None:
    """Each row repeats one value 50 times: 50 times the elements, not 50 times the evidence."""
    watched = 0
    for seed in range(40):
        rows = np.random.default_rng([8, seed]).normal(size=(2, 200))
        columns = [{"x": np.repeat(side, 50).reshape(200, 50).tolist()} for side in rows]
        report = compare(*columns)
        assert report.verdict in (Verdict.OK, Verdict.WATCH)
        watched += report.verdict is Verdict.WATCH
    assert watched <= 8  # 5 % of 40, plus four standard errors


def test_a_correlation_that_turned_round(compare) -> None:
    shared, other = rng(0).normal(size=(2, 4 * N)), rng(1).normal(size=(2, 4 * N))
    training = {"a": shared[0], "b": 0.8 * shared[0] + 0.6 * other[0]}
    serving = {"a": shared[1], "b": -0.8 * shared[1] + 0.6 * other[1]}
    report = compare(training, serving)
    found = finding(report, "a", Quantity.CORRELATION)
    assert found.level is Level.ALERT
    assert (found.training, found.serving) == (
        pytest.approx(0.8, abs=0.03),
        pytest.approx(-0.8, abs=0.03),
    )
    moved = [f for f in report.findings if f.level is not Level.OK]
    assert [f.quantity for f in moved] == [Quantity.CORRELATION]


def test_thresholds_of_one_feature(compare) -> None:
    both = {"x": numbers(0), "y": numbers(1)}, {"x": numbers(2) + 0.5, "y": numbers(3) + 0.5}
    settings = CompareSettings(features={"x": {"mean": 2.0, "psi": 2.0}})
    report = compare(*both, settings=settings)
    levels = {s.feature: s.level for s in report.features}
    assert levels == {"x": Level.WATCH, "y": Level.ALERT}


def test_what_is_too_small_to_matter_never_counts(compare) -> None:
    """With 200,000 rows 0.015 sd is beyond chance, and within the dead band."""
    big = 200_000
    both = {"x": numbers(0, big)}, {"x": numbers(1, big) + 0.015}
    report = compare(*both)
    mean = finding(report, "x", Quantity.MEAN)
    assert mean.evidence.p_adjusted < 0.001
    assert report.verdict is Verdict.OK
    assert compare(*both, settings=CompareSettings(dead_band=0.0)).verdict is Verdict.WATCH


def test_what_cannot_be_seen_is_said(compare) -> None:
    small = summary(compare({"x": numbers(0, 50)}, {"x": numbers(1, 50)}), "x")
    large = summary(compare({"x": numbers(0, 5000)}, {"x": numbers(1, 5000)}), "x")
    assert small.minimum_detectable["mean (sd)"] == pytest.approx(
        10 * large.minimum_detectable["mean (sd)"], rel=0.1
    )
    power = []
    for seed in range(60):
        shift = small.minimum_detectable["mean (sd)"]
        report = compare({"x": numbers(seed, 50)}, {"x": numbers(seed + 100, 50) + shift})
        power.append(finding(report, "x", Quantity.MEAN).evidence.p_adjusted <= 0.05)
    assert np.mean(power) >= 0.65  # promised: 0.8 in the long run


def test_histograms_hold_every_value(compare) -> None:
    training = {"x": rng(0).lognormal(size=N), "k": rng(1).integers(0, 5, N)}
    serving = {"x": rng(2).lognormal(size=N) - 3, "k": rng(3).integers(0, 9, N)}
    report = compare(training, serving)
    for name in ("x", "k"):
        shown = summary(report, name).histogram
        assert len(shown.training) <= 64
        assert len(shown.edges) == len(shown.training) + 1
        assert list(shown.edges) == sorted(shown.edges)
        assert (sum(shown.training), sum(shown.serving)) == (N, N)
        both = np.concatenate((training[name], serving[name]))
        assert shown.edges[0] <= both.min()
        assert shown.edges[-1] >= both.max()


def test_shown_quantiles(compare) -> None:
    report = compare({"x": rng(0).normal(size=20_000)}, {"x": rng(1).normal(size=20_000)})
    shown = summary(report, "x").serving.quantiles
    expected = np.quantile(rng(1).normal(size=20_000), [float(q) for q in shown])
    assert list(shown.values()) == pytest.approx(list(expected), abs=0.03)


def test_categories_are_shown_with_new_ones(compare) -> None:
    training = [f"k{i}" for i in rng(0).integers(0, 50, 5 * N)]
    serving = ["new" if r < 0.2 else v for v, r in zip(training, rng(1).random(5 * N), strict=True)]
    shown = summary(compare({"x": training}, {"x": serving}), "x")
    new = [c for c in shown.categories if c.new]
    assert [(c.value, c.serving) for c in new] == [("new", serving.count("new"))]
    for side, total in (("training", 0), ("serving", 1)):
        counted = sum(getattr(c, side) for c in shown.categories) + shown.categories_other[total]
        assert counted == 5 * N


def test_profiles_of_other_edges_are_refused(build) -> None:
    a, _ = build({"x": numbers(0)}, {"x": numbers(1)})
    b, _ = build({"x": numbers(2)}, {"x": numbers(3)})
    now = datetime(2013, 8, 1, tzinfo=timezone.utc)
    with pytest.raises(ProfileError, match="cannot be compared"):
        decide(a, b, CompareSettings(), check_id="c", now=now)
