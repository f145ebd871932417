"""Frames in memory and Parquet: every Arrow type as one of the few leaf types."""

from __future__ import annotations

import datetime
import decimal
import math
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trueup.datasets.open import open_dataset
from trueup.errors import DataError

UTC = datetime.timezone.utc


def _every_type() -> pa.Table:
    return pa.table(
        {
            "struct": pa.array([{"a": 1, "b": {"c": "x"}}, None]),
            "lists": pa.array([[[1, 2], [3], None], None]),
            "objects": pa.array([[{"k": 1, "v": [1, 2]}, {"k": 2, "v": None}], []]),
            "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int32())),
            "decimal": pa.array([decimal.Decimal("1.25"), None], pa.decimal128(20, 2)),
            "category": pa.array(["a", None]).dictionary_encode(),
            "zoned": pa.array([0, 1000], pa.timestamp("ms", "America/New_York")),
            "naive": pa.array([0, 10**9], pa.timestamp("us")),
            "date": pa.array([0, 1], pa.date32()),
            "clock": pa.array([1500, 2], pa.time32("ms")),
            "lasted": pa.array([1, 2], pa.duration("us")),
            "small": pa.array([1, 2], pa.uint8()),
            "none": pa.nulls(2),
            "raw": pa.array([b"\xff", None]),
            "": pa.array([True, False]),
        }
    )


EXPECTED = {
    "struct.a": [1, None],
    "struct.b.c": ["x", None],
    "lists": [[1, 2, 3], None],
    "objects[].k": [[1, 2], []],
    "objects[].v": [[1, 2], []],
    "map[].key": [["a"], None],
    "map[].value": [[1], None],
    "decimal": [1.25, None],
    "category": ["a", None],
    "zoned": [datetime.datetime(1970, 1, 1, 0, 0, s, tzinfo=UTC) for s in (0, 1)],
    "naive": [datetime.datetime(1970, 1, 1, 0, m // 60, m % 60, tzinfo=UTC) for m in (0, 1000)],
    "date": [datetime.datetime(1970, 1, d, tzinfo=UTC) for d in (1, 2)],
    "clock": [1.5, 0.002],
    "lasted": [1e-6, 2e-6],
    "small": [1, 2],
    "none": [None, None],
    "raw": [b"\xff", None],
    "column_15": [True, False],
}


def test_every_arrow_type_in_memory(read):
    table = _every_type()
    assert read(table).to_pydict() == EXPECTED
    said = " ".join(open_dataset(table).notes)
    for words in ("'naive': times without a zone", "'map': a map", "column 15 has no name"):
        assert words in said


def test_every_arrow_type_in_parquet(read, tmp_path):
    path = str(tmp_path / "all.parquet")
    pq.write_table(_every_type(), path, version="2.6")
    assert read(path).to_pydict() == EXPECTED
    chosen = ["objects[].v", "column_15", "struct.b.c"]
    assert read(path, chosen).to_pydict() == {name: EXPECTED[name] for name in chosen}


def test_arrow_types_that_parquet_has_not(read):
    table = pa.table(
        {
            "half": pa.array(np.array([1.5, 2.0], dtype=np.float16)),
            "large": pa.array(["a", None], pa.large_string()),
            "pairs": pa.array([[1, 2], None], pa.list_(pa.int8(), 2)),
        }
    )
    assert read(table).to_pydict() == {
        "half": [1.5, 2.0],
        "large": ["a", None],
        "pairs": [[1, 2], None],
    }


def test_row_groups_are_partitions_and_batches_are_bounded(tmp_path):
    path = str(tmp_path / "groups.parquet")
    table = pa.table({"n": np.arange(300_000), "text": ["x" * 1000] * 300_000})
    pq.write_table(table, path, row_group_size=100_000)
    dataset = open_dataset(path)
    parts = dataset.partitions(8)
    assert len(parts) == 3
    seen = [batch for part in parts for batch in part.batches()]
    assert max(batch.nbytes for batch in seen) <= 33 << 20
    assert pa.Table.from_batches(seen)["n"].to_pylist() == list(range(300_000))


def test_pandas_values(read):
    zones = [datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=1))]
    frame = pd.DataFrame(
        {
            "mixed": [1, "x", None],
            "zones": [datetime.datetime(2013, 1, 1, tzinfo=zone) for zone in zones] + [None],
            3: [np.nan, np.inf, 1.0],
            "category": pd.Categorical(["a", None, "a"]),
            "none": [None, None, None],
            "lists": [[1, 2], [], None],
            "bags": [{"x": 1}, {"x": "a"}, None],
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "naive": pd.to_datetime(pd.Series(["2013-01-01", None, "2013-01-02"], [7, 8, 9])),
            "period": pd.period_range("2013-01", periods=3, freq="M"),
            "delta": pd.to_timedelta([1, 2, None], unit="s"),
            "sparse": pd.arrays.SparseArray([0, 0, 5]),
        },
        index=[7, 8, 9],
    )
    table = read(frame)
    values = table.to_pydict()
    assert values["mixed"] == ["1", "x", None]
    assert values["zones"][1] == datetime.datetime(2012, 12, 31, 23, tzinfo=UTC)
    assert values["3"] == [None, math.inf, 1.0]
    assert values["category"] == ["a", None, "a"]
    assert values["lists"] == [[1, 2], [], None]
    assert values["bags.x"] == ["1", "a", None]
    assert values["nullable"] == [1, None, 3]
    assert values["naive"][0] == datetime.datetime(2013, 1, 1, tzinfo=UTC)
    assert values["period"][2] == datetime.datetime(2013, 3, 1, tzinfo=UTC)
    assert values["delta"] == [1.0, 2.0, None]
    assert values["sparse"] == [0, 0, 5]
    assert table.schema.field("none").type == pa.null()
    said = " ".join(open_dataset(frame).notes)
    assert "'mixed', 'bags': values of different types" in said
    assert "'zones': times of several zones" in said
    assert "'naive', 'period': times without a zone" in said


def test_polars_frames(read):
    frame = pl.DataFrame(
        {
            "a": [1, None],
            "s": ["x", None],
            "c": pl.Series(["p", "q"], dtype=pl.Categorical),
            "t": pl.Series([1_356_998_400_000, None]).cast(pl.Datetime("ms")),
            "st": [{"u": 1.5}, {"u": None}],
        }
    )
    expected = {
        "a": [1, None],
        "s": ["x", None],
        "c": ["p", "q"],
        "t": [datetime.datetime(2013, 1, 1, tzinfo=UTC), None],
        "st.u": [1.5, None],
    }
    assert read(frame).to_pydict() == expected
    assert read(frame.lazy()).to_pydict() == expected


def test_a_pickled_partition_carries_its_rows_alone():
    frame = pd.DataFrame({"n": np.arange(1_000_000)})
    part = open_dataset(frame, name="big").partitions(4)[0]
    assert len(pickle.dumps(part)) < 1.2 * part.weight * 8


def test_one_column_in_two_thousand_slices_is_all_rows():
    frame = pd.DataFrame({"n": np.arange(10)})
    parts = open_dataset(frame).partitions(2000)
    assert sum(batch.num_rows for part in parts for batch in part.batches(["n"])) == 10


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "DataFrame has two columns named 'a'"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "two columns named '1'"),
        (pa.table([[1], [2]], names=["x", "x"]), "Table has two columns named 'x'"),
        (pd.DataFrame(), "DataFrame is empty"),
        (pd.DataFrame({"a": []}), "has columns ('a') but no rows"),
        (pd.DataFrame({"a": [1 + 2j]}), "column 'a' of DataFrame holds complex numbers"),
        (42, "a builtins.int is not a data set"),
    ],
)
def test_bad_frames_are_one_sentence(frame, sentence):
    with pytest.raises(DataError) as caught:
        open_dataset(frame)
    assert sentence in str(caught.value)


def test_unknown_columns_are_named():
    part = open_dataset(pd.DataFrame({"a": [1]})).partitions(1)[0]
    with pytest.raises(DataError, match="no column 'b'"):
        list(part.batches(["b"]))
