"""Sums per window against pandas, and that they merge."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from trueup.datasets.infer import infer_spec
from trueup.datasets.open import open_dataset
from trueup.profile.edges import Edges
from trueup.profile.mapreduce import first_pass_dataset, series_dataset
from trueup.profile.series import LENGTH_N, SeriesBuilder, WindowSeries
from trueup.profile.window_length import chosen_length, window_seconds

DAY = 86_400.0


def frame_of(rows: int = 6_000) -> pd.DataFrame:
    rng = np.random.default_rng(21)
    start = pd.Timestamp("1969-12-20", tz="UTC")  # windows before 1970 have negative numbers
    x = rng.normal(40.0, 3.0, rows)
    x[rng.random(rows) < 0.05] = np.nan
    names = np.array(["a", "b", "c", None], dtype=object)[
        rng.choice(4, rows, p=[0.5, 0.3, 0.1, 0.1])
    ]
    frame = pd.DataFrame(
        {
            "at": start + pd.to_timedelta(rng.uniform(0, 30 * DAY, rows), unit="s"),
            "x": x,
            "name": names,
            "tags": [list("tuv")[: i % 4] if i % 10 else None for i in range(rows)],
        }
    )
    frame.loc[frame.index % 50 == 0, "at"] = pd.NaT
    return frame


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return frame_of()


def edges_of(frame: pd.DataFrame) -> Edges:
    data = open_dataset(frame)
    return first_pass_dataset(data, infer_spec(data, time="at"), workers=1)


@pytest.fixture(scope="module")
def edges(frame: pd.DataFrame) -> Edges:
    return edges_of(frame)


@pytest.fixture(scope="module")
def series(frame: pd.DataFrame, edges: Edges) -> WindowSeries:
    return series_dataset(open_dataset(frame), edges, "at", DAY, workers=1)


@pytest.fixture(scope="module")
def groups(frame: pd.DataFrame):
    timed = frame.dropna(subset=["at"])
    days = (timed["at"] - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(days=1)
    return timed.groupby(days)


def test_windows_and_rows(series, groups) -> None:
    sizes = groups.size()
    assert series.index.tolist() == sizes.index.tolist()
    assert series.index[0] < 0
    for feature in series.features.values():
        assert feature.rows.tolist() == sizes.tolist()


def test_moments_are_of_clipped_standardized_values(series, groups, edges) -> None:
    bins = edges.features["x"].numeric
    center = (bins.clip_low + bins.clip_high) / 2
    half = (bins.clip_high - bins.clip_low) / 2
    n, mean, variance = series.features["x"].moments()
    clipped = groups["x"].apply(
        lambda x: x.clip(bins.clip_low, bins.clip_high).agg(["mean", "var"])
    )
    assert n.tolist() == groups["x"].count().tolist()
    assert mean * half + center == pytest.approx(clipped.xs("mean", level=1).to_numpy(), rel=1e-12)
    assert variance * half**2 == pytest.approx(clipped.xs("var", level=1).to_numpy(), rel=1e-9)


def test_categories_lengths_and_what_is_missing(series, groups) -> None:
    name = series.features["name"]
    assert name.n.tolist() == groups["name"].count().tolist()
    for column, value in enumerate("abc"):
        expected = groups["name"].apply(lambda x, value=value: (x == value).sum())
        assert name.cells[:, column].tolist() == expected.tolist()
    tags = series.features["tags"]
    n, _, _ = tags.moments(LENGTH_N)
    assert n.tolist() == groups["tags"].count().tolist()
    lengths = groups["tags"].apply(lambda x: x.dropna().map(len).sum())
    assert tags.n.tolist() == lengths.tolist()
    assert tags.cells.sum() == lengths.sum()


def test_cells_of_numbers_are_of_similar_size(series) -> None:
    cells = series.features["x"].cells.sum(axis=0)
    assert cells.sum() == series.features["x"].n.sum()
    assert cells.max() < 1.3 * cells.mean()


def test_partitions_merge_to_the_whole(frame, edges, series) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    builders = [SeriesBuilder(edges, "at", DAY) for _ in range(2)]
    for i, batch in enumerate(table.to_batches(max_chunksize=97)):
        builders[i % 2].add(batch)
    merged = builders[0].series().merge(builders[1].series())
    assert merged.index.tolist() == series.index.tolist()
    for name, feature in merged.features.items():
        assert feature.sums == pytest.approx(series.features[name].sums, rel=1e-12, abs=1e-9)


def test_rows_without_the_time_column_are_left_out(edges) -> None:
    builder = SeriesBuilder(edges, "at", DAY)
    builder.add(pa.RecordBatch.from_pydict({"x": [1.0, 2.0]}))
    assert len(builder.series()) == 0


@pytest.mark.parametrize(
    ("days", "expected"), [(0.001, "1s"), (0.05, "1min"), (2, "1h"), (29, "1h"), (31, "1d"),
                           (999, "1d"), (1001, "1w"), (6999, "1w"), (20_000, "4w"),
                           (200_000, "4w")],
)  # fmt: skip
def test_chosen_lengths(days: float, expected: str) -> None:
    assert chosen_length(1e9, 1e9 + days * DAY) == expected
    assert window_seconds(expected) > 0
