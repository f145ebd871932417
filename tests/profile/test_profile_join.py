"""Rows joined by key against pandas.merge: which rows meet, with what, and what is left out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trueup.profile.join as join_module
from trueup.datasets.open import open_dataset
from trueup.profile.join import JoinCounts, KeyJoin, key_hashes


def joined(
    training: pd.DataFrame, serving: pd.DataFrame, keys: list[str], time: str | None = None
) -> tuple[JoinCounts, pd.DataFrame]:
    join = KeyJoin(open_dataset(training), open_dataset(serving), keys, time)
    columns = [c for c in training.columns if c not in keys]
    parts = []
    for rows in join.batches(columns):
        sides = {"": rows.training, "_serving": rows.serving}
        if rows.previous is not None:
            sides["_previous"] = rows.previous
        parts.append(
            pd.concat(
                [side.to_pandas().add_suffix(end) for end, side in sides.items()], axis="columns"
            )
        )
    return join.counts(), pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


KEYS = st.lists(st.one_of(st.none(), st.integers(0, 12)), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None)
@given(KEYS, KEYS)
def test_the_join_is_that_of_unique_keys(before: list, after: list) -> None:
    sides = [
        pd.DataFrame({"id": pd.array(keys, dtype="Int64"), "row": np.arange(len(keys)) * 1.0})
        for keys in (before, after)
    ]
    counts, rows = joined(sides[0], sides[1], ["id"])
    unique = [side.dropna().drop_duplicates("id", keep=False) for side in sides]
    expected = unique[0].merge(unique[1], on="id", suffixes=("", "_serving"))
    assert counts.joined == len(expected)
    pairs = [] if rows.empty else list(zip(rows["row"], rows["row_serving"], strict=True))
    assert sorted(pairs) == sorted(zip(expected["row"], expected["row_serving"], strict=True))
    for side, total, twice, alone, without in (
        (sides[0], counts.training_rows, counts.training_duplicates, counts.training_unmatched,
         counts.training_without_key),
        (sides[1], counts.serving_rows, counts.serving_duplicates, counts.serving_unmatched,
         counts.serving_without_key),
    ):  # fmt: skip
        assert total == len(side)
        assert without == side["id"].isna().sum()
        assert twice == side["id"].dropna().duplicated(keep=False).sum()
        assert counts.joined + twice + alone + without == total


def test_many_buckets_give_what_one_gives(monkeypatch) -> None:
    rng = np.random.default_rng(5)
    before = pd.DataFrame({"id": np.arange(5_000), "x": rng.normal(size=5_000)})
    after = before.sample(4_000, random_state=1).assign(x=lambda f: f["x"] * 2)
    one = joined(before, after, ["id"])
    monkeypatch.setattr(join_module, "BUCKET_ROWS", 100)
    many = joined(before, after, ["id"])
    assert one[0] == many[0] == JoinCounts(5_000, 4_000, 4_000, training_unmatched=1_000)
    assert sorted(many[1]["x"]) == sorted(one[1]["x"])
    assert (many[1]["x_serving"] == 2 * many[1]["x"]).all()


def test_keys_of_other_types_are_the_same_key() -> None:
    batches = [
        pa.RecordBatch.from_pydict({"id": pa.array(values)})
        for values in ([7, 8, None], [7.0, 8.0, None], ["7", "8", None])
    ]
    hashes = [key_hashes(batch, ["id"]).tolist() for batch in batches]
    assert hashes[0] == hashes[1] == hashes[2]
    assert hashes[0][2] == 0
    assert len(set(hashes[0])) == 3


def test_keys_of_several_columns_are_ordered() -> None:
    batch = pa.RecordBatch.from_pydict({"a": ["x", "y"], "b": ["y", "x"]})
    a, b = key_hashes(batch, ["a", "b"])
    assert a != b
    assert key_hashes(batch, ["b", "a"])[1] == a


def test_with_a_time_the_row_before_comes_along() -> None:
    hours = pd.date_range("2013-07-01", periods=6, freq="h", tz="UTC")
    before = pd.DataFrame(
        {
            "station": ["EWR"] * 6 + ["JFK"] * 6,
            "at": [*hours, *hours[::-1]],
            "temp": [*np.arange(6.0), *(100.0 - np.arange(6.0))],
        }
    )
    after = before[before["at"] != hours[2]]
    counts, rows = joined(before, after, ["station", "at"], time="at")
    assert counts.joined == 10
    expected = before.sort_values(["station", "at"])
    expected["previous"] = expected.groupby("station")["temp"].shift()
    expected = expected[expected["at"] != hours[2]]
    assert dict(zip(rows["temp"], rows["temp_previous"].fillna(-1.0), strict=True)) == dict(
        zip(expected["temp"], expected["previous"].fillna(-1.0), strict=True)
    )


def test_nothing_in_common() -> None:
    sides = [pd.DataFrame({"id": ids, "x": [1.0, 2.0]}) for ids in ([1, 2], [3, 4])]
    counts, rows = joined(sides[0], sides[1], ["id"])
    assert counts == JoinCounts(2, 2, 0, training_unmatched=2, serving_unmatched=2)
    assert rows.empty


@pytest.mark.parametrize("column", ["id", "when"])
def test_a_key_that_is_all_null(column: str) -> None:
    frame = pd.DataFrame({"id": [1, 2], "when": [None, None], "x": [0.5, 1.5]})
    counts, _ = joined(frame, frame, ["id", "when"])
    assert counts.training_without_key == 2
