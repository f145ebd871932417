"""The merge law: however rows are split, counts are equal and moments agree to 1e-12."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trueup.datasets.infer import infer_spec
from trueup.datasets.open import open_dataset
from trueup.errors import ProfileError
from trueup.profile.build import profile_batches
from trueup.profile.codec import dumps, dumps_edges
from trueup.profile.first_pass import edges_of
from trueup.profile.mapreduce import first_pass_dataset, profile_dataset
from trueup.profile.moments import Moments
from trueup.profile.sketches import Atoms, FrequentItems, Hll
from trueup.profile.states import FeatureState, NumericState, Profile
from trueup.records.input_spec import InputSpec, Kind, Role, Variable

FLOATS = st.one_of(
    st.none(),
    st.integers(-20, 20).map(float),
    st.floats(-1e6, 1e6, allow_nan=False),
    st.sampled_from([0.0, -0.0, 1e12 + 0.25, np.inf, -np.inf, np.nan]),
)
ROWS = st.lists(
    st.tuples(
        FLOATS,
        st.one_of(st.none(), st.integers(-3, 300)),
        st.one_of(st.none(), st.sampled_from(["a", "b", "", "é"]), st.text(max_size=3)),
        st.one_of(st.none(), st.lists(st.sampled_from(["t", "u", None]), max_size=4)),
    ),
    min_size=1,
    max_size=60,
)
SPEC = InputSpec(
    variables=(
        Variable(name="x", dtype="float64", kind=Kind.NUMERIC),
        Variable(name="k", dtype="int64", kind=Kind.NUMERIC),
        Variable(name="c", dtype="string", kind=Kind.CATEGORICAL),
        Variable(name="l", dtype="string", kind=Kind.CATEGORICAL, shape=(-1,)),
        Variable(name="t", dtype="string", kind=Kind.TEXT),
        Variable(name="at", dtype="timestamp", kind=Kind.TIME, role=Role.TIME),
    )
)


def batch_of(rows: list) -> pa.RecordBatch:
    x, k, c, lists = (list(column) for column in zip(*rows, strict=True))
    return pa.RecordBatch.from_arrays(
        [
            pa.array(x, pa.float64(), from_pandas=False),
            pa.array(k, pa.int64()),
            pa.array(c, pa.string()),
            pa.array(lists, pa.list_(pa.string())),
            pa.array(c, pa.string()),
            pa.array([None if v is None else v * 3_600_000_000 for v in k],
                     pa.timestamp("us", tz="UTC")),
        ],
        names=["x", "k", "c", "l", "t", "at"],
    )  # fmt: skip


def assert_same(a: Profile, b: Profile) -> None:
    assert (a.rows, a.absent, a.extra) == (b.rows, b.absent, b.extra)
    for name, state in b.features.items():
        assert_same_feature(a.features[name], state)
    if b.comoments is not None:
        assert a.comoments is not None
        assert a.comoments.n.tolist() == b.comoments.n.tolist()
        for field in ("sums", "products", "squares"):
            known = getattr(b.comoments, field)
            assert getattr(a.comoments, field) == pytest.approx(known, rel=1e-11, abs=1e-9)


def assert_same_feature(a: FeatureState, b: FeatureState) -> None:
    for field in ("rows", "missing", "type_errors", "non_finite", "elements", "element_missing"):
        assert getattr(a, field) == getattr(b, field), field
    assert_same_numbers(a.numeric, b.numeric)
    assert_same_numbers(a.lengths, b.lengths)
    if b.categories is not None:
        assert a.categories is not None
        assert a.categories.counts.tolist() == b.categories.counts.tolist()
        assert a.categories.unseen == b.categories.unseen
        for value, count in b.categories.unseen_items.items.items():  # within the stated error
            known = a.categories.unseen_items
            assert abs(known.items.get(value, 0) - count) <= known.error + (
                b.categories.unseen_items.error
            )
    if b.text is not None:
        assert a.text is not None
        assert a.text.empty == b.text.empty
        assert a.text.classes.tolist() == b.text.classes.tolist()
    if b.hours is not None:
        assert a.hours is not None
        assert a.hours.tolist() == b.hours.tolist()
    assert a.distinct.registers.tolist() == b.distinct.registers.tolist()


def assert_same_numbers(a: NumericState | None, b: NumericState | None) -> None:
    if b is None or a is None:
        assert a is b
        return
    assert a.counts.tolist() == b.counts.tolist()
    assert a.zeros == b.zeros
    for moments, known in ((a.raw, b.raw), (a.clipped, b.clipped)):
        assert_same_moments(moments, known)


def assert_same_moments(a: Moments, b: Moments) -> None:
    assert (a.n, a.minimum, a.maximum) == (b.n, b.minimum, b.maximum)
    if not b.n:
        return
    reach = max(abs(b.minimum), abs(b.maximum), 1e-300)
    assert a.mean == pytest.approx(b.mean, rel=1e-12, abs=1e-14 * reach)
    for power, field in ((2, "m2"), (3, "m3"), (4, "m4")):
        scale = b.n * (b.maximum - b.minimum) ** power
        assert getattr(a, field) == pytest.approx(getattr(b, field), rel=1e-12, abs=1e-12 * scale)


@settings(max_examples=120, deadline=None)
@given(rows=ROWS, training=ROWS, cuts=st.lists(st.integers(0, 60), max_size=4))
def test_profiles_of_parts_merge_to_the_whole(rows: list, training: list, cuts: list) -> None:
    edges = edges_of([batch_of(training)], SPEC)
    whole = batch_of(rows)
    ends = sorted({min(cut, len(rows)) for cut in cuts} | {0, len(rows)})
    parts = [profile_batches([whole.slice(a, b - a)], edges) for a, b in pairwise(ends)]
    empty = profile_batches([], edges, whole.schema)
    expected = profile_batches([whole], edges)
    assert_same(reduce(Profile.merge, parts), expected)
    assert_same(reduce(Profile.merge, reversed(parts)), expected)
    assert_same(empty.merge(expected), expected)
    assert_same(expected.merge(empty), expected)


@settings(max_examples=60, deadline=None)
@given(a=ROWS, b=ROWS, c=ROWS)
def test_merging_is_associative_and_commutative(a: list, b: list, c: list) -> None:
    edges = edges_of([batch_of(a)], SPEC)
    x, y, z = (profile_batches([batch_of(rows)], edges) for rows in (a, b, c))
    assert_same(x.merge(y).merge(z), x.merge(y.merge(z)))
    assert_same(x.merge(y), y.merge(x))


HUGE = st.lists(
    st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1e150, 1e150),
    min_size=1,
    max_size=40,
)


@given(HUGE, HUGE)
@example([1.7e308], [-1.7e308])
@example([1.7e308, 1.6e308], [-1.7e308])
@example([1e308, 1e308], [5e307])
@example([5e-324], [0.0, 5e-324])
def test_moments_merge(a: list, b: list) -> None:
    """Whatever the numbers are; what overflows does so alike, and never the mean."""
    first, second = np.array(a), np.array(b)
    whole = Moments.of(np.concatenate([first, second]))
    merged = Moments.of(first).merge(Moments.of(second))
    assert merged.n == whole.n
    assert (merged.minimum, merged.maximum) == (whole.minimum, whole.maximum)
    near = max(1e-14 * max(abs(whole.minimum), abs(whole.maximum)), 2e-323)  # 4 least numbers
    exact = float(exact_mean(a + b))
    assert whole.mean == pytest.approx(exact, rel=1e-12, abs=near)
    assert merged.mean == pytest.approx(exact, rel=1e-12, abs=near)
    assert not np.isnan([merged.m2, merged.m4, whole.m2, whole.m4]).any()
    if np.isfinite(whole.m2):
        scale = whole.n * (whole.maximum / 2 - whole.minimum / 2) ** 2
        assert merged.m2 == pytest.approx(whole.m2, rel=1e-12, abs=1e-12 * scale)
    else:
        assert merged.m2 > 1e300


def exact_mean(values: list[float]) -> Fraction:
    return sum(map(Fraction, values), Fraction()) / len(values)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9, 1e12])
def test_many_merges_far_from_zero_keep_the_variance(offset: float) -> None:
    """A thousand windows of readings around 10¹² ± 1: a textbook sum of squares keeps no digit."""
    rng = np.random.default_rng(4)
    windows = rng.normal(size=(1000, 50)) + offset
    merged = reduce(Moments.merge, map(Moments.of, windows))
    exact = (windows - offset).ravel()  # the values that were stored, without the offset
    assert merged.mean - offset == pytest.approx(exact.mean(), abs=4 * np.spacing(offset or 1.0))
    assert merged.variance == pytest.approx(exact.var(ddof=1), rel=1e-12)


def test_hll_merges_exactly_and_estimates_within_its_error() -> None:
    rng = np.random.default_rng(6)
    hashes = rng.integers(0, 2**64, 50_000, dtype=np.uint64)
    parts = [Hll.of(part) for part in np.array_split(hashes, 7)]
    merged = reduce(Hll.merge, parts)
    assert merged.registers.tolist() == Hll.of(hashes).registers.tolist()
    assert merged.estimate() == pytest.approx(50_000, rel=3 * 0.033)


@given(st.lists(st.lists(st.sampled_from("abcdefghij"), max_size=30), min_size=1, max_size=6))
def test_frequent_items_stay_within_their_error(parts: list) -> None:
    def counted(values: list) -> dict[str, int]:
        return {value: values.count(value) for value in values}

    merged = reduce(
        FrequentItems.merge, (FrequentItems.of(counted(part), size=4) for part in parts)
    )
    truth = counted([value for part in parts for value in part])
    for value, count in truth.items():
        assert count - merged.error <= merged.items.get(value, 0) <= count
    assert merged.items.keys() <= truth.keys()


def test_atoms_of_a_merge_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(8)
    values = np.where(rng.random(40_000) < 0.3, -999.0, rng.normal(size=40_000))

    def atoms(part: np.ndarray) -> Atoms:
        distinct, counts = np.unique(part, return_counts=True)
        return Atoms.of(distinct, counts, part.size)

    merged = reduce(Atoms.merge, map(atoms, np.array_split(values, 5)))
    assert merged.sampled == 40_000
    assert merged.counts[-999.0] == pytest.approx((values == -999.0).sum(), abs=merged.error)


def test_no_rows_are_neutral_whatever_columns_they_had() -> None:
    edges = edges_of([batch_of([(1.0, 1, "a", None)] * 3)], SPEC)
    some = pa.RecordBatch.from_pydict({"x": [1.0, 2.0]})
    whole = profile_batches([some], edges)
    assert whole.absent == {"k", "c", "l", "t", "at"}
    for nothing in (profile_batches([], edges), profile_batches([], edges, some.schema)):
        assert_same(nothing.merge(whole), whole)
        assert_same(whole.merge(nothing), whole)


def test_profiles_of_other_edges_do_not_merge() -> None:
    a, b = ([(1.0, 1, "a", None)] * 3, [(2.0, 1, "b", None)] * 3)
    profiles = [profile_batches([batch_of(r)], edges_of([batch_of(r)], SPEC)) for r in (a, b)]
    with pytest.raises(ProfileError, match="cannot be merged"):
        profiles[0].merge(profiles[1])


def write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=1_000)


def write_csv(table: pa.Table, path: Path) -> None:
    table.drop(["tags"]).to_pandas().to_csv(path, index=False)


def write_json_lines(table: pa.Table, path: Path) -> None:
    path.write_text("\n".join(json.dumps(row) for row in table.to_pylist()))


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("suffix", "write"),
    [("parquet", write_parquet), ("csv", write_csv), ("jsonl", write_json_lines)],
)
def test_any_number_of_workers_gives_the_same_bytes(
    suffix: str, write: Callable[[pa.Table, Path], None], tmp_path: Path
) -> None:
    rng = np.random.default_rng(12)
    rows = 12_000
    table = pa.table(
        {
            "x": rng.normal(size=rows).round(3),
            "y": rng.lognormal(size=rows),
            "name": rng.choice([f"n{i}" for i in range(3000)], rows),
            "remark": [f"the {i}th of many different remarks, all long" for i in range(rows)],
            "tags": [list("abc")[: i % 4] for i in range(rows)],
        }
    )
    for day in range(4):
        write(table.slice(day * rows // 4, rows // 4), tmp_path / f"day-{day}.{suffix}")
    data = open_dataset(str(tmp_path))
    assert len(data.partitions(64)) > 1
    spec = infer_spec(data)
    edges = [first_pass_dataset(data, spec, workers=workers) for workers in (1, 2)]
    assert dumps_edges(edges[0]) == dumps_edges(edges[1])
    profiles = [profile_dataset(data, edges[0], workers=workers) for workers in (1, 2)]
    assert profiles[0].rows == rows
    assert dumps(profiles[0]) == dumps(profiles[1])
