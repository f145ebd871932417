"""Random columns of every shape that takes a path of its own, counted one by one beside the
profile: lattices that give up, slices with offsets, dictionaries, small and large batches, edges of
other data, broken UTF-8."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trueup.profile.build import profile_batches
from trueup.profile.canonical import spell
from trueup.profile.edges import FeatureEdges
from trueup.profile.first_pass import edges_of
from trueup.profile.states import CategoryState, FeatureState, NumericState
from trueup.records.input_spec import InputSpec, Kind, Missing, Variable

Rng = np.random.Generator

SHAPES: dict[str, Callable[[Rng, int], np.ndarray]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "whole": lambda rng, n: rng.integers(-50, 50, n).astype(float),
    "first whole, then not": lambda rng, n: np.concatenate(
        [rng.integers(0, 100, n // 2).astype(float), rng.normal(size=n - n // 2) * 50]
    ),
    "money": lambda rng, n: np.round(rng.normal(size=n) * 100, 2),
    "eighths": lambda rng, n: rng.integers(0, 3000, n) / 8,
    "magnitudes": lambda rng, n: np.exp(rng.normal(size=n) * 30),
    "negative magnitudes": lambda rng, n: -np.exp(rng.normal(size=n) * 5),
    "signed zeros": lambda rng, n: rng.choice([0.0, -0.0, 0.5, -1.5], n),
    "sorted": lambda rng, n: np.sort(rng.normal(size=n)),
    "least and largest": lambda rng, n: rng.choice([5e-324, 1e-310, 0.0, 1e308, -1e308], n),
    "constant": lambda rng, n: np.full(n, rng.normal()),
    "large integers": lambda rng, n: rng.integers(-(2**62), 2**62, n),
    "counts and a sentinel": lambda rng, n: np.where(
        rng.random(n) < 0.01, 99999.0, rng.poisson(3, n).astype(float)
    ),
}
SIZES = (1, 3, 100, 5_000, 33_000, 70_000)
WORDS = ["a", "b", "é", "", "NA", " x", "\N{SNOWMAN}" * 3, "A1!", "nan", "0"]
BYTES = [*(word.encode() for word in WORDS), b"\xff", b"caf\xe9", b"\xed\xa0\x80"]


def sliced(rng: Rng, array: pa.Array) -> list[pa.Array]:
    """A part of ``array`` that begins somewhere, whole or in pieces."""
    array = array.slice(int(rng.integers(0, min(len(array), 17))))
    if rng.random() < 0.5:
        return [array]
    return [array.slice(start, 4_999) for start in range(0, len(array), 4_999)]


def counted(
    variable: Variable, training: list[pa.Array], parts: list[pa.Array]
) -> tuple[FeatureState, FeatureEdges]:
    def batches(arrays: list[pa.Array]) -> list[pa.RecordBatch]:
        return [pa.RecordBatch.from_arrays([array], names=[variable.name]) for array in arrays]

    edges = edges_of(batches(training), InputSpec(variables=(variable,)))
    return profile_batches(batches(parts), edges).features["x"], edges.features["x"]


def number_column(rng: Rng, shape: str) -> pa.Array:
    values = SHAPES[shape](rng, int(rng.choice(SIZES)))
    null = rng.random(values.size) < rng.choice([0.0, 0.1, 0.9])
    form = rng.integers(0, 4)
    if form == 0 and values.dtype.kind == "f" and np.abs(values).max() < 1e30:
        values = values.astype(np.float32)
    if form == 1 and values.dtype.kind == "f":
        chance = rng.random(values.size)
        values = np.where(chance < 0.02, np.inf, np.where(chance > 0.98, np.nan, values))
    array = pa.array(values, mask=null, from_pandas=False)
    return array.dictionary_encode() if form == 2 and array.null_count < len(array) else array


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
def test_numbers(shape: str, seed: int) -> None:
    rng = np.random.default_rng([seed, *shape.encode()])
    parts = sliced(rng, number_column(rng, shape))
    other = number_column(rng, rng.choice([name for name in SHAPES if name != "large integers"]))
    kind = parts[0].type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    dtype = {"double": "float64", "float": "float32"}.get(str(kind), str(kind))
    variable = Variable(name="x", dtype=dtype, kind=Kind.NUMERIC)  # type: ignore[arg-type]
    state, edges = counted(variable, parts if rng.random() < 0.6 else [other], parts)

    values = [value for part in parts for value in part.to_pylist()]
    missing = sum(value is None or math.isnan(value) for value in values)
    infinite = sum(value is not None and math.isinf(value) for value in values)
    x = np.array([float(v) for v in values if v is not None and math.isfinite(v)])
    assert (state.rows, state.missing, state.non_finite) == (len(values), missing, infinite)
    assert state.type_errors == 0
    if edges.numeric is None:
        assert state.numeric is None
        return
    assert state.numeric is not None
    low, high = edges.numeric.clip_low, edges.numeric.clip_high
    assert_bins(state.numeric, edges.numeric.edges, x)
    assert_moments(state.numeric.raw, x)
    assert_moments(state.numeric.clipped, np.clip(x, low, high))
    distinct, counts = np.unique(x + 0.0, return_counts=True)
    assert state.distinct.estimate() == pytest.approx(len(distinct), rel=0.14, abs=1)
    truth = dict(zip(distinct.tolist(), counts.tolist(), strict=True))
    for value, count in state.numeric.atoms.counts.items():
        slack = state.numeric.atoms.error / state.numeric.atoms.sampled + 0.05
        share = count / state.numeric.atoms.sampled
        assert share == pytest.approx(truth[value] / x.size, abs=slack)


def assert_bins(state: NumericState, edges: np.ndarray, x: np.ndarray) -> None:
    assert (np.diff(edges) > 0).all()
    inside = x[(x >= edges[0]) & (x <= edges[-1])]
    place = np.minimum(np.searchsorted(edges, inside, side="right"), len(edges) - 1)
    expected = np.bincount(place, minlength=len(edges) + 1)
    expected[0], expected[-1] = (x < edges[0]).sum(), (x > edges[-1]).sum()
    assert state.counts.tolist() == expected.tolist()
    assert state.zeros == (x == 0).sum()


def assert_moments(moments: Any, x: np.ndarray) -> None:
    assert moments.n == x.size
    if not x.size:
        return
    assert (moments.minimum, moments.maximum) == (x.min(), x.max())
    exact = x.astype(np.longdouble)
    assert moments.mean == pytest.approx(
        float(exact.mean()), rel=1e-12, abs=1e-15 * np.abs(x).max() + 1e-323
    )
    d = exact - exact.mean()
    for power, field in ((2, "m2"), (3, "m3"), (4, "m4")):
        size = float((np.abs(d) ** power).sum())
        if size < 1e300:
            expected = pytest.approx(float((d**power).sum()), rel=1e-11, abs=2e-12 * size + 1e-300)
            assert getattr(moments, field) == expected


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("what", ["words", "bytes", "many", "lists", "text"])
def test_categories_and_texts(what: str, seed: int) -> None:
    rng = np.random.default_rng([seed, *what.encode()])
    rows, array = word_column(rng, what, int(rng.choice(SIZES[2:5])))
    missing = Missing(
        empty_string=bool(rng.random() < 0.5), sentinels=("NA",) if rng.random() < 0.5 else ()
    )
    variable = Variable(
        name="x", dtype="bytes" if what == "bytes" else "string",
        kind=Kind.TEXT if what == "text" else Kind.CATEGORICAL,
        shape=(-1,) if what == "lists" else (), missing=missing,
    )  # fmt: skip
    parts = sliced(rng, array)
    rows = rows[len(rows) - sum(map(len, parts)) :]
    state, edges = counted(variable, [parts[0].slice(0, len(parts[0]) // 2 + 1)], parts)

    elements = [e for row in rows if row is not None for e in row] if what == "lists" else rows
    words = [None if e is None else spell(e) for e in elements]
    unwanted = set(missing.sentinels) | ({""} if missing.empty_string else set())
    present = [word for word in words if word is not None and word not in unwanted]
    if what == "lists":
        assert (state.elements, state.missing) == (len(elements), rows.count(None))
        assert state.element_missing == len(elements) - len(present)
    else:
        assert state.missing == len(rows) - len(present)
    assert (state.rows, state.type_errors) == (len(rows), 0)
    assert state.distinct.estimate() == pytest.approx(len(set(present)), rel=0.14, abs=1)
    if what == "text":
        assert state.text is not None
        assert state.text.empty == present.count("")
        assert state.text.classes.sum() == sum(len(word.encode()) for word in present)
    else:
        assert state.categories is not None and edges.categories is not None
        assert_categories(state.categories, edges.categories.values, Counter(present))


def word_column(rng: Rng, what: str, n: int) -> tuple[list, pa.Array]:
    def draw(size: int) -> list:
        if what == "many":
            return [None if i % 50 == 0 else f"k{i}" for i in rng.integers(0, 40_000, size)]
        words = BYTES if what == "bytes" else WORDS
        return [None if i < 0 else words[i] for i in rng.integers(-1, len(words), size)]

    if what == "lists":
        rows = [None if rng.random() < 0.1 else draw(int(rng.integers(0, 4))) for _ in range(n)]
        kind = pa.list_(pa.string()) if rng.random() < 0.5 else pa.large_list(pa.string())
        return rows, pa.array(rows, kind)
    values = draw(n)
    kind = pa.binary() if what == "bytes" else pa.string()
    if what != "bytes" and rng.random() < 0.3:
        kind = pa.large_string()
    array = pa.array(values, kind)
    return values, array.dictionary_encode() if rng.random() < 0.3 else array


def assert_categories(state: CategoryState, vocabulary: tuple[str, ...], truth: Counter) -> None:
    assert state.counts.tolist() == [truth[value] for value in vocabulary]
    unseen = {value: count for value, count in truth.items() if value not in set(vocabulary)}
    assert state.unseen == sum(unseen.values())
    items = state.unseen_items
    assert items.error <= state.unseen / 33
    assert items.items.keys() <= unseen.keys()
    for value, count in unseen.items():
        assert count - items.error <= items.items.get(value, 0) <= count
