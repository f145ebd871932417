"""Who may see a row: properties that hold for any rows."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.records.input_spec import InputSpec, Kind, Role, Variable
from trueup.records.training import Split
from trueup.trainer.data.declared import declared
from trueup.trainer.data.event_times import microseconds
from trueup.trainer.data.row_hash import hashes_of_keys, hashes_of_rows, shares
from trueup.trainer.data.splits import (
    AFTER,
    BEFORE,
    FUTURE,
    NO_LABEL,
    NO_NUMBER,
    NO_TIME,
    QUARANTINED,
    SPLITS,
    Quarantine,
    SplitRule,
    broken_intervals,
    reason_of,
)

DAY = timedelta(days=1)
START = datetime(2024, 1, 1, tzinfo=timezone.utc)
TRAIN, TUNE, GATE = (SPLITS.index(s) for s in (Split.TRAIN, Split.TUNE, Split.GATE))

SPEC = InputSpec(
    variables=(
        Variable(name="customer", dtype="string", kind=Kind.CATEGORICAL, role=Role.ID),
        Variable(name="x", dtype="float64", kind=Kind.NUMERIC),
        Variable(name="at", dtype="timestamp", kind=Kind.TIME, role=Role.TIME),
        Variable(name="y", dtype="float64", kind=Kind.NUMERIC, role=Role.LABEL),
    )
)

CUSTOMERS = st.none() | st.integers(0, 40).map(str)
ROWS = st.lists(
    st.tuples(CUSTOMERS, st.floats(-5, 5), st.integers(0, 20 * 86_400), st.floats(0, 1)),
    min_size=1, max_size=80,
)  # fmt: skip


def batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    customer, x, seconds, y = zip(*rows, strict=True)
    at = [None if s is None else START + timedelta(seconds=s) for s in seconds]
    arrays = [pa.array(customer, pa.string()), pa.array(x, pa.float64()),
              pa.array(at, pa.timestamp("us", "UTC")), pa.array(y, pa.float64())]  # fmt: skip
    return pa.RecordBatch.from_arrays(arrays, names=["customer", "x", "at", "y"])


def rule(**changes: Any) -> SplitRule:
    values: dict[str, Any] = {
        "label": "y", "time": "at", "keys": ("customer",), "gate_share": 0.3, "tune_share": 0.2,
        "now": microseconds(START + 100 * DAY), "cut": microseconds(START + 15 * DAY),
        "tune_cut": microseconds(START + 12 * DAY), **changes,
    }  # fmt: skip
    return SplitRule(**values)


def codes(of: SplitRule, rows: list[tuple[Any, ...]]) -> np.ndarray:
    return of.assign(declared(batch(rows), SPEC).columns)[0]


@settings(deadline=None)
@given(ROWS, ROWS)
def test_a_key_never_changes_sides(first: list[Any], more: list[Any]) -> None:
    """Whatever rows there are besides, in later trainings with later cuts: who was held out is."""
    later = rule(
        cut=microseconds(START + 19 * DAY), tune_cut=microseconds(START + 18 * DAY), gate_share=0.4
    )
    old = [row for row in first if row[2] < 15 * 86_400]  # the others are the gate's by their time
    if not old:
        return
    before = codes(rule(), old)
    after = codes(later, [*more, *old])[len(more) :]
    assert (after[before == GATE] == GATE).all()
    held = {row[0] for row, code in zip(old, before, strict=True) if code == GATE and row[0]}
    everything = codes(later, [*more, *old])
    for row, code in zip([*more, *old], everything, strict=True):
        assert row[0] not in held or code == GATE


@settings(deadline=None)
@given(ROWS)
def test_each_row_is_in_one_split_and_time_only_goes_forward(rows: list[Any]) -> None:
    found = codes(rule(), rows)
    assert set(found.tolist()) <= {TRAIN, TUNE, GATE}
    seconds = np.array([row[2] for row in rows])
    assert (seconds[found == TRAIN] < 12 * 86_400).all()
    assert (seconds[found == TUNE] >= 12 * 86_400).all()
    assert (seconds[found == TUNE] < 15 * 86_400).all()
    assert (found[seconds >= 15 * 86_400] == GATE).all()


@settings(deadline=None)
@given(ROWS, st.data())
def test_the_place_of_a_row_does_not_matter(rows: list[Any], data: st.DataObject) -> None:
    for keys in ((), ("customer",)):
        of = rule(keys=keys)
        order = data.draw(st.permutations(range(len(rows))))
        moved = codes(of, [rows[place] for place in order])
        assert moved.tolist() == codes(of, rows)[list(order)].tolist()


@settings(deadline=None)
@given(ROWS)
def test_without_time_all_is_decided_by_hash(rows: list[Any]) -> None:
    of = rule(time=None, cut=None, tune_cut=None)
    found = codes(of, rows)
    sides: dict[str, int] = {}
    for row, code in zip(rows, found.tolist(), strict=True):
        if row[0] is not None:
            assert sides.setdefault(row[0], code) == code


def test_shares_are_about_what_was_asked_for() -> None:
    rows = [(str(i), 0.0, 0, 0.5) for i in range(20_000)]
    found = codes(rule(time=None, gate_share=0.05, tune_share=0.1), rows)
    assert abs((found == GATE).mean() - 0.05) < 0.01
    assert abs((found == TUNE).mean() - 0.095) < 0.01
    twice = codes(rule(time=None, gate_share=0.2, tune_share=0.1), rows)
    assert (twice[found == GATE] == GATE).all()  # a larger share only takes more


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("a", 0.0, 0, None), NO_LABEL),
        (("a", 0.0, None, None), NO_LABEL),
        (("a", 0.0, 0, float("nan")), NO_LABEL),
        (("a", 0.0, 0, float("inf")), NO_NUMBER),
        (("a", 0.0, None, 0.5), NO_TIME),
        (("a", 0.0, 101 * 86_400, 0.5), FUTURE),
        (("a", 0.0, 3600, 0.5), BEFORE),
        (("a", 0.0, 18 * 86_400, 0.5), AFTER),
        (("a", 0.0, 5 * 86_400, 0.5), QUARANTINED),
        (("a", 0.0, 6 * 86_400 - 1, 0.5), QUARANTINED),
    ],
)
def test_rows_that_nobody_sees_say_why(row: tuple[Any, ...], reason: str) -> None:
    of = rule(
        since=microseconds(START + DAY),
        until=microseconds(START + 18 * DAY),
        broken=broken_intervals([Quarantine("x", START + 5 * DAY, START + 6 * DAY)], SPEC),
    )
    good = ("a", 0.0, 6 * 86_400, 0.5)
    found = codes(of, [good, row])
    assert found[0] in (TRAIN, TUNE, GATE)
    assert reason_of(int(found[1])) == reason


def test_intervals_of_what_the_model_does_not_look_at_do_not_count() -> None:
    def one(feature: str, first: int, last: int) -> Quarantine:
        return Quarantine(feature, START + first * DAY, START + last * DAY)

    assert broken_intervals([one("customer", 1, 2), one("at", 1, 2)], SPEC) == ()
    found = broken_intervals([one("x", 5, 7), one("", 6, 9), one("unknown", 1, 2)], SPEC)
    days = [((a - microseconds(START)) // 86_400_000_000, (b - a) // 86_400_000_000)
            for a, b in found]  # fmt: skip
    assert days == [(1, 1), (5, 4)]


@pytest.mark.parametrize("values", [[7, 8], [7.0, 8.0], ["7", "8"], [b"7", b"8"]])
def test_a_key_has_one_hash_in_any_type(values: list[Any]) -> None:
    found, known = hashes_of_keys({"k": pa.array(values)}, ["k"])
    assert found.tolist() == hashes_of_keys({"k": pa.array(["7", "8"])}, ["k"])[0].tolist()
    assert known.all()


def test_hashes_are_the_same_in_every_release() -> None:
    """They decide what no version ever trains on: to change them is to train on the gate's rows."""
    keys, _ = hashes_of_keys({"k": pa.array(["anna", None]), "n": pa.array([1, 2])}, ["k", "n"])
    columns = {
        "x": pa.array([1.5, None]), "n": pa.array([3, -1]), "w": pa.array(["a", "é"]),
        "f": pa.array([True, False]), "l": pa.array([["a", "b"], None], pa.list_(pa.string())),
        "t": pa.array([1_700_000_000_000_001, 0]).cast(pa.timestamp("us", "UTC")),
    }  # fmt: skip
    rows = hashes_of_rows(columns, 2)
    assert [f"{number:016x}" for number in keys.tolist()] == KEY_HASHES
    assert [f"{number:016x}" for number in rows.tolist()] == ROW_HASHES
    assert [round(share, 9) for share in shares(keys, "gate").tolist()] == KEY_SHARES


KEY_HASHES = ["0cb109aa267b4e59", "bdc4493a788481f3"]
ROW_HASHES = ["1e47f9c244fd9485", "c3bf82cf944003d0"]
KEY_SHARES = [0.666217782, 0.172859832]


def test_a_row_has_its_hash_whatever_columns_others_bring() -> None:
    row = {"x": pa.array([1.5, 2.5]), "w": pa.array(["a", "b"])}
    more = {"new": pa.nulls(2, pa.string()), **row, "late": pa.nulls(2, pa.float64())}
    assert hashes_of_rows(more, 2).tolist() == hashes_of_rows(row, 2).tolist()
    as_float = {"x": pa.array([1.5, 2.5], pa.float32()), "w": row["w"]}
    assert hashes_of_rows(as_float, 2).tolist() == hashes_of_rows(row, 2).tolist()


def test_lists_tell_order_and_ends_apart() -> None:
    lists = [["a", "b"], ["b", "a"], ["ab"], [], None, ["a", "b"]]
    found = hashes_of_rows({"l": pa.array(lists, pa.list_(pa.string()))}, len(lists)).tolist()
    assert found[0] == found[5]
    assert len(set(found)) == 5
