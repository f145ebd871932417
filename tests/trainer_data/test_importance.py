"""Importances and partial dependence of models whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from trueup.errors import DataError
from trueup.records.input_spec import Variable
from trueup.trainer.importance import (
    Sample,
    clustered_error,
    partial_dependence,
    permutation_importances,
)

ROWS = 5000
CARRIER = {"AA": 0.0, "B6": 5.0, "UA": 10.0}


def sample(rows: int = ROWS, seed: int = 1) -> Sample:
    random = np.random.default_rng(seed)
    x, noise = random.normal(size=rows), random.normal(size=rows)
    carrier = random.choice(list(CARRIER), rows)
    missing = random.random(rows) < 0.1
    table = pa.table(
        {
            "x": pa.array(x),
            "twin": pa.array(x),
            "unused": pa.array(noise),
            "carrier": pa.array(carrier),
            "gaps": pa.array(noise, mask=missing),
        }
    )
    return Sample(table, score(table), np.arange(rows) // 50)


def score(rows: pa.Table | pa.RecordBatch) -> np.ndarray:
    """3 x + what the carrier adds, and 7 where ``gaps`` is missing."""
    x = np.asarray(rows.column(rows.schema.names.index("x")))
    carrier = rows.column(rows.schema.names.index("carrier")).to_pylist()
    gaps = np.asarray(rows.column(rows.schema.names.index("gaps")).is_null())
    found: np.ndarray = 3 * x + np.array([CARRIER[name] for name in carrier]) + 7.0 * gaps
    return found


def squared(answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
    found: np.ndarray = (answers - targets) ** 2
    return found


def test_the_rise_of_the_loss_is_twice_the_variance_that_a_feature_brings() -> None:
    """E (f(x') - f(x))² of independent x, x' is 2 Var f: 18 for 3 x."""
    found = permutation_importances(sample(), score, squared, ["x", "carrier", "unused"], repeats=5)
    by_name = {one.feature: one for one in found}
    assert abs(by_name["x"].increase - 18) < 4 * by_name["x"].standard_error < 4
    assert abs(by_name["carrier"].increase - 2 * 50 / 3) < 4 * by_name["carrier"].standard_error
    assert by_name["unused"].increase == 0.0
    assert by_name["x"].rows == ROWS


def test_groups_are_dealt_together() -> None:
    """A model that looks at the difference of twins does not mind when both are dealt as one."""

    def difference(rows: pa.RecordBatch) -> np.ndarray:
        found: np.ndarray = np.asarray(rows.column(0)) - np.asarray(rows.column(1))
        return found

    of = sample()
    of = Sample(of.rows, np.zeros(ROWS))
    groups = {"both": ("x", "twin"), "one": ("x",)}
    both, one = permutation_importances(of, difference, squared, groups)
    assert both.increase == 0.0
    assert one.increase > 1.0


def test_memory_and_answers_are_bounded_and_repeatable() -> None:
    sizes: list[int] = []

    def watched(rows: pa.RecordBatch) -> np.ndarray:
        sizes.append(rows.num_rows)
        return score(rows)

    found = permutation_importances(
        sample(), watched, squared, ["x"], repeats=2, most_rows=1000, batch_rows=300
    )
    assert sizes == [300, 300, 300, 100] * 3  # once as it is, twice dealt
    assert found[0].rows == 1000
    again = permutation_importances(sample(), score, squared, ["x"], repeats=2, most_rows=1000)
    assert again[0].increase == pytest.approx(found[0].increase)


def test_errors_know_that_rows_of_a_block_depend_on_each_other() -> None:
    """1,000 rows that are 20 different ones, 50 times each, say no more than 20 rows."""
    values = np.repeat(np.random.default_rng(3).normal(size=20), 50)
    blocks = np.repeat(np.arange(20), 50)
    of_20 = values[::50].std(ddof=1) / math.sqrt(20)
    assert clustered_error(values, blocks) == pytest.approx(of_20)
    alone = values.std(ddof=1) / math.sqrt(1000)
    assert clustered_error(values, None) == pytest.approx(alone)
    assert math.isnan(clustered_error(values, np.zeros(1000)))


def test_partial_dependence_is_the_function_itself_where_it_is_additive() -> None:
    variables = [
        Variable(name="x", dtype="float64", kind="numeric"),
        Variable(name="carrier", dtype="string", kind="categorical"),
        Variable(name="gaps", dtype="float64", kind="numeric"),
    ]
    x, carrier, gaps = partial_dependence(sample(), score, variables)
    slopes = np.diff([answer[0] for answer in x.answers]) / np.diff(np.array(x.values, float))
    np.testing.assert_allclose(slopes, 3.0, rtol=1e-9)
    assert 10 < len(x.values) <= 20
    effect = dict(zip(carrier.values, [answer[0] for answer in carrier.answers], strict=True))
    assert set(effect) == set(CARRIER)
    assert effect["UA"] - effect["AA"] == pytest.approx(10)
    assert gaps.values[-1] is None
    assert gaps.answers[-1][0] - gaps.answers[0][0] == pytest.approx(7)


def test_models_with_several_outputs_have_several_curves() -> None:
    def two(rows: pa.RecordBatch) -> np.ndarray:
        first = score(rows)
        return np.stack([first, -first], axis=1)

    variable = Variable(name="x", dtype="float64", kind="numeric")
    (curve,) = partial_dependence(sample(500), two, [variable], grid=5)
    assert all(a == pytest.approx(-b) for a, b in curve.answers)
    assert curve.model_validate_json(curve.model_dump_json()) == curve


def test_what_cannot_be_looked_at() -> None:
    with pytest.raises(DataError, match="there is no variable 'y' in the rows"):
        permutation_importances(sample(100), score, squared, ["y"])
    nothing = Sample(sample(1).rows.slice(0, 0), np.zeros(0))
    with pytest.raises(DataError, match="there are no rows to take importances of"):
        permutation_importances(nothing, score, squared, ["x"])
    many = Variable(name="carrier", dtype="string", kind="categorical", shape=(-1,))
    assert partial_dependence(sample(100), score, [many]) == ()
