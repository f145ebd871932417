"""Joined rows: how many differ, and the pattern that explains them; batches merge."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest

from trueup.monitor.row_skew import RowSkew, row_skew
from trueup.monitor.skew_patterns import Pattern
from trueup.profile.join import JoinCounts
from trueup.records.input_spec import Kind, Variable
from trueup.records.report import CauseKind, Level, Quantity, Verdict

N = 400
NUMBER = Variable(name="x", dtype="float64", kind=Kind.NUMERIC)
NAME = Variable(name="x", dtype="string", kind=Kind.CATEGORICAL)
TIME = Variable(name="x", dtype="timestamp", kind=Kind.TIME)


def values(seed: int = 0) -> np.ndarray:
    return np.random.default_rng([4, seed]).normal(50.0, 20.0, N)


def skew_of(variable: Variable, before, after, previous=None) -> RowSkew:
    training, serving = (pa.array(side, from_pandas=True) for side in (before, after))
    earlier = None if previous is None else pa.array(previous, from_pandas=True)
    return row_skew(variable, training, serving, earlier)


def pattern_of(skew: RowSkew) -> Pattern:
    assert skew.pattern is not None, skew.patterns
    return skew.pattern


def gaps(x: np.ndarray) -> np.ndarray:
    return np.where(np.arange(N) % 10 == 0, np.nan, x)


NUMERIC_CASES = {
    "rounded": (lambda x: (x, np.round(x, 2)), CauseKind.ROUNDING, "2"),
    "rounded to whole": (lambda x: (x, np.rint(x).astype(int)), CauseKind.ROUNDING, "0"),
    "cut off": (lambda x: (x, np.trunc(x * 10) / 10), CauseKind.ROUNDING, "1 cut"),
    "32-bit": (lambda x: (x, x.astype(np.float32)), CauseKind.DTYPE, "float32"),
    "unit": (lambda x: (x, x * 1.609344), CauseKind.UNIT, "miles → kilometres"),
    "temperature": (lambda x: (x, (x - 32) / 1.8), CauseKind.UNIT, "°F → °C"),
    "converted and rounded": (lambda x: (x, np.round(x * 2.54, 1)), CauseKind.UNIT,
                              "inches → centimetres"),
    "default": (lambda x: (gaps(x), np.nan_to_num(gaps(x), nan=-1.0)), CauseKind.DEFAULT_FILL,
                "-1"),
    "lost": (lambda x: (x, gaps(x)), CauseKind.MISSING_JUMP, ""),
    "as text": (lambda x: (x, [f"{v:.3f}" for v in x]), CauseKind.ROUNDING, "3"),
}  # fmt: skip


@pytest.mark.parametrize("case", NUMERIC_CASES)
def test_numbers(case: str) -> None:
    make, kind, detail = NUMERIC_CASES[case]
    skew = skew_of(NUMBER, *make(values()))
    pattern = pattern_of(skew)
    assert (pattern.kind, pattern.detail) == (kind, detail)
    assert skew.level is (Level.WATCH if kind is CauseKind.DTYPE else Level.ALERT)
    assert skew.cause is not None and skew.cause.kind is kind


def test_equal_rows_are_equal() -> None:
    skew = skew_of(NUMBER, gaps(values()), gaps(values()))
    assert (skew.rows, skew.differing, skew.level, skew.cause) == (N, 0, Level.OK, None)
    again = skew_of(NUMBER, values(), values() * (1 + 1e-12))
    assert again.differing == 0
    narrow = NUMBER.model_copy(update={"dtype": "float32"})
    assert skew_of(narrow, values(), values().astype(np.float32)).differing == 0


def test_differences_without_a_pattern_are_an_alert_without_a_cause() -> None:
    skew = skew_of(NUMBER, values(0), values(1))
    assert (skew.level, skew.cause) == (Level.ALERT, None)
    assert skew.differing == N
    assert len(skew.examples) == 3


def test_stale_values() -> None:
    skew = skew_of(NUMBER, values(0), values(1), previous=values(1))
    assert pattern_of(skew).kind is CauseKind.STALE


NAMES = ["Newark Liberty", "Kennedy", "La Guardia"] * (N // 3)
NAME_CASES = {
    "case": (lambda v: v.lower(), CauseKind.LETTER_CASE, ""),
    "spaces": (lambda v: f" {v} ", CauseKind.LETTER_CASE, "spaces"),
    "cut": (lambda v: v[:5], CauseKind.TRUNCATION, "5"),
    "lost": (lambda v: None, CauseKind.MISSING_JUMP, ""),
}


@pytest.mark.parametrize("case", NAME_CASES)
def test_names(case: str) -> None:
    change, kind, detail = NAME_CASES[case]
    skew = skew_of(NAME, NAMES, [change(value) for value in NAMES])
    assert (pattern_of(skew).kind, pattern_of(skew).detail) == (kind, detail)
    assert skew.level is Level.ALERT


def test_another_type() -> None:
    skew = skew_of(NAME, ["7", "8", "9"] * 50, [7, 8, 9] * 50)
    assert pattern_of(skew).kind is CauseKind.TYPE_CHANGED


@pytest.mark.parametrize(("hours", "named"), [(-5, True), (5.5, True), (0.1, False), (30, False)])
def test_time_zones(hours: float, named: bool) -> None:
    start = datetime(2013, 7, 1, tzinfo=timezone.utc)
    before = [start + timedelta(minutes=7 * i) for i in range(N)]
    skew = skew_of(TIME, before, [moment + timedelta(hours=hours) for moment in before])
    assert skew.differing == N
    assert (skew.cause is not None) is named
    if named:
        assert pattern_of(skew).detail == f"{hours:+g} h"


def test_lists_are_compared_as_a_whole() -> None:
    listed = NAME.model_copy(update={"shape": (-1,)})
    before = [["a", "b"], ["c"], None, []]
    skew = skew_of(listed, before, [["a", "b"], ["d"], None, []])
    assert (skew.rows, skew.differing) == (4, 1)


def test_an_infinity_equals_itself_alone() -> None:
    infinite = values()
    infinite[::10] = np.inf
    assert skew_of(NUMBER, infinite, infinite).differing == 0
    assert skew_of(NUMBER, values(), infinite).differing == N // 10
    assert skew_of(NUMBER, infinite, -infinite).differing == N


def test_not_a_number_in_lists_equals_itself() -> None:
    listed = NUMBER.model_copy(update={"shape": (-1,)})
    before, after = (pa.array([[1.0, float("nan")], [float("nan")], [2.0]]) for _ in "ab")
    assert row_skew(listed, before, after).differing == 0


def test_batches_merge_to_the_whole() -> None:
    before, after = values(), np.round(values(), 1)
    whole = skew_of(NUMBER, before, after)
    parts = [skew_of(NUMBER, before[a:b], after[a:b]) for a, b in ((0, 10), (10, 250), (250, N))]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    assert merged == whole
    assert parts[0].merge(parts[1].merge(parts[2])) == whole


def test_a_few_differing_rows_are_worth_a_look() -> None:
    after = values()
    after[3] += 1.0
    skew = skew_of(NUMBER, values(), after)
    assert (skew.differing, skew.level) == (1, Level.WATCH)


def test_no_rows_at_all() -> None:
    skew = skew_of(NUMBER, np.zeros(0), np.zeros(0))
    assert (skew.rows, skew.level) == (0, Level.OK)
    assert skew.measured().effect == 0.0


def test_sides_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 training values against 1"):
        skew_of(NUMBER, [1.0, 2.0], [1.0])


def test_in_the_report_differing_rows_are_a_fault(compare) -> None:
    columns = {"x": values()}, {"x": np.round(values(), 1)}
    assert compare(*columns).verdict is Verdict.OK  # the distributions agree
    report = compare(*columns, row_skew=[skew_of(NUMBER, values(), np.round(values(), 1))])
    assert report.verdict is Verdict.FAULT
    first = report.findings[0]
    assert (first.quantity, first.cause.kind) == (Quantity.ROW_SKEW, CauseKind.ROUNDING)
    assert "rounded to 1 decimals" in report.reasons[0]
    unexplained = compare(*columns, row_skew=[skew_of(NUMBER, values(0), values(1))])
    assert unexplained.verdict is Verdict.FAULT
    assert "joined rows" in unexplained.reasons[0]


def test_what_the_join_left_out_is_said() -> None:
    counts = JoinCounts(1000, 900, 850, training_duplicates=5, serving_unmatched=45)
    notes = counts.notes(("id", "day"))
    assert "850 rows were joined by id, day" in notes[0]
    assert any("5 training rows repeat a key" in note for note in notes)
    assert any("45 serving rows have a key that the other side lacks" in note for note in notes)
