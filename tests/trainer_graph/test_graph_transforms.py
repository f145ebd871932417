"""Every transform gives what NumPy gives, in the trainer's model and in the server's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer_graph import reference
from tests.trainer_graph.samples import (
    Rows,
    as_served,
    examples,
    make_rows,
    planned,
    settings_of,
)
from trueup.records.features import FeaturePlan, Hashed, Vocabulary, Words
from trueup.records.input_spec import Kind, Missing, Variable
from trueup.records.training import Target
from trueup.serving.saved_model import load_saved_model
from trueup.trainer.graph.examples import parser
from trueup.trainer.graph.export import export_model
from trueup.trainer.graph.layout import columns_of
from trueup.trainer.graph.model import build_model
from trueup.trainer.graph.preprocessing import Preprocessing

pytestmark = pytest.mark.heavy

SETTINGS = settings_of(
    model="linear",
    crosses=[["carrier", "month"], ["temp", "night", "tail"], ["code", "fare"]],
    features={
        "night": {"transform": "hash", "buckets": 16},
        "seats": {"transform": "hash", "buckets": 64},
    },
)


def hostile(rows: Rows) -> Rows:
    """What training has not seen: other values, extremes, infinities, odd texts, empty lists."""
    odd: dict[str, list[Any]] = {
        "temp": [float("inf"), float("-inf"), -1e30, 0.0, -0.0],
        "fare": [1e30, -5.0, 0.0, float("inf"), 1e-30],
        "seats": [0, -1, 2**62, 10**18, 7],
        "month": [0, 13, -(2**31), 12, 1],
        "carrier": ["", "oslo", "Oslo ", "\x01", "Zürich"],
        "tail": ["", "x" * 3000, "ü", "N00001", " "],
        "code": [0, 2**63 - 1, -7, 1000, 1001],
        "night": [True, False, True, False, True],
        "remark": ["", " ... ", "STORM; storm-Storm_fuel", "ÉTÉ 7°C £3", "a\tb\nc\u00a0d"],
        "tags": [[], [""], ["Oslo", "", "Atlantis"], ["Lyon"] * 9, None],
        "delays": [[], [float("nan")], [1e30, float("nan"), -3.0], [float("inf")], None],
        "stops": [[], [99, 3], [-5], [0, 0, 0, 1], None],
        "wind": [[float("nan")] * 3, [1e30, 0.0, float("nan")], [0.0] * 3, None, [1.0, 2.0, 3.0]],
    }
    count = len(odd["temp"])
    return {name: odd.get(name, rows[name][:count]) + rows[name] for name in rows}


def by_row(rows: Rows) -> list[dict[str, Any]]:
    return [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]


@pytest.fixture(scope="module")
def plan(rows: Rows) -> FeaturePlan:
    found = planned(rows, SETTINGS).plan
    return found.model_copy(update={"target": Target(label="label", task="regression")})


@pytest.fixture(scope="module")
def asked() -> Rows:
    return hostile(make_rows(200, seed=5, missing=0.2))


def parsed(tf: Any, plan: FeaturePlan, rows: Rows) -> dict[str, Any]:
    found: dict[str, Any] = parser(plan)(tf.constant(examples(rows)))[0]
    return found


def test_numbers_are_numpys(tf: Any, plan: FeaturePlan, asked: Rows) -> None:
    encode = Preprocessing(plan)
    found = encode(parsed(tf, plan, asked)).dense.numpy()
    expected = [reference.dense(plan, row) for row in by_row(asked)]
    assert set(encode.dense_names) == set(expected[0])
    assert found.shape == (len(expected), len(encode.dense_names))
    for place, name in enumerate(encode.dense_names):
        np.testing.assert_allclose(
            found[:, place], [row[name] for row in expected], rtol=1e-6, atol=1e-7, err_msg=name
        )


def test_places_are_pythons(tf: Any, plan: FeaturePlan, asked: Rows) -> None:
    encode = Preprocessing(plan)
    found = encode(parsed(tf, plan, asked))
    rows = by_row(asked)
    assert len(encode.columns) + len(encode.bags) == len(columns_of(plan))
    for place, column in enumerate(encode.columns):
        expected = [reference.places(plan, column.feature, row) for row in rows]
        got = found.places[:, place].numpy()
        assert got.tolist() == [only for (only,) in expected], column.feature
        assert got.min() >= 0 and got.max() < column.size
    for bag in found.bags:
        expected = [reference.places(plan, bag.column.feature, row) for row in rows]
        mine: list[list[int]] = [[] for _ in rows]
        for row, value in zip(bag.rows.numpy(), bag.places.numpy(), strict=True):
            mine[row].append(int(value))
        assert mine == expected, bag.column.feature


def test_trainer_and_server_give_the_reference(
    tf: Any, plan: FeaturePlan, asked: Rows, tmp_path: Path
) -> None:
    model = build_model(plan, SETTINGS)
    chance = np.random.default_rng(3)
    model.set_weights([chance.normal(size=w.shape) for w in model.get_weights()])
    named = {weight.name.split(":")[0]: weight.numpy().ravel() for weight in model.weights}
    kernel = next(value for name, value in named.items() if name.endswith("kernel"))
    names = Preprocessing(plan).dense_names
    expected = []
    for row in by_row(asked):
        numbers = reference.dense(plan, row)
        total = float(named["bias"][0]) + sum(
            float(weight) * numbers[name] for weight, name in zip(kernel, names, strict=True)
        )
        for column in columns_of(plan):
            mine = [named["wide"][column.offset + p]
                    for p in reference.places(plan, column.feature, row)]  # fmt: skip
            total += float(np.mean(mine, dtype=np.float64)) if mine else 0.0
        expected.append(total)
    trained = model(parsed(tf, plan, asked)).numpy().ravel()
    # A sum of 40 terms of about 1 in float32, some of which cancel: absolute, as a part of 1.
    np.testing.assert_allclose(trained, expected, rtol=1e-6, atol=5e-6)
    export_model(model, plan, tmp_path / "1")
    loaded = load_saved_model(tmp_path / "1", threads=1)
    try:
        columns = {v.name: as_served(asked, v) for v in plan.inputs}
        served = loaded.run("serving_default", columns)["predictions"]
        one_by_one = [
            loaded.run("serving_default", {k: v[i : i + 1] for k, v in columns.items()})
            for i in range(20)
        ]
    finally:
        loaded.close()
    np.testing.assert_allclose(served, trained, rtol=1e-6)
    np.testing.assert_allclose(
        [float(one["predictions"][0]) for one in one_by_one], trained[:20], rtol=1e-6, atol=5e-6
    )


SENTINELS = (
    Variable(name="f", dtype="float64", kind=Kind.NUMERIC, optional=True,
             missing=Missing(sentinels=(-999.0, "NA"))),
    Variable(name="g", dtype="float32", kind=Kind.NUMERIC, optional=True,
             missing=Missing(graph=-1.0)),
    Variable(name="i", dtype="int32", kind=Kind.NUMERIC, optional=True,
             missing=Missing(graph=-1, sentinels=(99,))),
    Variable(name="n", dtype="int64", kind=Kind.NUMERIC, optional=True),
    Variable(name="s", dtype="string", kind=Kind.CATEGORICAL, optional=True,
             missing=Missing(sentinels=("NA", "?"))),
    Variable(name="t", dtype="string", kind=Kind.CATEGORICAL, optional=True,
             missing=Missing(graph="none")),
)  # fmt: skip


def test_each_encoding_of_missing_is_missing(tf: Any) -> None:
    names = "fginst"
    plan = FeaturePlan(
        inputs=SENTINELS,
        features=tuple(Vocabulary(variable=n, values=("5",), embedding=0) for n in names),
        target=Target(label="label", task="regression"),
    )
    raw = {
        "f": tf.constant([np.nan, -999.0, 5.0, 6.0]),
        "g": tf.constant([np.nan, -1.0, 5.0, 6.0]),
        "i": tf.constant([-1, 99, 5, 6], tf.int64),
        "n": tf.constant([-(2**63), -(2**63), 5, 6], tf.int64),
        "s": tf.constant(["", "?", "5", "6"]),
        "t": tf.constant(["none", "none", "5", ""]),
    }
    encode = Preprocessing(plan)
    found = encode(raw).places.numpy()
    for place, column in enumerate(encode.columns):
        assert found[:, place].tolist() == [2, 2, 0, 1], column.feature
    absent = parser(plan)(tf.constant([b""]))[0]
    assert encode(absent).places.numpy().tolist() == [[2] * 6]


def test_a_float_category_is_found_in_float32(tf: Any) -> None:
    variable = Variable(name="x", dtype="float64", kind=Kind.CATEGORICAL)
    plan = FeaturePlan(
        inputs=(variable,),
        features=(
            Vocabulary(variable="x", values=("0.1", "0.7", "5", "-0"), embedding=0),
            Hashed(variable="x", buckets=1000, embedding=0),
        ),
        target=Target(label="label", task="regression"),
    )
    values = [0.1, 0.7, 5.0, 0.0, -0.0, 0.1000001]
    found = Preprocessing(plan)({"x": tf.constant(values, tf.float32)}).places.numpy()
    assert found[:, 0].tolist() == [0, 1, 2, 3, 3, 4]
    assert found[3, 1] == found[4, 1]
    expected = [reference._hash(f"{np.float32(v):.9g}", 1000) for v in values[:3]]
    assert found[:3, 1].tolist() == expected


def test_words_of_broken_text_do_no_harm(tf: Any) -> None:
    plan = FeaturePlan(
        inputs=(Variable(name="x", dtype="bytes", kind=Kind.TEXT),),
        features=(Words(variable="x", buckets=100, embedding=0),),
        target=Target(label="label", task="regression"),
    )
    (bag,) = Preprocessing(plan)({"x": tf.constant([b"\xff\xfe ab", b"\xc3", b"ok\x00ok"])}).bags
    assert ((bag.places.numpy() >= 0) & (bag.places.numpy() < 100)).all()
    assert 0 in bag.rows.numpy() and 2 in bag.rows.numpy()


def test_a_batch_of_no_rows(tf: Any, plan: FeaturePlan) -> None:
    raw, label = parser(plan)(tf.constant([], tf.string))
    assert build_model(plan, SETTINGS)(raw).shape == (0, 1)
    assert label.shape == (0,)
