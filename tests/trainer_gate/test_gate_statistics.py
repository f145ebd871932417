"""Metrics by their definitions, limits against drawing rows by hand, blocks, slices."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.errors import BadInputError
from trueup.records.training import Target
from trueup.trainer.gate import metrics
from trueup.trainer.gate.best import best_version
from trueup.trainer.gate.blocks import Blocks, by_entity, by_order, by_time, merged
from trueup.trainer.gate.bootstrap import Drawings, estimate
from trueup.trainer.gate.calibration import expected_calibration_error
from trueup.trainer.gate.labels import as_predictions, encode_labels
from trueup.trainer.gate.replay import relative_difference
from trueup.trainer.gate.slices import MISSING, OTHERS, slices_of

BINARY = ("log_loss", "brier", "auc", "accuracy")


def sample(seed: int, n: int = 3000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, answers of two versions, hours."""
    rng = np.random.default_rng(seed)
    logit = rng.standard_normal(n) - 1
    labels = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float)
    two = [1 / (1 + np.exp(-(logit + 0.5 * rng.standard_normal(n)))) for _ in range(2)]
    return labels, two[0].round(2), two[1], np.sort(rng.integers(0, 60, n))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
def test_auc_is_the_share_of_pairs(rows: list[tuple[bool, int]]) -> None:
    labels = np.array([float(label) for label, _ in rows])
    scores = np.array([score for _, score in rows]) / 5
    above, below = scores[labels == 1], scores[labels == 0]
    area, parts = metrics.placements(labels, scores)
    if not len(above) or not len(below):
        assert np.isnan(area)
        return
    pairs = (above[:, None] > below) + 0.5 * (above[:, None] == below)
    assert area == pytest.approx(pairs.mean())
    assert parts[labels == 1] == pytest.approx(pairs.mean(axis=1))
    assert parts[labels == 0] == pytest.approx(pairs.mean(axis=0))


def test_metrics_by_hand() -> None:
    labels, scores = np.array([1.0, 0.0, 1.0]), np.array([0.8, 0.4, 0.0])
    value = metrics.metric_value("log_loss", labels, scores)
    assert value == pytest.approx(-(np.log(0.8) + np.log(0.6) + np.log(1e-7)) / 3)
    assert metrics.metric_value("brier", labels, scores) == pytest.approx((0.04 + 0.16 + 1) / 3)
    assert metrics.metric_value("accuracy", labels, scores) == pytest.approx(2 / 3)
    three, of = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]]), np.array([0.0, 1.0])
    assert metrics.metric_value("log_loss", of, three) == pytest.approx(-np.log(0.7 * 0.3) / 2)
    brier = (0.09 + 0.04 + 0.01 + 0.09 + 0.49 + 0.16) / 2
    assert metrics.metric_value("brier", of, three) == pytest.approx(brier)
    assert metrics.metric_value("accuracy", of, three) == 0.5
    y, p = np.array([0.0, 3.0]), np.array([1.0, 0.0])
    assert metrics.metric_value("mae", y, p) == 2.0
    assert metrics.metric_value("rmse", y, p) == pytest.approx(np.sqrt(5))
    assert all(np.isnan(metrics.metric_value(m, y[:0], p[:0])) for m in (*BINARY, "mae", "rmse"))


@pytest.mark.parametrize("metric", [*BINARY, "rmse", "mae"])
def test_errors_are_those_of_drawing_whole_blocks_by_hand(metric: str) -> None:
    """The metric itself is computed anew on the rows of every drawing."""
    labels, new, old, hours = sample(4)
    blocks = by_time(hours * 3600.0, timedelta(hours=1))
    drawings = Drawings(blocks.count, seed=3, draws=400)
    found = estimate(metrics.improvement(metric, labels, new, old), blocks, drawings)
    assert found is not None
    better = 1 if metric in metrics.HIGHER_IS_BETTER else -1
    values = []
    for counts in drawings.counts.astype(int):
        rows = np.repeat(np.arange(len(labels)), counts[blocks.ids])
        drawn = [metrics.metric_value(metric, labels[rows], p[rows]) for p in (new, old)]
        values.append(better * (drawn[0] - drawn[1]))
    whole = [metrics.metric_value(metric, labels, p) for p in (new, old)]
    assert found.value == pytest.approx(better * (whole[0] - whole[1]), abs=1e-12)
    wide = found.error / np.std(values)
    assert 0.85 < wide < 1.35, "up to the widening for neighbours"
    single = estimate(metrics.single(metric, labels, new), blocks, drawings)
    assert single is not None and single.value == pytest.approx(whole[0])
    assert found.low(0.99) < found.low(0.9) < found.value < found.high(0.9) < found.high(0.99)


def test_versions_that_differ_on_a_few_rows_have_poisson_like_limits() -> None:
    labels, old, _, hours = sample(4)
    new = old.copy()
    worse = np.flatnonzero((labels == 1) & (old > 0.5))[10::90][:3]
    new[worse] = 0.1
    blocks = by_time(hours * 3600.0, timedelta(hours=1))
    statistic = metrics.improvement("accuracy", labels, new, old)
    found = estimate(statistic, blocks, Drawings(blocks.count))
    assert found is not None and found.value == pytest.approx(-3 / len(labels))
    exact = 7.75 / len(labels)  # upper 95 % limit of a Poisson mean with 3 events
    assert -found.low(0.95) == pytest.approx(exact, rel=0.25)


def test_what_cannot_be_estimated_is_none() -> None:
    labels, new, old, hours = sample(4)
    blocks = by_time(hours * 3600.0, timedelta(hours=1))
    drawings = Drawings(blocks.count)
    one_class = np.zeros(len(labels))
    assert estimate(metrics.improvement("auc", one_class, new, old), blocks, drawings) is None
    rare = one_class.copy()
    rare[:3] = 1.0  # all in one hour: most drawings have none
    assert estimate(metrics.improvement("auc", rare, new, old), blocks, drawings) is None
    empty = Blocks(np.zeros(0, np.int64), blocks.count, True, "")
    nothing = metrics.improvement("mae", labels[:0], new[:0], old[:0])
    assert estimate(nothing, empty, drawings) is None


def test_blocks_follow_time_entity_or_order() -> None:
    blocks = by_time(np.array([0.0, 10.0, 3600.0, -1.0]), timedelta(hours=1))
    assert blocks.ids.tolist() == [1, 1, 2, 0] and blocks.words == "3 blocks of 1h"
    long = by_time(np.arange(0, 5000) * 3600.0, timedelta(hours=1))
    assert long.count <= 1000 and long.words.endswith("blocks of 8h")
    assert by_entity(np.array(["b", "a", "b"])).ids.tolist() == [1, 0, 1]
    many = by_entity(np.arange(30_000))
    assert many.count == 1000 and np.bincount(many.ids).min() == 30
    assert by_order(10_000).count == 200 and by_order(3).ids.tolist() == [0, 1, 2]
    assert by_order(0).count == 0


def test_dependent_neighbours_are_put_together() -> None:
    rng = np.random.default_rng(2)
    blocks = by_time(np.arange(480) * 3600.0, timedelta(hours=1))
    independent = merged(blocks, rng.standard_normal(480))
    assert independent.count >= 240
    lasting = merged(blocks, np.repeat(rng.standard_normal(40), 12))
    assert lasting.count <= 60 and lasting.length is not None
    assert np.all(np.diff(lasting.ids) >= 0) and lasting.ids[-1] == lasting.count - 1


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.lists(st.sampled_from(["a", "b", "c", None]), max_size=50),
        st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=80),
        st.lists(st.one_of(st.none(), st.integers(-3, 30)), max_size=80),
        st.lists(st.one_of(st.none(), st.booleans()), max_size=20),
    ),
    st.integers(1, 3),
)
def test_slices_of_a_variable_have_every_row_once(values: list, most: int) -> None:
    parts = list(slices_of("x", pa.array(values), most))
    places = np.concatenate([part.rows for part in parts]) if parts else np.zeros(0)
    assert sorted(places.tolist()) == list(range(len(values)))
    assert all(len(part.rows) for part in parts)
    names = [part.slice.value for part in parts]
    assert len(set(names)) == len(names)
    assert (MISSING in names) == (None in values)


def test_frequent_values_and_quartiles_make_slices() -> None:
    texts = pa.array(["a"] * 5 + ["b"] * 3 + ["c"] * 2 + ["d"])
    found = {p.slice.value: len(p.rows) for p in slices_of("x", texts, 2)}
    assert found == {"a": 5, "b": 3, OTHERS: 3}
    found = {p.slice.value: len(p.rows) for p in slices_of("x", pa.array(range(100)), 2)}
    assert list(found) == ["up to 24", "above 24, up to 49", "above 49, up to 74", "above 74"]
    assert set(found.values()) == {25}
    with pytest.raises(BadInputError, match="x has several values in a row"):
        list(slices_of("x", pa.array([[1, 2]]), 2))


def test_labels_are_read_as_the_target_says() -> None:
    two = Target(label="late", task="binary", classes=("false", "true"))
    assert encode_labels(pa.array([True, False, None]), two).tolist()[:2] == [1.0, 0.0]
    three = Target(label="n", task="multiclass", classes=("1", "2", "10"))
    for values in (pa.array([1.0, 10.0, 3.0]), pa.array([1, 10, 3]), pa.array(["1", "10", "x"])):
        places = encode_labels(values, three)
        assert places[:2].tolist() == [0.0, 2.0] and np.isnan(places[2])
    number = Target(label="y", task="regression")
    assert np.isnan(encode_labels(pa.array([np.inf, None]), number)).all()
    with pytest.raises(BadInputError, match="label y of the gate's rows is string"):
        encode_labels(pa.array(["soon"]), number)


def test_answers_that_fit_no_metric_are_refused() -> None:
    two = Target(label="late", task="binary", positive_above=0.5)
    both = np.array([[0.3, 0.7]])
    assert as_predictions(both, two, "it").tolist() == [0.7]
    assert as_predictions(both[:, 1:], two, "it").tolist() == [0.7]
    with pytest.raises(BadInputError, match=r"it answers 3.2, which is no probability"):
        as_predictions(np.array([3.2]), two, "it")
    three = Target(label="y", task="multiclass", classes=("a", "b", "c"))
    with pytest.raises(BadInputError, match=r"add up to 0\.9"):
        as_predictions(np.array([[0.3, 0.3, 0.3]]), three, "it")
    with pytest.raises(BadInputError, match=r"it gives \(2,\) a row"):
        as_predictions(both, three, "it")


def test_relative_differences() -> None:
    expected = np.array([1.0, 0.5, 1e-9])
    assert relative_difference(expected, expected).largest == 0.0
    assert relative_difference(expected * [1, 1.01, 1], expected).row == 1
    assert relative_difference(np.add(expected, [0, 0, 1e-9]), expected).largest < 1e-5
    assert relative_difference(np.array([np.nan]), np.array([np.nan])).largest == 0.0
    assert relative_difference(np.array([np.nan]), np.array([1.0])).largest == np.inf
    assert relative_difference(np.zeros((0, 3)), np.zeros((0, 3))).largest == 0.0
    with pytest.raises(BadInputError, match="shape"):
        relative_difference(np.zeros(2), np.zeros((2, 3)))


def test_calibration_error_of_a_calibrated_model_is_small() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(50_000)
    labels = (rng.random(50_000) < p).astype(float)
    assert expected_calibration_error(labels, p) < 0.01
    assert expected_calibration_error(labels, p * 0.5) > 0.2
    assert expected_calibration_error(labels[:0], p[:0]) == 0.0


def test_nothing_was_promoted_no_best() -> None:
    assert best_version([]) is None
