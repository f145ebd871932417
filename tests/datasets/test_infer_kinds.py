"""dtype, kind and shape of each variable, and why where it does not speak for itself."""

from __future__ import annotations

import decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trueup.datasets.infer import infer_spec
from trueup.datasets.open import open_dataset
from trueup.records.input_spec import Kind, Role, Variable

ROWS = 200
SENTENCE = "It rained all day and the ferry to the island was late again"


def variable(values: object) -> Variable:
    return infer_spec(open_dataset(pa.table({"x": values})))["x"]


def repeat(*values: object) -> list[object]:
    return [values[row % len(values)] for row in range(ROWS)]


@pytest.mark.parametrize(
    ("values", "dtype", "kind"),
    [
        (pa.array(repeat(1.5, None)), "float64", Kind.NUMERIC),
        (pa.array(np.ones(ROWS, np.float32)), "float32", Kind.NUMERIC),
        (pa.array(np.ones(ROWS, np.float16)), "float32", Kind.NUMERIC),
        (pa.array(repeat(3, 1), pa.int8()), "int8", Kind.NUMERIC),
        (pa.array(repeat(3, 1), pa.uint64()), "uint64", Kind.NUMERIC),
        (pa.array(repeat(decimal.Decimal("1.25"))), "float64", Kind.NUMERIC),
        (pa.array(repeat(1, 5), pa.duration("s")), "float64", Kind.NUMERIC),
        (pa.array(repeat(1, 5), pa.time32("s")), "float64", Kind.NUMERIC),
        (pa.array(repeat(True, None)), "bool", Kind.CATEGORICAL),
        (pa.array(repeat("a", "b")), "string", Kind.CATEGORICAL),
        (pa.array(repeat("a", "b")).dictionary_encode(), "string", Kind.CATEGORICAL),
        (pa.array(repeat(b"\xff", b"b")), "bytes", Kind.CATEGORICAL),
        (pa.array(repeat(0, 86_400), pa.timestamp("s")), "timestamp", Kind.TIME),
        (pa.array(repeat(0, 300), pa.date32()), "timestamp", Kind.TIME),
        (pa.array(repeat("2024-01-01", "2024-01-02")), "timestamp", Kind.TIME),
        (pa.nulls(ROWS), "string", Kind.CATEGORICAL),
        (pa.nulls(ROWS, pa.float64()), "float64", Kind.NUMERIC),
    ],
)
def test_dtype_and_kind(values: pa.Array, dtype: str, kind: Kind) -> None:
    found = variable(values)
    assert (found.dtype, found.kind, found.shape) == (dtype, kind, ())


def test_a_column_without_values_says_so() -> None:
    assert variable(pa.nulls(ROWS)).reason == "all values are missing"


@pytest.mark.parametrize(
    ("values", "dtype", "kind", "reason"),
    [
        (repeat("1.5", "-2e3", "+.5", " 7 "), "float64", Kind.NUMERIC, "100 % of its strings"),
        (["?"] * 9 + ["12"] * 191, "float64", Kind.NUMERIC, "95.5 % of its strings are numbers"),
        (["?"] * 11 + ["12"] * 189, "string", Kind.CATEGORICAL, ""),
        (repeat("007", "008"), "string", Kind.CATEGORICAL, ""),  # a number would lose the zeros
        (repeat("12,5", "7,25"), "string", Kind.CATEGORICAL, "written for people, such as '12,5'"),
        (repeat("31.12.2024", "1.1.2024"), "string", Kind.CATEGORICAL, ""),
        (repeat("1 234", "7"), "string", Kind.CATEGORICAL, "such as '1 234'"),
        (repeat("10.0.0.1", "10.0.0.2"), "string", Kind.CATEGORICAL, ""),
        (repeat("0x1F", "1e", "--1"), "string", Kind.CATEGORICAL, ""),
        (repeat(SENTENCE), "string", Kind.TEXT, "free text: 60 characters on average"),
        ([f"pair {n}" for n in range(ROWS)], "string", Kind.TEXT, "mostly different strings"),
        (repeat("New York", "Los Angeles"), "string", Kind.CATEGORICAL, ""),
        (["a b", "c d"], "string", Kind.CATEGORICAL, ""),  # too few rows to say
    ],
)
def test_strings(values: list[str], dtype: str, kind: Kind, reason: str) -> None:
    found = variable(values)
    assert (found.dtype, found.kind) == (dtype, kind)
    assert reason in found.reason
    assert reason or not found.reason


@pytest.mark.parametrize(
    ("values", "dtype", "kind"),
    [
        (repeat([1, 2], [], None), "int64", Kind.NUMERIC),
        (repeat([1.5], [2.5, None]), "float64", Kind.NUMERIC),
        (repeat(["a"], ["b", "c"]), "string", Kind.CATEGORICAL),
        (repeat([SENTENCE]), "string", Kind.TEXT),
        (repeat([[1], [2, 3]]), "int64", Kind.NUMERIC),
        (repeat([]), "string", Kind.CATEGORICAL),
    ],
)
def test_multi_valued(values: list[object], dtype: str, kind: Kind) -> None:
    found = variable(pa.array(values))
    assert (found.dtype, found.kind, found.shape) == (dtype, kind, (-1,))


def test_nested_values_are_leaves() -> None:
    rows = repeat({"a": 1, "b": {"c": "x"}, "l": [{"k": 1.5}, {"k": None}]})
    spec = infer_spec(open_dataset(pa.table({"x": rows})))
    assert [(v.name, v.kind, v.shape) for v in spec.variables] == [
        ("x.a", Kind.NUMERIC, ()),
        ("x.b.c", Kind.CATEGORICAL, ()),
        ("x.l[].k", Kind.NUMERIC, (-1,)),
    ]


def test_nulls_and_nan_make_a_variable_optional() -> None:
    assert variable(pa.array(repeat(1.0, float("nan")))).optional
    assert variable(pa.array(repeat(1, None))).optional
    assert not variable(pa.array(repeat(1, 2))).optional


def test_the_same_data_have_the_same_spec_in_every_format(tmp_path: Path) -> None:
    """But for what a format cannot say: CSV and JSON lines have one width of integers alone."""
    chance = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "fare": chance.normal(size=ROWS),
            "stops": chance.integers(0, 4, ROWS),
            "city": chance.choice(["Oslo", "Rome"], ROWS),
            "paid": chance.random(ROWS) < 0.5,
            "seen_at": pd.date_range("2024-01-01", periods=ROWS, freq="h", tz="UTC"),
        }
    )
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True, date_format="iso")
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "a.parquet")
    specs = [
        infer_spec(open_dataset(source))
        for source in (frame, *(tmp_path / f"a.{suffix}" for suffix in ("csv", "jsonl", "parquet")))
    ]
    assert specs[0]["seen_at"].role is Role.TIME
    assert all(spec == specs[0] for spec in specs[1:])


def test_rows_late_in_the_data_count(tmp_path: Path) -> None:
    """The sample is spread over the data, not its first rows."""
    folder = tmp_path / "data"
    folder.mkdir()
    for place in range(20):
        values = repeat("7") if place < 10 else repeat("seven", "eight")
        pq.write_table(pa.table({"x": values}), folder / f"{place:02}.parquet")
    assert infer_spec(open_dataset(folder))["x"].kind is Kind.CATEGORICAL
