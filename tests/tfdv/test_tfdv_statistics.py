"""Statistics out: our numbers where TFDV's are, and as TFDV has them on the same frame."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trueup.profile.states import Profile
from trueup.tfdv.baseline import from_statistics
from trueup.tfdv.files import read_statistics
from trueup.tfdv.process import TfdvProcess
from trueup.tfdv.protos import protos
from trueup.tfdv.statistics import BINS, to_statistics, write_statistics

EXACT: dict[str, Any] = {"rel": 1e-9, "abs": 1e-12}
COMMON = (
    "num_non_missing", "num_missing", "min_num_values", "max_num_values", "avg_num_values",
    "tot_num_values",
)  # fmt: skip


ProfileOf = Callable[..., Profile]
Generate = Callable[[pd.DataFrame], Any]


def by_name(statistics: Any) -> dict[str, Any]:
    return {feature.path.step[0]: feature for feature in statistics.datasets[0].features}


def rows(histogram: Any) -> np.ndarray:
    return np.array([(b.low_value, b.high_value, b.sample_count) for b in histogram.buckets])


@pytest.mark.heavy
def test_numbers_are_those_of_tfdv_on_the_same_frame(
    generate: Generate, flights: pd.DataFrame, profile_of: ProfileOf
) -> None:
    frame = flights
    ours = by_name(to_statistics(profile_of(frame)))
    theirs = by_name(generate(frame))
    assert ours.keys() == theirs.keys() == set(frame.columns)
    for name, expected in theirs.items():
        feature = ours[name]
        assert feature.type == expected.type, name
        kind = expected.WhichOneof("stats")
        assert feature.WhichOneof("stats") == kind, name
        mine, his = getattr(feature, kind), getattr(expected, kind)
        for field in COMMON:
            assert getattr(mine.common_stats, field) == getattr(his.common_stats, field), name
        if kind == "num_stats":
            for field in ("mean", "std_dev", "num_zeros", "min", "max"):
                assert getattr(mine, field) == pytest.approx(getattr(his, field), **EXACT), name
            assert [h.type for h in mine.histograms] == [h.type for h in his.histograms]
            values = frame[name].dropna().astype(float)
            share = (values < mine.median).mean(), (values <= mine.median).mean()
            assert share[0] - 0.01 <= 0.5 <= share[1] + 0.01, name
            for histogram, other in zip(mine.histograms, his.histograms, strict=True):
                assert rows(histogram)[:, 2].sum() == pytest.approx(values.size)
                assert rows(histogram).shape == rows(other).shape
            standard, his_standard = rows(mine.histograms[0]), rows(his.histograms[0])
            assert standard[:, :2] == pytest.approx(his_standard[:, :2], rel=1e-9, abs=1e-9)
            assert np.abs(standard[:, 2] - his_standard[:, 2]).max() <= 0.01 * values.size, name
        else:
            assert mine.unique == his.unique, name
            assert mine.avg_length == pytest.approx(his.avg_length, rel=1e-6)  # 32-bit in the proto
            assert list(mine.top_values) == list(his.top_values), name
            assert mine.rank_histogram == his.rank_histogram, name


@pytest.mark.heavy
def test_std_dev_divides_by_n_as_tfdv_does(generate: Generate, profile_of: ProfileOf) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 4.0, 4.5]})
    theirs = by_name(generate(frame))["x"].num_stats.std_dev
    ours = by_name(to_statistics(profile_of(frame)))["x"].num_stats.std_dev
    assert theirs == pytest.approx(frame["x"].std(ddof=0), **EXACT)
    assert ours == pytest.approx(theirs, **EXACT)


@pytest.mark.heavy
def test_lists_have_the_valency_that_tfdv_finds(
    generate: Generate, lists: pd.DataFrame, profile_of: ProfileOf
) -> None:
    frame = lists
    ours = by_name(to_statistics(profile_of(frame)))
    theirs = by_name(generate(frame))
    for name, kind in (("scores", "num_stats"), ("tags", "string_stats")):
        mine, his = getattr(ours[name], kind), getattr(theirs[name], kind)
        for field in COMMON:
            assert getattr(mine.common_stats, field) == getattr(his.common_stats, field), name
        lengths = rows(mine.common_stats.num_values_histogram)
        assert lengths[:, 2].sum() == pytest.approx(mine.common_stats.num_non_missing)
    numbers, his_numbers = ours["scores"].num_stats, theirs["scores"].num_stats
    for field in ("mean", "std_dev", "num_zeros", "min", "max"):
        assert getattr(numbers, field) == pytest.approx(getattr(his_numbers, field), **EXACT)
    assert ours["tags"].string_stats.unique == theirs["tags"].string_stats.unique
    assert ours["tags"].string_stats.rank_histogram == theirs["tags"].string_stats.rank_histogram


@pytest.mark.heavy
def test_tfdv_infers_a_schema_validates_and_draws_our_statistics(
    tfdv: TfdvProcess, flights: pd.DataFrame, profile_of: ProfileOf
) -> None:
    profile = profile_of(flights)
    statistics = to_statistics(profile, name="flights")
    schema = tfdv.infer_schema(statistics)
    types = protos().schema.FeatureType
    found = {feature.name: types.Name(feature.type) for feature in schema.feature}
    assert found["dep_delay"] == "FLOAT"
    assert found["distance"] == "INT"
    assert found["carrier"] == "BYTES"
    late = next(feature for feature in schema.feature if feature.name == "late")
    assert late.HasField("bool_domain")
    domain = next(domain for domain in schema.string_domain if domain.name == "origin")
    assert set(domain.value) == {"EWR", "JFK", "LGA"}
    assert tfdv.validate(statistics, schema).anomalies == ()

    changed = flights.assign(origin=flights["origin"].str.lower())
    serving = to_statistics(profile_of(changed, profile.edges), name="serving")
    anomalies = tfdv.validate(serving, schema).anomalies
    assert {(a.feature, a.reason) for a in anomalies} == {
        ("origin", "ENUM_TYPE_UNEXPECTED_STRING_VALUES")
    }
    assert "<facets-overview" in tfdv.statistics_html(statistics, serving)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("stats.pb", "load_stats_binary"),
        ("stats.pbtxt", "load_statistics"),
        ("stats.tfrecord", "load_statistics"),
    ],
)
def test_tfdv_loads_what_we_write(
    tfdv: TfdvProcess,
    tmp_path: Path,
    name: str,
    reader: str,
    lists: pd.DataFrame,
    profile_of: ProfileOf,
) -> None:
    path = tmp_path / name
    profile = profile_of(lists)
    write_statistics(profile, path, name="lists")
    output = tfdv.run("load", {}, {"path": str(path), "reader": reader})
    expected = to_statistics(profile, name="lists")
    assert protos().statistics.DatasetFeatureStatisticsList.FromString(output) == expected
    assert read_statistics(path) == expected


@pytest.mark.heavy
def test_statistics_of_tfdv_become_a_baseline(
    generate: Generate, flights: pd.DataFrame, profile_of: ProfileOf
) -> None:
    frame = flights
    baseline = from_statistics(generate(frame))
    profile = profile_of(frame, baseline.edges)
    for name, state in baseline.profile.features.items():
        counted = profile.features[name]
        assert (state.rows, state.missing) == (counted.rows, counted.missing), name
        if state.numeric is not None:
            assert counted.numeric is not None
            mine, raw = state.numeric.raw, counted.numeric.raw
            assert (mine.n, state.numeric.zeros) == (raw.n, counted.numeric.zeros), name
            assert mine.mean == pytest.approx(raw.mean, **EXACT)
            assert mine.variance == pytest.approx(raw.variance, **EXACT)
            assert (mine.minimum, mine.maximum) == (raw.minimum, raw.maximum)
            assert mine.kurtosis >= raw.kurtosis * 0.99, name  # an upper bound
            off = np.abs(state.numeric.counts - counted.numeric.counts).max() / raw.n
            assert off <= 0.02, (name, off)  # TFDV's quantiles are sketched
            assert counted.numeric.counts[[0, -1]].tolist() == [0, 0]
        elif state.categories is not None:
            assert counted.categories is not None
            assert state.categories.counts.tolist() == counted.categories.counts.tolist()
            assert counted.categories.unseen == counted.type_errors == 0
    assert any("fourth moment" in note for note in baseline.notes)
    assert any("variation between windows" in note for note in baseline.notes)


def test_a_profile_comes_back_to_the_last_count(
    flights: pd.DataFrame, lists: pd.DataFrame, profile_of: ProfileOf
) -> None:
    for frame in (flights, lists):
        profile = profile_of(frame)
        baseline = from_statistics(to_statistics(profile))
        assert baseline.profile.rows == profile.rows
        assert baseline.profile.features.keys() == profile.features.keys()
        for name, state in profile.features.items():
            back = baseline.profile.features[name]
            for field in ("rows", "missing", "type_errors", "elements", "element_missing"):
                assert getattr(back, field) == getattr(state, field), (name, field)
            if state.numeric is not None:
                assert back.numeric is not None
                assert back.numeric.counts.tolist() == state.numeric.counts.tolist()
                assert back.numeric.raw.kurtosis == pytest.approx(state.numeric.raw.kurtosis)
                edges = baseline.edges.features[name].numeric
                known = profile.edges.features[name].numeric
                assert edges is not None and known is not None
                assert edges.edges.tolist() == known.edges.tolist()
            if state.categories is not None:
                vocabulary = profile.edges.features[name].categories
                read = baseline.edges.features[name].categories
                assert back.categories is not None
                assert read is not None and vocabulary is not None
                counts = dict(zip(read.values, back.categories.counts, strict=True))
                assert counts == dict(zip(vocabulary.values, state.categories.counts, strict=True))
            assert back.distinct.estimate() == pytest.approx(state.distinct.estimate(), rel=0.15)


def test_our_bins_are_a_custom_statistic(profile_of: ProfileOf) -> None:
    profile = profile_of(pd.DataFrame({"x": [0.0, 0.0, 1.0, 2.5, 7.0]}))
    feature = by_name(to_statistics(profile))["x"]
    custom = {statistic.name: statistic for statistic in feature.custom_stats}
    assert rows(custom[BINS].histogram)[:, 2].sum() == 5


@pytest.mark.parametrize(
    "column",
    [
        [None, None, None],
        [3.0, 3.0, 3.0],
        [7],
        [np.inf, 1.0, -np.inf, 2.0],
        [0, 0, 1],
        ["only"],
        ["", "", None],
        [True, False, None],
        [-1.5e308, 1.5e308],
        [5e-324, 0.0],
        [1e-100, 3e-100, 1e-100],
    ],
    ids=str,
)
def test_odd_columns_go_out_and_come_back(column: list[Any], profile_of: ProfileOf) -> None:
    profile = profile_of(pd.DataFrame({"x": column, "row": range(len(column))}))
    statistics = to_statistics(profile)
    state = profile.features["x"]
    feature = by_name(statistics)["x"]
    common = getattr(feature, feature.WhichOneof("stats")).common_stats
    assert common.num_non_missing == state.present
    assert common.num_missing == state.rows - state.present
    back = from_statistics(statistics).profile.features["x"]
    assert (back.rows, back.missing, back.non_finite) == (
        state.rows,
        state.missing,
        state.non_finite,
    )
    if state.numeric is not None and state.numeric.n:
        assert back.numeric is not None
        assert back.numeric.counts.tolist() == state.numeric.counts.tolist()
        assert back.numeric.raw.mean == pytest.approx(state.numeric.raw.mean)
