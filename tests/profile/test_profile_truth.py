"""Every number of a profile against NumPy and pandas on the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from trueup.datasets.infer import infer_spec
from trueup.datasets.open import open_dataset
from trueup.profile.build import profile_batches
from trueup.profile.edges import MAX_BINS, MAX_VOCABULARY, Edges
from trueup.profile.first_pass import edges_of
from trueup.profile.mapreduce import first_pass_dataset, profile_dataset
from trueup.profile.states import FeatureState, NumericState, Profile
from trueup.records.input_spec import InputSpec, Kind, Missing, Variable

N = 70_000
"""More than one batch, so that merging is part of every case."""


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng([77, seed])


def profile_of(frame: pd.DataFrame, edges: Edges | None = None) -> Profile:
    data = open_dataset(frame)
    return profile_dataset(
        data, edges or first_pass_dataset(data, infer_spec(data), workers=1), workers=1
    )


def of_array(array: pa.Array, variable: Variable) -> FeatureState:
    batch = pa.RecordBatch.from_arrays([array], names=[variable.name])
    spec = InputSpec(variables=(variable,))
    return profile_batches([batch], edges_of([batch], spec)).features[variable.name]


NUMERIC_COLUMNS = {
    "normal": lambda: rng(1).normal(5, 2, N),
    "lognormal": lambda: rng(2).lognormal(1, 2, N),
    "counts": lambda: rng(3).poisson(3, N),
    "money": lambda: rng(4).integers(100, 99_999, N) / 100,
    "half zero": lambda: np.where(rng(5).random(N) < 0.5, 0.0, rng(5).normal(size=N)),
    "far away": lambda: 1.7e9 + rng(6).normal(size=N),
    "wide": lambda: 10.0 ** rng(7).uniform(-300, 300, N),
    "big integers": lambda: rng(8).integers(-(2**53), 2**53, N),
    "bits": lambda: rng(9).integers(0, 2, N),
}


@pytest.mark.parametrize("column", NUMERIC_COLUMNS)
def test_numbers(column: str) -> None:
    values = NUMERIC_COLUMNS[column]()
    profile = profile_of(pd.DataFrame({"x": values}))
    edges, state = profile.edges.features["x"].numeric, profile.features["x"].numeric
    assert edges is not None and state is not None
    x = values.astype(np.float64)
    assert_moments(state.raw, x)
    assert_moments(state.clipped, np.clip(x, edges.clip_low, edges.clip_high))
    assert state.zeros == (x == 0).sum()
    assert_bins(state, edges.edges, x)
    for quantile, bound in ((0.001, edges.clip_low), (0.999, edges.clip_high)):
        assert (x < bound).mean() <= quantile + 0.0008
        assert (x <= bound).mean() >= quantile - 0.0008
    distinct = len(np.unique(x))
    assert profile.features["x"].distinct.estimate() == pytest.approx(distinct, rel=0.1, abs=1)


def assert_moments(moments, x: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        d = x.astype(np.longdouble) - np.longdouble(x.mean())
        d -= d.mean()  # the mean of large numbers is rounded, also in a long double
        assert (moments.n, moments.minimum, moments.maximum) == (len(x), x.min(), x.max())
        reach = float(np.abs(x).max())
        assert moments.mean == pytest.approx(float(x.astype(np.longdouble).mean()), rel=1e-12,
                                             abs=1e-15 * reach)  # fmt: skip
        for power, field in ((2, "m2"), (3, "m3"), (4, "m4")):
            expected, size = float((d**power).sum()), float((np.abs(d) ** power).sum())
            if np.isfinite(size):
                assert getattr(moments, field) == pytest.approx(
                    expected, rel=1e-11, abs=1e-12 * size
                )


def assert_bins(state: NumericState, edges: np.ndarray, x: np.ndarray) -> None:
    assert 1 <= len(edges) - 1 <= MAX_BINS
    inside = np.histogram(x, edges)[0]
    assert state.counts[1:-1].tolist() == inside.tolist()
    assert state.counts[0] == (x < edges[0]).sum() == 0
    assert state.counts[-1] == (x > edges[-1]).sum() == 0


def test_bins_lie_at_the_quantiles_and_frequent_values_have_their_own() -> None:
    x = np.where(rng(10).random(N) < 0.2, 7.25, rng(10).normal(size=N))
    profile = profile_of(pd.DataFrame({"x": x}))
    edges, state = profile.edges.features["x"].numeric, profile.features["x"].numeric
    assert edges is not None and state is not None
    assert 7.25 in edges.atoms
    own = int(np.searchsorted(edges.edges, 7.25, side="right"))
    assert state.counts[own] == (x == 7.25).sum()
    others = np.delete(state.counts[1:-1], own - 1)
    assert others.max() < 3 * others.mean()
    assert state.atoms.counts[7.25] / state.atoms.sampled == pytest.approx(0.2, abs=0.02)


def test_values_beyond_training_are_under_and_overflow() -> None:
    training = profile_of(pd.DataFrame({"x": rng(11).uniform(0, 1, N)}))
    x = np.concatenate([np.full(5, -3.0), np.full(7, 9.5), [0.5]])
    state = profile_of(pd.DataFrame({"x": x}), training.edges).features["x"].numeric
    assert state is not None
    assert (state.counts[0], state.counts[-1], state.counts.sum()) == (5, 7, 13)
    assert (state.raw.minimum, state.raw.maximum) == (-3.0, 9.5)


def test_missing_wrong_and_infinite_values_are_told_apart() -> None:
    variable = Variable(
        name="x", dtype="float64", kind=Kind.NUMERIC, missing=Missing(sentinels=(-999,))
    )
    texts = ["1.5", None, "oops", "-999", "inf", "-inf", "2", "", "nan", "1e400"]
    state = of_array(pa.array(texts), variable)
    assert (state.rows, state.type_errors, state.non_finite) == (10, 1, 3)
    assert state.missing == 4
    assert state.numeric is not None
    assert (state.numeric.n, state.numeric.raw.mean) == (2, 1.75)


def test_integers_keep_what_a_float_would_round() -> None:
    variable = Variable(name="x", dtype="int64", kind=Kind.NUMERIC)
    state = of_array(pa.array([2**63 - 1, -(2**63), 2**53 + 1, None]), variable)
    assert state.numeric is not None
    assert (state.numeric.n, state.missing) == (3, 1)
    assert state.distinct.estimate() == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize(
    "values",
    [[1.7e308, -1.7e308, 1.0], [5e-324, 0.0, -5e-324], [0.0, -0.0], [1.5], [2.0] * 100],
    ids=["huge", "denormal", "zeros", "one row", "constant"],
)
def test_odd_numbers_are_counted_whole(values: list[float]) -> None:
    profile = profile_of(pd.DataFrame({"x": values}))
    state = profile.features["x"].numeric
    assert state is not None
    assert state.counts.sum() == state.n == len(values)
    assert (state.raw.minimum, state.raw.maximum) == (min(values), max(values))
    assert profile.features["x"].distinct.estimate() == pytest.approx(len(set(values)), abs=0.2)


def test_categories() -> None:
    names = rng(12).choice([f"v{i:03}" for i in range(300)], N, p=_zipf(300)).astype(object)
    names[:50] = None
    profile = profile_of(pd.DataFrame({"c": names}))
    edges, state = profile.edges.features["c"].categories, profile.features["c"].categories
    assert edges is not None and state is not None
    expected = pd.Series(names).value_counts()
    assert dict(zip(edges.values, state.counts.tolist(), strict=True)) == expected.to_dict()
    assert edges.complete
    assert state.counts.tolist() == sorted(state.counts, reverse=True)
    assert (profile.features["c"].missing, state.unseen) == (50, 0)


def test_unseen_categories_are_named() -> None:
    training = profile_of(pd.DataFrame({"c": ["a", "b"] * 500}))
    serving = ["a"] * 300 + ["new"] * 200 + [f"rare{i}" for i in range(100)]
    state = profile_of(pd.DataFrame({"c": serving}), training.edges).features["c"].categories
    assert state is not None
    assert (state.counts.sum(), state.unseen) == (300, 300)
    items = state.unseen_items
    assert next(iter(items.items)) == "new"
    assert 200 - items.error <= items.items["new"] <= 200


def test_a_vocabulary_is_bounded_and_holds_the_most_frequent() -> None:
    names = [f"v{i}" for i in range(1500) for _ in range(1 + (i < 700) * 9)]
    profile = profile_of(pd.DataFrame({"c": names}))
    edges, state = profile.edges.features["c"].categories, profile.features["c"].categories
    assert edges is not None and state is not None
    assert 700 <= len(edges.values) <= MAX_VOCABULARY
    assert not edges.complete
    assert {f"v{i}" for i in range(700)} <= set(edges.values)
    assert state.n == len(names)


def test_a_million_distinct_strings_are_bounded() -> None:
    array = pa.array([f"user-{i:07}" for i in range(1_000_000)])
    variable = Variable(name="c", dtype="string", kind=Kind.CATEGORICAL)
    state = of_array(array, variable)
    assert state.distinct.estimate() == pytest.approx(1_000_000, rel=0.1)
    assert state.categories is not None
    assert state.categories.n == 1_000_000
    assert len(state.categories.unseen_items.items) <= 32


def test_bytes_that_are_not_utf8_are_spelt_out() -> None:
    variable = Variable(name="c", dtype="bytes", kind=Kind.CATEGORICAL)
    batch = pa.RecordBatch.from_arrays([pa.array([b"ok", b"caf\xe9", None])], names=["c"])
    edges = edges_of([batch], InputSpec(variables=(variable,)))
    known = edges.features["c"].categories
    assert known is not None
    assert set(known.values) == {"ok", "caf\\xe9"}


def test_lists() -> None:
    lists = [list(np.arange(i % 5) * 1.5) if i % 7 else None for i in range(2_000)]
    lists[3] = [1.5, None, 3.0]
    profile = profile_of(pd.DataFrame({"l": lists}))
    state, present = profile.features["l"], [v for v in lists if v is not None]
    elements = [e for v in present for e in v]
    assert (state.rows, state.missing) == (2_000, lists.count(None))
    assert (state.elements, state.element_missing) == (len(elements), 1)
    assert state.numeric is not None and state.lengths is not None
    known = [e for e in elements if e is not None]
    assert state.numeric.n == len(known)
    assert state.numeric.raw.mean == pytest.approx(np.mean(known))
    assert state.lengths.raw.mean == pytest.approx(np.mean([len(v) for v in present]))


def test_nested_columns_become_leaves() -> None:
    rows: list[dict[str, Any]] = [
        {"a": {"b": i % 3, "c": [{"d": "x"}, {"d": "y"}][: i % 3]}} for i in range(300)
    ]
    profile = profile_of(pa.Table.from_pylist(rows))  # type: ignore[arg-type]
    assert set(profile.features) == {"a.b", "a.c[].d"}
    state = profile.features["a.c[].d"]
    assert state.elements == sum(len(row["a"]["c"]) for row in rows)
    assert state.lengths is not None
    assert state.lengths.raw.mean == pytest.approx(1.0)


def test_text_lengths_and_characters() -> None:
    texts = ["Ab 1!", "", "é\N{SNOWMAN}", None] * 200
    variable = Variable(name="t", dtype="string", kind=Kind.TEXT)
    state = of_array(pa.array(texts), variable)
    assert state.text is not None and state.lengths is not None
    assert state.text.empty == 200
    assert state.text.classes.tolist() == [200, 200, 200, 400, 5 * 200]
    assert state.lengths.raw.mean == pytest.approx((5 + 0 + 2) / 3)


def test_times_have_hours() -> None:
    at = pd.date_range("2013-01-01", periods=1_000, freq="37min", tz="America/New_York")
    profile = profile_of(pd.DataFrame({"at": at, "x": rng(13).normal(size=1_000)}))
    state = profile.features["at"]
    assert state.hours is not None and state.numeric is not None
    hours = at.tz_convert("UTC").hour
    assert state.hours.tolist() == np.bincount(hours, minlength=24).tolist()
    assert state.numeric.raw.minimum == at[0].timestamp()


def test_comoments_are_numpys_correlations() -> None:
    a = rng(14).normal(size=N)
    frame = pd.DataFrame({"a": a, "b": a + rng(15).normal(size=N), "c": rng(16).normal(size=N)})
    frame.loc[::3, "b"] = np.nan
    profile = profile_of(frame)
    names, comoments = profile.edges.pairs, profile.comoments
    assert comoments is not None and set(names) == {"a", "b", "c"}
    clipped = frame.copy()
    for name in names:
        edges = profile.edges.features[name].numeric
        assert edges is not None
        clipped[name] = frame[name].clip(edges.clip_low, edges.clip_high)
    for i, first in enumerate(names):
        for j, second in enumerate(names):
            pair = clipped[[first, second]].dropna()
            n = comoments.n[i, j]
            assert n == len(pair)
            covariance = comoments.products[i, j] - comoments.sums[i, j] * comoments.sums[j, i] / n
            spread = [
                comoments.squares[x, y] - comoments.sums[x, y] ** 2 / n for x, y in ((i, j), (j, i))
            ]
            found = covariance / np.sqrt(spread[0] * spread[1])
            assert found == pytest.approx(pair.corr(method="pearson").to_numpy()[0, -1], abs=1e-9)


def test_columns_of_one_side_are_told() -> None:
    training = profile_of(pd.DataFrame({"x": [1.0, 2.0], "gone": [3.5, 4.5]}))
    serving = profile_of(pd.DataFrame({"x": [1.0], "new": ["a"]}), training.edges)
    assert serving.absent == {"gone"}
    assert serving.extra == (("new", "string"),)
    assert serving.features["gone"].missing == serving.rows == 1


def test_no_batches_at_all() -> None:
    training = profile_of(pd.DataFrame({"x": [1.0, 2.0]}))
    empty = profile_batches([], training.edges)
    assert empty.rows == 0
    assert empty.features["x"].numeric is not None
    assert empty.features["x"].distinct.estimate() == 0.0


def _zipf(n: int) -> np.ndarray:
    weights = 1 / np.arange(1, n + 1)
    return weights / weights.sum()


def test_long_values_are_bounded_and_stay_different() -> None:
    """Documents and images: 256 MB of distinct values would otherwise be kept as a vocabulary."""
    long = [bytes([i % 251, i // 251]) + rng(17).bytes(3_000) for i in range(600)]
    variable = Variable(name="c", dtype="bytes", kind=Kind.CATEGORICAL)
    batch = pa.RecordBatch.from_arrays([pa.array([*long, *long, b"short"])], names=["c"])
    edges = edges_of([batch], InputSpec(variables=(variable,)))
    state = profile_batches([batch], edges).features["c"]
    known = edges.features["c"].categories
    assert known is not None and state.categories is not None and state.lengths is not None
    assert len(known.values) == 601
    assert "short" in known.values
    assert max(map(len, known.values)) < 300
    assert sorted(state.categories.counts.tolist()) == [1] + [2] * 600
    assert state.lengths.raw.mean == pytest.approx((1200 * 3_002 + 5) / 1201)


def test_lengths_of_categories_are_characters_and_of_bytes_bytes() -> None:
    texts, raw = (
        of_array(pa.array(values), Variable(name="c", dtype=dtype, kind=Kind.CATEGORICAL)).lengths
        for values, dtype in ((["é", "abc"], "string"), ([b"\xff\xfe", b"abc"], "bytes"))
    )
    assert texts is not None and raw is not None
    assert (texts.raw.minimum, texts.raw.maximum) == (1.0, 3.0)
    assert (raw.raw.minimum, raw.raw.maximum) == (2.0, 3.0)


def test_bytes_that_are_long_are_no_categories() -> None:
    images = [rng(18).bytes(500) for _ in range(200)]
    profile = profile_of(pd.DataFrame({"image": images}))
    variable, state = profile.edges.spec["image"], profile.features["image"]
    assert (variable.dtype, variable.kind) == ("bytes", Kind.TEXT)
    assert "500 bytes" in variable.reason
    assert state.lengths is not None
    assert (state.lengths.raw.minimum, state.lengths.raw.maximum) == (500.0, 500.0)


@pytest.mark.parametrize("rows", [5_000, 20_000, 70_000, 400_000])
def test_continuous_numbers_have_no_atoms(rows: int) -> None:
    """Each 37th value stands for 37: seen once or twice in the sample it is still no atom."""
    state = profile_of(pd.DataFrame({"x": rng(17).normal(size=rows)})).features["x"].numeric
    assert state is not None
    assert max(state.atoms.counts.values(), default=0) <= 1
