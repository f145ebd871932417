"""Column policies: a value of JSON and of an Arrow column come out the same; nothing leaks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.config.serving import ColumnPolicy
from trueup.datasets.column_policies import ColumnPolicies
from trueup.datasets.column_policies_arrow import apply_to_batch
from trueup.datasets.iso_time import parse_time_us
from trueup.datasets.times import parse_times
from trueup.errors import ConfigError
from trueup.records.input_spec import InputSpec, Kind, Missing, Variable

KEY = bytes(range(32))
QUICK = settings(max_examples=150, deadline=None)
ARROW = {
    "float32": pa.float32(),
    "float64": pa.float64(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint64": pa.uint64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "bytes": pa.binary(),
}
FLOATS = st.floats(width=32) | st.floats(-1e6, 1e6) | st.floats()
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "float32": FLOATS,
    "float64": FLOATS,
    "int32": st.integers(-(2**31) + 2000, 2**31 - 1),
    "int64": st.integers(-(2**63) + 2000, 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "bool": st.booleans(),
    "string": st.text(),
    "bytes": st.binary(),
}


def kind_of(dtype: str) -> Kind:
    return Kind.CATEGORICAL if dtype in ("string", "bytes", "bool") else Kind.NUMERIC


def variable(dtype: str, **more: Any) -> Variable:
    return Variable(name="x", dtype=dtype, kind=kind_of(dtype), **more)  # type: ignore[arg-type]


def policies(variable: Variable | None, **policy: Any) -> ColumnPolicies:
    spec = None if variable is None else InputSpec(variables=(variable,))
    return ColumnPolicies({"x": ColumnPolicy(**policy)}, spec, KEY)


def as_json(value: Any) -> Any:
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [from_json(each) for each in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def both(rule: ColumnPolicies, values: list[Any], kind: pa.DataType) -> tuple[list[Any], list[Any]]:
    """What becomes of ``values`` as rows of JSON, and as a column."""
    rows = [rule.row({"x": value})["x"] for value in values]
    arrow = [as_arrow(value) for value in values]
    table = pa.table({"x": pa.chunked_array([pa.array(arrow, kind)])})
    changed = apply_to_batch(rule, table)
    batch = apply_to_batch(rule, pa.record_batch([pa.array(arrow, kind)], names=["x"]))
    assert batch.column(0).to_pylist() == changed["x"].to_pylist() or "nan" in str(arrow)
    return [from_json(row) for row in rows], changed["x"].to_pylist()


def as_arrow(value: Any) -> Any:
    if isinstance(value, list):
        return [as_arrow(each) for each in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


@QUICK
@given(dtype=st.sampled_from(sorted(ARROW)), data=st.data())
def test_a_hash_is_the_same_in_json_and_in_arrow(dtype: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.none() | VALUES[dtype].map(as_json), max_size=6))
    rule = policies(variable(dtype), policy="hash")
    rows, column = both(rule, values, ARROW[dtype])
    assert rows == column
    for value, hashed in zip(values, rows, strict=True):
        absent = value is None or (isinstance(value, float) and math.isnan(value))
        assert (hashed is None) is absent
        assert absent or len(hashed) == 64


@QUICK
@given(values=st.lists(st.integers(-(2**52), 2**52), min_size=1))
def test_integers_of_a_float_column_hash_as_integers(values: list[int]) -> None:
    """A column of integers with nulls is one of floats in many files."""
    rule = policies(variable("int64"), policy="hash")
    assert both(rule, values, pa.int64()) == both(rule, [float(v) for v in values], pa.float64())


@QUICK
@given(dtype=st.sampled_from(["float32", "float64"]), data=st.data())
def test_floats_are_rounded_down_alike(dtype: str, data: st.DataObject) -> None:
    multiple = data.draw(st.sampled_from([1.0, 0.1, 0.25, 7.0, 1e-3, 1e9]))
    values = data.draw(st.lists(st.none() | FLOATS, max_size=6))
    rule = policies(variable(dtype), policy="truncate", multiple=multiple)
    rows, column = both(rule, values, ARROW[dtype])
    kept = pa.array(rows, pa.float64()).cast(ARROW[dtype], safe=False).to_pylist()
    assert [value is None for value in kept] == [value is None for value in column]
    np.testing.assert_array_equal(np.array(kept, float), np.array(column, float))
    for value, rounded in zip(values, rows, strict=True):
        if value is not None and math.isfinite(value) and abs(value) < 1e9:
            assert (
                value - multiple * 1.001 - 1e-3 * abs(value)
                <= rounded
                <= value + 1e-3 + 1e-6 * abs(value)
            )


@QUICK
@given(dtype=st.sampled_from(["int32", "int64", "uint64"]), data=st.data())
def test_integers_are_rounded_down_alike(dtype: str, data: st.DataObject) -> None:
    multiple = data.draw(st.sampled_from([1, 10, 7, 1000]))
    values = data.draw(st.lists(st.none() | VALUES[dtype], max_size=6))
    rule = policies(variable(dtype), policy="truncate", multiple=multiple)
    rows, column = both(rule, values, ARROW[dtype])
    assert rows == column == [None if v is None else v - v % multiple for v in values]


@QUICK
@given(dtype=st.sampled_from(["string", "bytes"]), length=st.integers(1, 5), data=st.data())
def test_texts_are_cut_alike(dtype: str, length: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.none() | VALUES[dtype].map(as_json), max_size=6))
    rows, column = both(
        policies(variable(dtype), policy="truncate", length=length), values, ARROW[dtype]
    )
    assert rows == column
    if dtype == "string":
        assert rows == [None if v is None else v[:length] for v in values]


@QUICK
@given(
    policy=st.sampled_from(["hash", "truncate"]),
    values=st.lists(st.none() | st.lists(st.none() | st.text(max_size=4), max_size=4), max_size=5),
)
def test_lists_are_changed_element_by_element(policy: str, values: list[Any]) -> None:
    rule = policies(variable("string", shape=(-1,)), policy=policy, length=2)
    rows, column = both(rule, values, pa.list_(pa.string()))
    assert rows == column
    assert [v if v is None else len(v) for v in rows] == [
        v if v is None else len(v) for v in values
    ]


MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001


@QUICK
@given(moment=MOMENTS, hours=st.integers(-12, 12))
def test_times_hash_by_the_moment(moment: datetime, hours: int) -> None:
    rule = policies(Variable(name="x", dtype="timestamp", kind=Kind.TIME, shape=()), policy="hash")
    aware = moment.replace(tzinfo=timezone.utc)
    there = aware.astimezone(timezone(timedelta(hours=hours)))
    hashed = {
        rule.row({"x": text})["x"]
        for text in (moment.isoformat(), aware.isoformat(), there.isoformat())
    }
    column = pa.table({"x": pa.array([moment], pa.timestamp("us", "UTC"))})
    assert hashed == set(apply_to_batch(rule, column)["x"].to_pylist())


@QUICK
@given(moment=MOMENTS, zone=st.sampled_from(["", "Z", "+01:30", "-0800", "+02"]))
def test_one_time_is_read_as_a_column_of_times_is(moment: datetime, zone: str) -> None:
    text = moment.isoformat() + zone
    times, _ = parse_times(pa.array([text]))
    assert parse_time_us(text) == times[0].value


@pytest.mark.parametrize("text", ["2013-02-30", "2013-13-01", "2013-01-01T25:00", "", "1", "soon"])
def test_what_is_no_time(text: str) -> None:
    assert parse_time_us(text) is None


def test_the_hash_is_hmac_sha_256_of_name_and_value() -> None:
    rule = policies(variable("string"), policy="hash")
    expected = hmac.new(KEY, "x\0Zoë".encode(), hashlib.sha256).hexdigest()
    assert rule.row({"x": "Zoë"}) == {"x": expected}
    other = ColumnPolicies(rule.policies, rule.spec, KEY[::-1])
    assert other.row({"x": "Zoë"})["x"] != expected
    named = ColumnPolicies({"y": ColumnPolicy(policy="hash")}, None, KEY)
    assert named.row({"y": "Zoë"})["y"] != expected


def test_missing_stays_missing_under_a_hash() -> None:
    missing = Missing(sentinels=(-999, "NA"), empty_string=True)
    number = policies(variable("float32", missing=missing), policy="hash")
    assert [number.row({"x": v})["x"] for v in (None, math.nan, -999, -999.0)] == [None] * 4
    text = policies(variable("string", missing=missing), policy="hash")
    assert [text.row({"x": v})["x"] for v in (None, "NA", "")] == [None] * 3
    assert text.row({"x": "-998"})["x"] is not None


@pytest.mark.parametrize(
    ("policy", "dtype"),
    [
        (policy, dtype)
        for policy in ("hash", "truncate")
        for dtype in (None, *ARROW)
        if (policy, dtype) != ("truncate", "bool")  # refused by the configuration
    ],
)
@pytest.mark.parametrize(
    "secret",
    ["SECRETSECRET", 987654321987654321, 98765.4321, {"SECRETSECRET": {"a": "SECRETSECRET"}},
     [["SECRETSECRET"]], {"b64": "U0VDUkVUU0VDUkVU"}, {"b64": "SECRETSECRET"}],
)  # fmt: skip
def test_a_value_of_any_type_is_not_kept_as_it_is(
    policy: str, dtype: str | None, secret: Any
) -> None:
    """What is refused for its type goes through the policies too."""
    rule = policies(variable(dtype) if dtype else None, policy=policy, length=3, multiple=1000)
    written = str(rule.row({"x": secret}))
    for plain in ("SECRET", "U0VDUkVUU0VDUkVU", "987654321987654321", "98765.4", "98765432198765"):
        assert plain not in written.replace("987654321987654000", "")


def test_drop_and_names_that_nobody_declared() -> None:
    spec = InputSpec(
        variables=(variable("string"), variable("int64").model_copy(update={"name": "y"}))
    )
    rule = ColumnPolicies({"x": ColumnPolicy(policy="drop")}, spec, KEY)
    assert rule.row({"x": "a", "y": 1, "X": "a"}) == {"y": 1}
    assert rule.withheld({"x": "a", "y": 1, "X": "b"}) == ["a", "b"]
    table = pa.table({"x": ["a"], "y": [1], "z": [2]})
    assert apply_to_batch(rule, table).column_names == ["y", "z"]
    kept = ColumnPolicies({"x": ColumnPolicy()}, spec, KEY)
    assert not kept.active
    assert kept.row({"x": "a", "X": "b"}) == {"x": "a", "X": "b"}


def test_the_spec_of_what_is_captured() -> None:
    spec = InputSpec(
        variables=tuple(
            Variable(name=name, dtype="int64", kind=Kind.NUMERIC, unit="s") for name in "abcd"
        )
    )
    rule = ColumnPolicies(
        {
            "a": ColumnPolicy(policy="hash"),
            "b": ColumnPolicy(policy="drop"),
            "c": ColumnPolicy(policy="truncate"),
        },
        spec,
        KEY,
    )
    hashed, truncated, kept = rule.captured_spec().variables
    assert (hashed.name, hashed.dtype, hashed.kind, hashed.unit) == (
        "a", "string", Kind.CATEGORICAL, "",
    )  # fmt: skip
    assert (truncated, kept) == (spec["c"], spec["d"])


@pytest.mark.parametrize(
    ("policy", "dtype", "said"),
    [
        ({"y": ColumnPolicy(policy="drop")}, "string", "y names no variable .* variables are x"),
        ({"x": ColumnPolicy(policy="truncate")}, "bool", "truncate is for texts and numbers"),
        ({"x": ColumnPolicy(policy="truncate", multiple=0.5)}, "int32", "no multiple for integers"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(
    policy: dict[str, ColumnPolicy], dtype: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        ColumnPolicies(policy, InputSpec(variables=(variable(dtype),)), KEY)
