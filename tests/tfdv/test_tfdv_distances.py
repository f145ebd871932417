"""Our distances against TFDV's own, on the same protos."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest

from trueup.errors import DataError
from trueup.tfdv import distances
from trueup.tfdv.process import TfdvProcess
from trueup.tfdv.protos import protos

TOLERANCE = 1e-9


class Pair(NamedTuple):
    """A feature in current and previous statistics; rows of (low, high, count), or labels."""

    name: str
    current: Any
    previous: Any
    current_nan: int = 0
    previous_nan: int = 0


def histogram(values: np.ndarray, edges: np.ndarray) -> list[tuple[float, float, float]]:
    counts, _ = np.histogram(values, edges)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True))


def quantile_rows(values: np.ndarray, buckets: int) -> list[tuple[float, float, float]]:
    """Buckets at the quantiles, with points where a value spans several, as TFDV makes them."""
    edges = np.quantile(values, np.linspace(0, 1, buckets + 1), method="lower")
    share = len(values) / buckets
    return [(float(a), float(b), share) for a, b in pairwise(edges)]


def numeric_pairs() -> Iterator[Pair]:
    rng = np.random.default_rng(20130701)
    a, b = rng.normal(size=4000), rng.normal(size=3000)
    tail = rng.pareto(1.1, size=5000)
    yield Pair("random_split", quantile_rows(a[:2000], 10), quantile_rows(a[2000:], 10))
    yield Pair("same", quantile_rows(a, 10), quantile_rows(a, 10))
    yield Pair(
        "same_edges", histogram(a, np.linspace(-5, 5, 11)), histogram(b, np.linspace(-5, 5, 11))
    )
    yield Pair(
        "other_edges", histogram(a, np.linspace(-4, 4, 8)), histogram(b, np.linspace(-5, 3, 13))
    )
    yield Pair("shifted", quantile_rows(a, 10), quantile_rows(a + 1.5, 7))
    yield Pair("disjoint", quantile_rows(a, 10), quantile_rows(a + 100.0, 10))
    yield Pair("touching", [(0.0, 1.0, 5.0)], [(1.0, 2.0, 5.0)])
    yield Pair("nested", [(0.0, 10.0, 8.0)], [(2.0, 3.0, 1.0), (3.0, 7.0, 4.0)])
    yield Pair("heavy_tail", quantile_rows(tail[:2500], 10), quantile_rows(tail[2500:], 10))
    yield Pair("constant", [(3.0, 3.0, 7.0)], [(3.0, 3.0, 70.0)])
    yield Pair("constants_differ", [(3.0, 3.0, 7.0)], [(4.0, 4.0, 7.0)])
    yield Pair("constant_in_range", [(3.0, 3.0, 7.0)], [(0.0, 5.0, 7.0)])
    ints = rng.poisson(0.7, size=3000).astype(float)
    yield Pair("counts", quantile_rows(ints[:1000], 10), quantile_rows(ints[1000:], 10))
    yield Pair("gap", [(0.0, 1.0, 3.0), (4.0, 6.0, 3.0)], [(0.5, 5.0, 2.0), (5.0, 5.5, 9.0)])
    yield Pair("nan_both", [(0.0, 1.0, 3.0)], [(0.0, 1.0, 5.0)], 4, 2)
    yield Pair("nan_one", [(0.0, 1.0, 3.0)], [(0.0, 0.5, 5.0)], 0, 9)
    yield Pair("only_nan", [], [(0.0, 0.5, 5.0)], 6, 0)
    yield Pair(
        "infinite",
        [(-np.inf, -np.inf, 2.0), (0.0, 1.0, 5.0), (1.0, np.inf, 3.0)],
        [(0.0, 2.0, 5.0), (np.inf, np.inf, 3.0)],
    )
    yield Pair("empty", [], [(0.0, 1.0, 3.0)])
    yield Pair("both_empty", [], [])
    yield Pair("zero_counts", [(0.0, 1.0, 0.0)], [(0.0, 1.0, 3.0)])
    for seed in range(12):
        each = np.random.default_rng(seed)
        x, y = each.gamma(2.0, size=500), each.gamma(2.0 + seed / 10, size=700)
        first = np.sort(each.uniform(0, 12, size=each.integers(2, 15)))
        second = np.sort(each.uniform(0, 12, size=each.integers(2, 15)))
        points = [(float(e), float(e), float(each.integers(1, 9))) for e in first[:2]]
        yield Pair(f"seed_{seed}", [*points, *histogram(x, first)], histogram(y, second))


def string_pairs() -> Iterator[Pair]:
    rng = np.random.default_rng(42)
    names = [f"v{i}" for i in range(40)]
    counts = rng.integers(1, 500, size=(2, 40))
    yield Pair(
        "strings",
        dict(zip(names, counts[0], strict=True)),
        dict(zip(names, counts[1], strict=True)),
    )
    yield Pair("strings_same", {"a": 3, "b": 1}, {"a": 30, "b": 10})
    yield Pair("strings_disjoint", {"a": 3, "b": 1}, {"c": 30, "d": 10})
    yield Pair("strings_partly", {"a": 3, "b": 1, "é": 2}, {"é": 30, "d": 10, "": 5})
    yield Pair("strings_empty", {"a": 3}, {})
    yield Pair("strings_both_empty", {}, {})
    yield Pair("strings_zero", {"a": 3, "b": 0}, {"a": 3})
    yield Pair("strings_tie", {"a": 1, "b": 1}, {"c": 1, "d": 1})
    yield Pair("strings_weighted", {"a": 0.25, "b": 1.5}, {"a": 1e9, "c": 3e-3})


def fill(dataset: Any, name: str, content: Any, nan: int, kind: str) -> None:
    types = protos().statistics
    feature = dataset.features.add()
    feature.path.step.append(name)
    if isinstance(content, dict):
        feature.type = types.FeatureNameStatistics.STRING
        strings = feature.string_stats
        strings.SetInParent()
        for rank, (label, count) in enumerate(content.items()):
            strings.rank_histogram.buckets.add(
                low_rank=rank, high_rank=rank, label=label, sample_count=count
            )
        common = strings.common_stats
    else:
        feature.type = types.FeatureNameStatistics.FLOAT
        histogram = feature.num_stats.histograms.add(
            type=types.Histogram.HistogramType.Value(kind), num_nan=nan
        )
        for low, high, count in content:
            histogram.buckets.add(low_value=low, high_value=high, sample_count=count)
        common = feature.num_stats.common_stats
    common.num_non_missing = common.tot_num_values = 100
    common.min_num_values = common.max_num_values = 1
    common.avg_num_values = 1.0


def statistics_of(pairs: list[Pair], kind: str) -> tuple[Any, Any]:
    both = []
    for side, examples in (("current", 100), ("previous", 160)):
        statistics = protos().statistics.DatasetFeatureStatisticsList()
        dataset = statistics.datasets.add(num_examples=examples)
        for pair in pairs:
            fill(dataset, pair.name, getattr(pair, side), getattr(pair, f"{side}_nan"), kind)
        both.append(statistics)
    return both[0], both[1]


def schema_of(pairs: list[Pair], kind: str, comparator: str) -> Any:
    """A schema whose comparators measure everything; the threshold is past any distance."""
    module = protos().schema
    schema = module.Schema()
    for pair in pairs:
        strings = isinstance(pair.current, dict)
        feature = schema.feature.add(name=pair.name, type=module.BYTES if strings else module.FLOAT)
        rules = getattr(feature, comparator)
        rules.infinity_norm.threshold = 2.0
        rules.normalized_abs_difference.threshold = 2.0
        rules.jensen_shannon_divergence.threshold = 2.0
        rules.jensen_shannon_divergence.source.type = module.HistogramSelection.Type.Value(kind)
    return schema


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["STANDARD", "QUANTILES"])
@pytest.mark.parametrize("comparison", ["drift", "skew"])
def test_distances_agree_with_tfdv(tfdv: TfdvProcess, kind: Any, comparison: str) -> None:
    pairs = [*numeric_pairs(), *string_pairs()]
    current, previous = statistics_of(pairs, kind)
    role = {"drift": "previous", "skew": "serving"}[comparison]
    validation = tfdv.validate(
        current, schema_of(pairs, kind, f"{comparison}_comparator"), **{role: previous}
    )
    theirs = {(m.feature, m.distance): m.value for m in validation.measurements}
    assert {m.comparison for m in validation.measurements} == {comparison}

    ours: dict[tuple[str, str], float] = {}
    for a, b in zip(current.datasets[0].features, previous.datasets[0].features, strict=True):
        name = a.path.step[0]
        ours[name, "L_INFTY"] = distances.l_infinity(a, b).value
        ours[name, "NORMALIZED_ABSOLUTE_DIFFERENCE"] = distances.normalized_absolute_difference(
            a, b
        ).value
        divergence = distances.jensen_shannon(a, b, source=kind)
        if divergence is not None:
            ours[name, "JENSEN_SHANNON_DIVERGENCE"] = divergence
    assert ours.keys() == theirs.keys()
    off = {
        key: (ours[key], theirs[key]) for key in ours if abs(ours[key] - theirs[key]) > TOLERANCE
    }
    assert not off
    assert ours["disjoint", "JENSEN_SHANNON_DIVERGENCE"] == pytest.approx(1.0)
    assert 0 < ours["random_split", "JENSEN_SHANNON_DIVERGENCE"] < 0.2


@pytest.mark.heavy
def test_weighted_distances_agree_with_tfdv(tfdv: TfdvProcess) -> None:
    pairs = [
        Pair("number", [(0.0, 1.0, 3.0), (1.0, 2.0, 5.0)], [(0.0, 1.5, 3.0), (1.5, 2.0, 1.0)]),
        Pair("word", {"a": 4, "b": 5}, {"a": 1, "b": 9}),
    ]
    both = statistics_of(pairs, "QUANTILES")
    for factor, statistics in zip((2.0, 3.5), both, strict=True):
        dataset = statistics.datasets[0]
        dataset.weighted_num_examples = factor * dataset.num_examples
        for feature in dataset.features:
            stats = getattr(feature, feature.WhichOneof("stats"))
            stats.common_stats.weighted_common_stats.num_non_missing = 100 * factor
            if feature.HasField("num_stats"):
                weighted = stats.weighted_numeric_stats.histograms.add()
                weighted.CopyFrom(stats.histograms[0])
                weighted.buckets[0].sample_count *= factor
            else:
                ranks = stats.weighted_string_stats.rank_histogram
                ranks.CopyFrom(stats.rank_histogram)
                ranks.buckets[0].sample_count *= factor
    current, previous = both
    assert distances.is_weighted(current.datasets[0])
    schema = schema_of(pairs, "QUANTILES", "drift_comparator")
    validation = tfdv.validate(current, schema, previous=previous)
    theirs = {(m.feature, m.distance): m.value for m in validation.measurements}
    number, word = zip(current.datasets[0].features, previous.datasets[0].features, strict=True)
    jensen_shannon = distances.jensen_shannon(*number, source="QUANTILES", by_weight=True)
    assert theirs["number", "JENSEN_SHANNON_DIVERGENCE"] == pytest.approx(
        jensen_shannon, abs=TOLERANCE
    )
    assert theirs["word", "L_INFTY"] == pytest.approx(
        distances.l_infinity(*word, by_weight=True).value, abs=TOLERANCE
    )
    assert distances.l_infinity(*word).value != theirs["word", "L_INFTY"]


@pytest.mark.heavy
@pytest.mark.parametrize(("examples", "before"), [(100, 160), (160, 100), (7, 7), (5, 0)])
def test_number_of_examples_ratio_agrees_with_tfdv(
    tfdv: TfdvProcess, examples: int, before: int
) -> None:
    module = protos()
    current, previous = (
        module.statistics.DatasetFeatureStatisticsList(
            datasets=[{"name": "day", "num_examples": n}]
        )
        for n in (examples, before)
    )
    ratio = distances.num_examples_ratio(current.datasets[0], previous.datasets[0])

    def reasons(low: float, high: float) -> set[str]:
        schema = module.schema.Schema()
        drift = schema.dataset_constraints.num_examples_drift_comparator
        drift.min_fraction_threshold, drift.max_fraction_threshold = low, high
        found = tfdv.validate(current, schema, previous=previous).anomalies
        return {anomaly.reason for anomaly in found}

    if ratio is None:
        assert reasons(0.0, 1e9) == {"COMPARATOR_HIGH_NUM_EXAMPLES"}
        return
    assert reasons(ratio * (1 - TOLERANCE), ratio * (1 + TOLERANCE)) == set()
    assert reasons(ratio * (1 + TOLERANCE), 1e9) == {"COMPARATOR_LOW_NUM_EXAMPLES"}
    assert reasons(0.0, ratio * (1 - TOLERANCE)) == {"COMPARATOR_HIGH_NUM_EXAMPLES"}


def test_the_label_of_the_largest_difference_is_the_last_in_byte_order() -> None:
    current, previous = statistics_of([Pair("tie", {"a": 1, "é": 1}, {"z": 1, "c": 1})], "STANDARD")
    found = distances.l_infinity(current.datasets[0].features[0], previous.datasets[0].features[0])
    assert found == distances.Difference(0.5, "é")


def test_histograms_of_two_kinds_are_refused() -> None:
    histogram = protos().statistics.Histogram
    with pytest.raises(DataError, match="standard and a quantiles"):
        distances.jensen_shannon_of_histograms(
            histogram(type=histogram.STANDARD), histogram(type=histogram.QUANTILES)
        )
