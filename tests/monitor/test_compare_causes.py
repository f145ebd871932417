"""Each cause is named where it is the cause, and not where the world changed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from trueup.records.input_spec import Kind, Role
from trueup.records.report import CauseKind, Level, Quantity, Verdict

N = 4000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng([99, seed])


def causes(report) -> set[CauseKind]:
    return {f.cause.kind for f in report.findings if f.cause is not None}


def cause_of(report, feature: str):
    return next(f.cause for f in report.findings if f.feature == feature and f.cause)


def assert_fault(report, feature: str, kind: CauseKind) -> None:
    assert report.verdict is Verdict.FAULT, report.reasons
    assert causes(report) == {kind}
    assert {f.feature for f in report.findings if f.level is not Level.OK} == {feature}
    assert feature in report.reasons[0]


def assert_drift_without_cause(report, feature: str) -> None:
    assert report.verdict is Verdict.DRIFT, report.reasons
    assert causes(report) == set(), report.reasons
    assert report.findings[0].feature == feature


SHAPES = {
    "normal": lambda r, n: r.normal(55.0, 18.0, n),
    "lognormal": lambda r, n: r.lognormal(sigma=0.8, size=n),
    "whole numbers": lambda r, n: r.poisson(40, n).astype(float) - 10,
    "few routes": lambda r, n: r.choice([94.0, 184.0, 483.0, 733.0, 1089.0, 2475.0], n),
    "uniform": lambda r, n: r.uniform(5.0, 900.0, n),
}
CONVERSIONS = {
    "kilometres": (1.609344, 0.0),
    "rounded factor": (1.609, 0.0),
    "miles": (1 / 1.609344, 0.0),
    "centimetres": (2.54, 0.0),
    "pounds": (1 / 0.45359237, 0.0),
    "metres": (0.3048, 0.0),
    "seconds": (60.0, 0.0),
    "hours": (1 / 3600, 0.0),
    "days": (1 / 24, 0.0),
    "percent": (100.0, 0.0),
    "thousandths": (0.001, 0.0),
    "millions": (1e6, 0.0),
    "Fahrenheit": (1.8, 32.0),
    "Celsius": (5 / 9, -32 * 5 / 9),
    "Kelvin": (1.0, 273.15),
}


CASES = [
    (shape, conversion)
    for shape in SHAPES
    for conversion, (_, offset) in CONVERSIONS.items()
    if not offset or shape in ("normal", "whole numbers")  # the shapes that temperatures have
]


@pytest.mark.parametrize(("shape", "conversion"), CASES)
def test_unit(compare, shape: str, conversion: str) -> None:
    factor, offset = CONVERSIONS[conversion]
    draw = SHAPES[shape]
    n = 10 * N
    report = compare(
        {"x": draw(rng(0), n), "y": rng(2).normal(size=n)},
        {"x": offset + factor * draw(rng(1), n), "y": rng(3).normal(size=n)},
    )
    assert_fault(report, "x", CauseKind.UNIT)
    found = cause_of(report, "x").parameters
    assert found["factor"] == pytest.approx(factor, rel=0.01)
    assert found["offset"] == pytest.approx(offset, rel=0.01, abs=1e-9)


REAL_CHANGES = {
    "warmer and steadier": (lambda r: r.normal(38, 8.4, N), lambda r: r.normal(81, 7.2, N)),
    "warmer": (lambda r: r.normal(38, 8, N), lambda r: r.normal(62, 8, N)),
    "doubled": (lambda r: r.normal(50, 10, N), lambda r: r.normal(100, 20, N)),
    "grown by half": (lambda r: r.lognormal(size=N), lambda r: 1.5 * r.lognormal(size=N)),
    "delays grow by the factor of a mile, in whole minutes": (
        lambda r: np.round(r.exponential(20.0, N)),
        lambda r: np.round(1.609 * r.exponential(20.0, N)),
    ),
    "another shape of ten times the size": (
        lambda r: r.lognormal(sigma=1.0, size=N),
        lambda r: r.normal(16.5, 21.6, N),
    ),
    "a second mode": (
        lambda r: r.normal(0, 1, N),
        lambda r: np.where(r.random(N) < 0.4, r.normal(6, 1, N), r.normal(0, 1, N)),
    ),
    "shifted by one standard deviation": (
        lambda r: r.exponential(1.0, N),
        lambda r: 1.0 + r.exponential(1.0, N),
    ),
    "more zeros": (
        lambda r: np.where(r.random(N) < 0.3, 0.0, r.exponential(1.0, N)),
        lambda r: np.where(r.random(N) < 0.6, 0.0, r.exponential(1.0, N)),
    ),
    "hardly ever anything but zero": (
        lambda r: np.where(r.random(N) < 0.8, 0.0, r.exponential(1.0, N)),
        lambda r: np.zeros(N),
    ),
}


@pytest.mark.parametrize("change", REAL_CHANGES)
def test_a_changed_world_has_no_cause(compare, change: str) -> None:
    before, after = REAL_CHANGES[change]
    report = compare({"x": before(rng(0))}, {"x": after(rng(1))})
    assert_drift_without_cause(report, "x")


def test_a_narrower_spread_alone_is_no_unit(compare) -> None:
    report = compare({"x": rng(0).normal(0, 10, N)}, {"x": rng(1).normal(0, 5.5, N)})
    assert_drift_without_cause(report, "x")


@pytest.mark.parametrize("value", [7.5, 55.0, -1.0])
def test_stuck_number(compare, value: float) -> None:
    report = compare({"x": rng(0).normal(55, 18, N)}, {"x": np.full(N, value)})
    assert_fault(report, "x", CauseKind.STUCK)


def test_stuck_with_gaps_and_a_few_late_rows(compare) -> None:
    serving = np.full(N, 12.0)
    serving[:20] = rng(1).integers(0, 30, 20)
    report = compare({"x": rng(0).integers(0, 30, N).astype(float)}, {"x": serving})
    assert_fault(report, "x", CauseKind.STUCK)


def test_stuck_category(compare) -> None:
    names = np.array(["AA", "UA", "DL", "B6"])
    report = compare({"x": names[rng(0).integers(0, 4, N)].tolist()}, {"x": ["UA"] * N})
    assert_fault(report, "x", CauseKind.STUCK)


def test_a_common_value_alone_is_not_stuck(compare) -> None:
    """No rain for a month: training was dry most of the time."""
    rain = np.where(rng(0).random(N) < 0.15, rng(1).exponential(size=N), 0.0)
    report = compare({"x": rain}, {"x": np.zeros(N)})
    assert CauseKind.STUCK not in causes(report)


def with_gaps(values: np.ndarray, share: float, seed: int) -> np.ndarray:
    return np.where(rng(seed).random(values.size) < share, np.nan, values)


@pytest.mark.parametrize("share", [0.03, 0.2, 0.76])
@pytest.mark.parametrize("default", [0.0, -999.0, 55.37, 40.0])
def test_default_fill_of_numbers(compare, share: float, default: float) -> None:
    training = with_gaps(rng(0).normal(55, 18, N), share, 1)
    serving = with_gaps(rng(2).normal(55, 18, N), share, 3)
    report = compare({"x": training}, {"x": np.nan_to_num(serving, nan=default)})
    assert_fault(report, "x", CauseKind.DEFAULT_FILL)
    assert cause_of(report, "x").parameters["points"] == pytest.approx(100 * share, rel=0.25)


def test_default_fill_by_a_value_that_training_often_has(compare) -> None:
    def column(seed):
        return with_gaps(rng(seed).poisson(2.0, N).astype(float), 0.1, seed + 10)

    report = compare({"x": column(0)}, {"x": np.nan_to_num(column(1), nan=0.0)})
    assert_fault(report, "x", CauseKind.DEFAULT_FILL)


@pytest.mark.parametrize("default", ["", "unknown", "k3"])
def test_default_fill_of_categories(compare, default: str) -> None:
    def column(seed):
        picks, gaps = rng(seed).integers(0, 9, N), rng(seed + 20).random(N) < 0.08
        return [None if gap else f"k{i}" for i, gap in zip(picks, gaps, strict=True)]

    filled = [default if value is None else value for value in column(1)]
    assert_fault(compare({"x": column(0)}, {"x": filled}), "x", CauseKind.DEFAULT_FILL)


def test_default_fill_below_the_threshold_is_named_but_no_alarm(compare) -> None:
    n = 60_000
    training = np.where(rng(0).random(n) < 0.005, np.nan, rng(1).normal(55, 18, n))
    serving = np.where(rng(2).random(n) < 0.005, 0.0, rng(3).normal(55, 18, n))
    report = compare({"x": training}, {"x": serving})
    assert report.verdict is Verdict.WATCH
    assert causes(report) == {CauseKind.DEFAULT_FILL}


def test_a_mended_sensor_is_no_default(compare) -> None:
    """Missing fell and ordinary values came in their place: worth a look, no alarm."""
    report = compare(
        {"x": with_gaps(rng(0).normal(55, 18, N), 0.2, 1)}, {"x": rng(2).normal(55, 18, N)}
    )
    assert report.verdict is Verdict.WATCH
    assert causes(report) == set()


def test_fewer_gaps_and_more_zeros_by_other_amounts_are_no_default(compare) -> None:
    def column(seed, gaps, zeros):
        values = np.where(rng(seed).random(N) < zeros, 0.0, rng(seed + 1).exponential(size=N))
        return with_gaps(values, gaps, seed + 2)

    report = compare({"x": column(0, 0.05, 0.1)}, {"x": column(5, 0.0, 0.4)})
    assert_drift_without_cause(report, "x")


AIRLINES = ["AA", "UA", "DL", "B6", "EV", "MQ", "US", "WN", "9E", "FL"]


def airlines(seed: int, weights=None) -> list[str]:
    return rng(seed).choice(AIRLINES, N, p=weights).tolist()


@pytest.mark.parametrize("share", [1.0, 0.3, 0.05])
def test_letter_case(compare, share: float) -> None:
    lowered = rng(5).random(N) < share
    serving = [v.lower() if low else v for v, low in zip(airlines(1), lowered, strict=True)]
    assert_fault(compare({"x": airlines(0)}, {"x": serving}), "x", CauseKind.LETTER_CASE)


def test_surrounding_spaces(compare) -> None:
    report = compare({"x": airlines(0)}, {"x": [f" {value}  " for value in airlines(1)]})
    assert_fault(report, "x", CauseKind.LETTER_CASE)
    assert "spaces" in cause_of(report, "x").statement


def test_letter_case_among_known_spellings(compare) -> None:
    """Training has both spellings; serving uses only one of them."""
    mixed = [
        v.lower() if r < 0.3 else v for v, r in zip(airlines(0), rng(4).random(N), strict=True)
    ]
    report = compare({"x": mixed}, {"x": airlines(1)})
    assert_fault(report, "x", CauseKind.LETTER_CASE)


def test_letter_case_of_thousands_of_names(compare) -> None:
    def tails(seed):
        return [f"N{i}MQ" for i in rng(seed).zipf(1.5, 3 * N) % 3000]

    report = compare({"x": tails(0)}, {"x": [value.lower() for value in tails(1)]})
    assert_fault(report, "x", CauseKind.LETTER_CASE)


def test_new_airlines_are_drift(compare) -> None:
    serving = ["ZZ" if r < 0.2 else v for v, r in zip(airlines(1), rng(3).random(N), strict=True)]
    assert_drift_without_cause(compare({"x": airlines(0)}, {"x": serving}), "x")


def test_other_shares_of_known_airlines_are_drift(compare) -> None:
    weights = np.array([5, 1, 1, 1, 1, 1, 1, 1, 1, 1]) / 14
    assert_drift_without_cause(compare({"x": airlines(0)}, {"x": airlines(1, weights)}), "x")


def test_truncated_categories(compare) -> None:
    names = ["Newark Liberty", "Kennedy", "La Guardia", "San Francisco"]
    before, after = (rng(s).choice(names, N).tolist() for s in (0, 1))
    report = compare({"x": before}, {"x": [value[:6] for value in after]})
    assert_fault(report, "x", CauseKind.TRUNCATION)


def test_truncated_texts(compare) -> None:
    def texts(seed):
        return ["word " * k + "end" for k in rng(seed).geometric(0.15, N)]

    kinds = {"x": Kind.TEXT}
    cut = [value[:40] for value in texts(1)]
    assert_fault(compare({"x": texts(0)}, {"x": cut}, kinds=kinds), "x", CauseKind.TRUNCATION)
    shorter = ["word " * k + "end" for k in rng(2).geometric(0.4, N)]
    report = compare({"x": texts(0)}, {"x": shorter}, kinds=kinds)
    assert_drift_without_cause(report, "x")


@pytest.mark.parametrize(
    ("known", "left"),
    [
        (["yes", "no", "maybe"], ["yes", "no"]),
        (["a", "b", "unknown"], ["a", "b"]),
        (["AA", "UA", "hawaiian"], ["AA", "UA"]),
    ],
)
def test_a_long_category_out_of_use_is_no_truncation(compare, known, left) -> None:
    serving = (left * 1100)[:2100]
    assert_drift_without_cause(compare({"x": known * 700}, {"x": serving}), "x")


def test_short_texts_alone_are_no_truncation(compare) -> None:
    def text(n: int, seed: int) -> list[str]:
        letters = np.random.default_rng([9, seed]).choice(list("ab cd"), (1000, n))
        return ["".join(row) for row in letters]

    mixed = text(64, 0) + text(64, 1) + text(128, 2)
    sides = {"x": mixed}, {"x": text(64, 3) + text(64, 4)}
    assert_drift_without_cause(compare(*sides, kinds={"x": Kind.TEXT}), "x")


def test_new_short_names_are_no_truncation(compare) -> None:
    serving = ["A" if r < 0.1 else v for v, r in zip(airlines(1), rng(3).random(N), strict=True)]
    report = compare({"x": airlines(0)}, {"x": serving})
    assert_drift_without_cause(report, "x")


def times(seed: int, hours: float = 0.0, peak: float = 8.0) -> list[datetime]:
    r = rng(seed)
    hour = np.where(r.random(N) < 0.6, r.normal(peak, 1.5, N), r.normal(17, 2.0, N)) % 24
    start = datetime(2013, 1, 1, tzinfo=timezone.utc)
    days = r.integers(0, 28, N)
    return [
        start + timedelta(days=int(d), hours=float(h) + hours)
        for d, h in zip(days, hour, strict=True)
    ]


@pytest.mark.parametrize("hours", [-5, 2, 9])
@pytest.mark.parametrize("role", [Role.TIME, Role.FEATURE])
def test_time_shift(compare, hours: int, role: Role) -> None:
    report = compare({"t": times(0)}, {"t": times(1, hours)}, roles={"t": role})
    assert_fault(report, "t", CauseKind.TIME_SHIFT)
    assert cause_of(report, "t").parameters["hours"] == hours


def test_another_habit_is_no_time_shift(compare) -> None:
    report = compare({"t": times(0)}, {"t": times(1, peak=12.0)}, roles={"t": Role.FEATURE})
    assert_drift_without_cause(report, "t")


def test_daylight_saving_time_is_no_fault(compare) -> None:
    report = compare({"t": times(0)}, {"t": times(1, -1)}, roles={"t": Role.TIME})
    assert report.verdict is Verdict.WATCH
    assert causes(report) == set()


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (0.02, 0.3, Verdict.FAULT),
        (0.0, 1.0, Verdict.FAULT),
        (0.02, 0.08, Verdict.DRIFT),
        (0.5, 0.55, Verdict.DRIFT),
    ],
)
def test_missing(compare, before: float, after: float, verdict: Verdict) -> None:
    training = with_gaps(rng(0).normal(size=N), before, 1)
    serving = with_gaps(rng(2).normal(size=N), after, 3)
    report = compare({"x": training}, {"x": serving})
    assert report.verdict is verdict, report.reasons
    expected = {CauseKind.MISSING_JUMP} if verdict is Verdict.FAULT else set()
    assert causes(report) == expected
    assert report.findings[0].quantity is Quantity.MISSING


def test_another_type(compare) -> None:
    report = compare({"x": rng(0).normal(size=N)}, {"x": ["a", "b"] * (N // 2)})
    assert_fault(report, "x", CauseKind.TYPE_CHANGED)


def test_some_values_of_another_type(compare) -> None:
    numbers = rng(1).normal(size=N)
    serving = ["n/a" if r < 0.1 else str(x) for x, r in zip(numbers, rng(2).random(N), strict=True)]
    report = compare({"x": rng(0).normal(size=N)}, {"x": serving})
    assert report.verdict is Verdict.FAULT
    assert causes(report) == {CauseKind.TYPE_CHANGED}
    assert report.findings[0].effect == pytest.approx(10, abs=1.5)


@pytest.mark.parametrize("rows", [6_000, 20_000, 60_000])
@pytest.mark.parametrize("factor", [100.0, 1.609344, 0.1])
def test_units_of_continuous_numbers_at_any_size(compare, rows: int, factor: float) -> None:
    """Neither the sample of frequent values nor its weights hide a conversion."""
    before, after = (np.random.default_rng([9, s]).normal(10.0, 2.0, rows) for s in (0, 1))
    report = compare({"x": before}, {"x": after * factor})
    causes = {f.cause.kind for f in report.findings if f.cause}
    assert causes == {CauseKind.UNIT}
