"""Frames in memory with whatever Python, pandas, polars and Arrow can put into a column: each
column is in the report, and the report can be shown."""

from __future__ import annotations

import datetime
import decimal
import uuid
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from trueup.comparison import Comparison, compare
from trueup.errors import DataError
from trueup.records.input_spec import Kind
from trueup.records.report import Quantity, Verdict

ROWS = 120
UTC = datetime.timezone.utc
NAIVE = datetime.datetime.fromisoformat("2020-01-31T12:00:00")
FAR_EAST = datetime.timezone(datetime.timedelta(hours=9))


def cycle(*values: object) -> pd.Series:
    return pd.Series([values[row % len(values)] for row in range(ROWS)], dtype=object)


def shown(result: Comparison) -> dict[str, str]:
    """Kind by column, of a report that can be written in every form."""
    assert result.to_json() and result.to_html() and repr(result)
    return {
        summary.feature: summary.kind.value if summary.kind else ""
        for summary in result.report.features
    }


PANDAS: dict[str, tuple[pd.Series, str]] = {
    "integers": (cycle(*range(7)), "numeric"),
    "beyond_2_53": (cycle(*range(2**53, 2**53 + 40, 2)), "numeric"),
    "beyond_2_63": (cycle(2**63, 2**70, 1), "numeric"),
    "unsigned": (pd.Series(np.full(ROWS, 2**64 - 1, np.uint64)), "numeric"),
    "half": (pd.Series(np.ones(ROWS, np.float16)), "numeric"),
    "long_double": (pd.Series(np.ones(ROWS, np.longdouble)), "numeric"),
    "decimals": (cycle(decimal.Decimal("1.5"), decimal.Decimal("NaN"), None), "numeric"),
    "nullable": (pd.Series(pd.array([1, None] * (ROWS // 2), dtype="Int64")), "numeric"),
    "nullable_bool": (
        pd.Series(pd.array([True, None] * (ROWS // 2), dtype="boolean")), "categorical"
    ),
    "strings": (pd.Series(pd.array(["a", None] * (ROWS // 2), dtype="string")), "categorical"),
    "categories": (pd.Series(pd.Categorical(["p", None] * (ROWS // 2))), "categorical"),
    "number_categories": (pd.Series(pd.Categorical([1, 2] * (ROWS // 2))), "numeric"),
    "mixed_categories": (pd.Series(pd.Categorical([1, "b"] * (ROWS // 2))), "categorical"),
    "durations": (pd.Series(pd.to_timedelta(range(ROWS), unit="s")), "numeric"),
    "periods": (pd.Series(pd.period_range("2020", periods=ROWS, freq="Q")), "time"),
    "intervals": (pd.Series(pd.interval_range(0, ROWS)), "text"),
    "sparse": (pd.Series(pd.arrays.SparseArray([0.0, 5.0, np.nan] * (ROWS // 3))), "numeric"),
    "zoned": (
        pd.Series(pd.date_range("2024-03-30", periods=ROWS, freq="h", tz="Europe/Berlin")), "time"
    ),
    "any_zone": (
        cycle(NAIVE.replace(tzinfo=UTC), NAIVE.replace(tzinfo=FAR_EAST), NAIVE, None), "time"
    ),
    "any_year": (cycle(NAIVE.replace(year=1), NAIVE.replace(year=9999)), "time"),
    "dates": (cycle(datetime.date(1, 1, 1), datetime.date(9999, 12, 31)), "time"),
    "clock": (cycle(datetime.time(1), datetime.time(23, 59)), "numeric"),
    "written_times": (cycle("2020-01-01T00:00:00+09:00", "2020-01-01"), "time"),
    "lists": (cycle([1, 2], [], None), "numeric"),
    "tuples_and_sets": (cycle((1, 2), {3}, frozenset({4})), "numeric"),
    "arrays": (cycle(np.array([1, 2]), np.array([3.5])), "numeric"),
    "matrices": (cycle(np.ones((2, 2)), np.ones((1, 2))), "numeric"),
    "number_or_list": (cycle(1.5, [2.5, 3.5]), "numeric"),
    "uuids": (cycle(*(uuid.UUID(int=number) for number in range(5))), "categorical"),
    "anything": (cycle(1, "a", 2.5, None, True, b"x", [1], {"q": 1}, object, 1j), "categorical"),
    "raw": (cycle(b"\xff\x00", b"abc"), "categorical"),
    "surrogates": (cycle("a\ud800", "b"), "categorical"),
    "nothing": (cycle(None), "categorical"),
    "nothing_but_nan": (pd.Series(np.full(ROWS, np.nan)), "numeric"),
    "empty_lists": (cycle([]), "categorical"),
    "empty_objects": (cycle({}), "categorical"),
    "infinite": (pd.Series(np.full(ROWS, np.inf)), "numeric"),
}  # fmt: skip


def test_pandas_columns_of_every_type() -> None:
    frame = pd.DataFrame({name: values for name, (values, _) in PANDAS.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = compare(frame, frame.iloc[::-1])
    assert shown(result) == {name: kind for name, (_, kind) in PANDAS.items()}
    assert result.verdict is Verdict.OK, result.report.reasons
    notes = " ".join(result.report.notes)
    assert "'any_zone': times of several zones (UTC, UTC+09:00, no zone)" in notes
    assert "'mixed_categories', 'anything': values of different types, read as strings" in notes
    assert "'durations': durations, read as seconds" in notes


@pytest.mark.parametrize("name", [name for name in PANDAS if name not in ("anything", "strings")])
def test_numbers_in_place_of_them_are_told(name: str) -> None:
    """Serving has ordinary numbers where training had something else, and the other way round."""
    odd = pd.DataFrame({"x": PANDAS[name][0]})
    plain = pd.DataFrame({"x": np.random.default_rng(1).normal(-900, 1, ROWS)})
    for sides in ((odd, plain), (plain, odd)):
        result = compare(*sides)
        moved = [f for f in result.report.findings if f.level.value != "ok"]
        roles = {summary.role.value for summary in result.report.features}
        assert moved or roles == {"id"}, (name, result.report.findings)


def test_nested_values_become_columns() -> None:
    frame = pd.DataFrame({"x": cycle({"a": 1, "b": {"c": [1.5]}}, {"a": None}, None)})
    assert set(shown(compare(frame, frame))) == {"x.a", "x.b.c"}
    flat = pd.DataFrame({"x": np.arange(ROWS) % 7})
    result = compare(flat, frame)
    assert set(shown(result)) == {"x", "x.a", "x.b.c"}
    assert result.verdict is Verdict.FAULT


def test_labels_of_columns_of_every_type() -> None:
    labels = [0, 1.5, None, pd.Timestamp("2020"), "", " ", "a\ud800", ("p", "q"), True]
    values = np.random.default_rng(2).normal(size=(ROWS, len(labels)))
    frame = pd.DataFrame(values)
    frame.columns = pd.Index(labels, dtype=object, tupleize_cols=False)
    assert list(shown(compare(frame, frame))) == [
        "0", "1.5", "column_3", "2020-01-01 00:00:00", "column_5", "column_6", "a\\ud800", "p.q",
        "True",
    ]  # fmt: skip
    pairs = pd.DataFrame(values[:, :2], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")]))
    assert list(shown(compare(pairs, pairs))) == ["a.b", "a.c"]


def test_an_index_is_no_column() -> None:
    frame = pd.DataFrame({"x": np.arange(ROWS) % 11}, index=[7] * ROWS)
    assert set(shown(compare(frame, frame.set_index(frame.x)))) == {"x"}


def test_polars_columns_of_every_type() -> None:
    frame = pl.DataFrame(
        {
            "enum": pl.Series(["a", "b"] * (ROWS // 2), dtype=pl.Enum(["a", "b"])),
            "category": pl.Series(["a", None] * (ROWS // 2), dtype=pl.Categorical),
            "date": [datetime.date(2020, 1, 1)] * ROWS,
            "clock": [datetime.time(1)] * ROWS,
            "lasted": [datetime.timedelta(days=1)] * ROWS,
            "list": [[1, 2]] * ROWS,
            "array": pl.Series([[1, 2]] * ROWS, dtype=pl.Array(pl.Int64, 2)),
            "struct": [{"a": 1}] * ROWS,
            "null": [None] * ROWS,
            "raw": [b"\xff"] * ROWS,
            "decimal": [decimal.Decimal("1.5")] * ROWS,
            "wide": pl.Series([2**100, 1] * (ROWS // 2), dtype=pl.Int128),
            "object": pl.Series([uuid.UUID(int=7)] * ROWS, dtype=pl.Object),
        }
    )
    expected = {*frame.columns, "struct.a"} - {"struct"}
    for side in (frame, frame.lazy()):
        result = compare(side, frame)
        assert set(shown(result)) == expected
        assert result.verdict is Verdict.OK, result.report.reasons


def arrow_columns() -> dict[str, pa.Array]:
    columns = {
        "dictionary": pa.array(["a", None] * (ROWS // 2)).dictionary_encode(),
        "numbers": pa.array([1, 2] * (ROWS // 2)).dictionary_encode(),
        "large_string": pa.array(["a"] * ROWS, pa.large_string()),
        "large_list": pa.array([[1]] * ROWS, pa.large_list(pa.int8())),
        "pairs": pa.array([[1, 2]] * ROWS, pa.list_(pa.int8(), 2)),
        "map": pa.array([[("a", 1)]] * ROWS, pa.map_(pa.string(), pa.int32())),
        "maps": pa.array([[[("a", 1)]]] * ROWS, pa.list_(pa.map_(pa.string(), pa.int32()))),
        "decimal128": pa.array([decimal.Decimal("1.5")] * ROWS, pa.decimal128(38, 10)),
        "decimal256": pa.array([decimal.Decimal("1.5")] * ROWS, pa.decimal256(60, 10)),
        "clock": pa.array([1] * ROWS, pa.time64("ns")),
        "lasted": pa.array([1] * ROWS, pa.duration("ms")),
        "date64": pa.array([86_400_000] * ROWS, pa.date64()),
        "beyond": pa.array([2**60, 0] * (ROWS // 2), pa.timestamp("s")),
        "no_such_zone": pa.array([1] * ROWS, pa.timestamp("us", "Mars/Phobos")),
        "half": pa.array(np.ones(ROWS, np.float16)),
        "null": pa.nulls(ROWS),
        "null_list": pa.array([None] * ROWS, pa.list_(pa.null())),
        "empty_struct": pa.array([{}] * ROWS, pa.struct([])),
        "extension": pa.ExtensionArray.from_storage(
            Sealed(), pa.array([b"0" * 16] * ROWS, pa.binary(16))
        ),
        "union": pa.UnionArray.from_sparse(
            pa.array([0, 1] * (ROWS // 2), pa.int8()),
            [pa.array([1] * ROWS), pa.array(["a"] * ROWS)],
        ),
    }  # fmt: skip
    for name in ("string_view", "binary_view"):  # Arrow 16 and later
        if hasattr(pa, name):
            value = "a" if name == "string_view" else b"a"
            columns[name] = pa.array([value] * ROWS, getattr(pa, name)())
    if hasattr(pa, "run_end_encoded"):
        columns["runs"] = pa.RunEndEncodedArray.from_arrays(pa.array([ROWS]), pa.array(["a"]))
    return columns


class Sealed(pa.ExtensionType):  # type: ignore[misc]
    """An extension type that nobody registered."""

    def __init__(self) -> None:
        super().__init__(pa.binary(16), "trueup.tests.sealed")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> Sealed:
        return cls()


def test_arrow_columns_of_every_type() -> None:
    columns = arrow_columns()
    table = pa.table(columns)
    result = compare(table, table)
    nested = {"map[].key", "map[].value", "maps[][].key", "maps[][].value"}
    assert set(shown(result)) == {*columns, *nested} - {"map", "maps"}
    assert result.verdict is Verdict.OK, result.report.reasons


def test_times_out_of_reach_are_missing_not_wrong() -> None:
    table = pa.table({"t": pa.array([2**60, 1_700_000_000] * (ROWS // 2), pa.timestamp("s"))})
    near = pa.table({"t": pa.array([1_700_000_000] * ROWS, pa.timestamp("s"))})
    found = {f.quantity: f for f in compare(near, table).report.findings}
    assert found[Quantity.MISSING].serving == 50.0


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ([1, 2], "a builtins.list is not a data set"),
        (None, "a builtins.NoneType is not a data set"),
        (pd.Series([1]), "Series is not a data set"),
        (np.ones((3, 2)), "a numpy.ndarray is not a data set"),
        (pd.DataFrame(index=range(5)), "serving is empty: it has no columns"),
        (pd.DataFrame({"a": []}), "serving has columns ('a') but no rows"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "serving has two columns named 'a'"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "serving has two columns named '1'"),
        (pd.DataFrame({"a": [1 + 2j]}), "column 'a' of serving holds complex numbers"),
        (pl.LazyFrame({"a": [1]}).select("b"), "serving cannot be collected"),
        (pa.table([[1], [1]], names=["a", "a"]), "serving has two columns named 'a'"),
    ],
)  # fmt: skip
def test_what_is_no_data_set_is_one_sentence(source: object, words: str) -> None:
    plain = pd.DataFrame({"a": np.arange(ROWS)})
    with pytest.raises(DataError) as caught:
        compare(plain, source)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_roles_are_said_in_the_report() -> None:
    frame = pd.DataFrame({"id": [f"u{n}" for n in range(ROWS)], "fare": np.arange(ROWS) % 9.0})
    summary = compare(frame, frame).report.features[0]
    assert (summary.feature, summary.kind) == ("id", Kind.CATEGORICAL)
    assert "identifier" in summary.role_reason
