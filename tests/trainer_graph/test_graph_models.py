"""Models learn what is there to learn; the user's own code has its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.trainer_graph.samples import SPEC, Rows, examples, planned, settings_of
from trueup.config.training import TrainingSettings
from trueup.errors import ConfigError
from trueup.records.features import FeaturePlan
from trueup.records.input_spec import InputSpec, Kind, Role, Variable
from trueup.trainer.graph.examples import parser
from trueup.trainer.graph.functions import UserCodeError
from trueup.trainer.graph.model import build_model, compile_model, gives_logits

pytestmark = pytest.mark.heavy

TEXT_LABEL = Variable(name="label", dtype="string", kind=Kind.CATEGORICAL, role=Role.LABEL)
BATCH = 250


def with_label(variable: Variable) -> InputSpec:
    return InputSpec(variables=(*SPEC.variables[:-1], variable))


def fitted(
    tf: Any, rows: Rows, plan: FeaturePlan, settings: TrainingSettings, epochs: int = 8
) -> tuple[Any, dict[str, float]]:
    """A trained model, and how it does on its last 500 rows, which it has not seen."""
    data = tf.data.Dataset.from_tensor_slices(examples(rows))
    parse = parser(plan)
    model = compile_model(build_model(plan, settings), plan, settings)
    train, rest = data.take(2500), data.skip(2500)
    model.fit(train.batch(BATCH).map(parse).cache(), epochs=epochs, verbose=0)
    return model, model.evaluate(rest.batch(BATCH).map(parse), verbose=0, return_dict=True)


def labelled(rows: Rows, task: str) -> tuple[Rows, InputSpec]:
    """A label that ``temp`` and ``carrier`` decide, but for a little noise."""
    values = np.array(rows["label"])
    if task == "regression":
        return rows, SPEC
    cuts = [5.0] if task == "binary" else [4.0, 6.5]
    words = np.array(["low", "middle", "top"])
    return {**rows, "label": words[np.digitize(values, cuts)].tolist()}, with_label(TEXT_LABEL)


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("model", ["linear", "dnn", "wide_and_deep"])
def test_each_model_learns_each_task(tf: Any, rows: Rows, model: str, task: str) -> None:
    # Where temp or carrier is missing, nobody can know.
    known = [i for i, pair in enumerate(zip(rows["temp"], rows["carrier"], strict=True))
             if None not in pair]  # fmt: skip
    whole = {name: [values[i] for i in (known * 2)[:3000]] for name, values in rows.items()}
    few = {name: whole[name] for name in ("temp", "carrier", "month", "tags", "remark", "label")}
    mine, spec = labelled(few, task)
    spec = InputSpec(variables=tuple(v for v in spec.variables if v.name in few))
    settings = settings_of(model=model, learning_rate=0.03, hidden_units=[16])
    plan = planned(mine, settings, spec).plan
    assert plan.target.task == task
    _, found = fitted(tf, mine, plan, settings)
    if task == "regression":
        # The label's own deviation is 2.9, so r² > 0.96.
        assert found["rmse"] < 0.55, found
        assert set(found) == {"loss", "mae", "rmse"}
    else:
        assert found["accuracy"] > (0.9 if task == "binary" else 0.85), found
        assert ("auc" in found) == (task == "binary")


def signal(tf: Any, variable: Variable, values: list[Any], label: list[float], **given: Any) -> Any:
    spec = InputSpec(variables=(variable, SPEC["label"]))
    settings = settings_of(learning_rate=0.03, hidden_units=[16], **given)
    rows = {variable.name: values, "label": label}
    return fitted(tf, rows, planned(rows, settings, spec).plan, settings, epochs=12)[1]


@pytest.mark.parametrize("model", ["linear", "dnn"])
def test_lists_and_texts_carry_their_signal(tf: Any, rows: Rows, model: str) -> None:
    tags = [value or [] for value in rows["tags"]]
    share = [sum(t == "Oslo" for t in v) / max(len(v), 1) for v in tags]
    assert signal(tf, SPEC["tags"], tags, share, model=model)["rmse"] < 0.5 * np.std(share)
    remarks = [value or "" for value in rows["remark"]]
    stormy = [float("storm" in text) for text in remarks]
    found = signal(tf, SPEC["remark"], remarks, stormy, model=model, task="regression")
    assert found["rmse"] < 0.7 * np.std(stormy)


def test_a_cross_learns_what_its_parts_cannot(tf: Any) -> None:
    chance = np.random.default_rng(8)
    a, b = (chance.choice(["x", "y"], 3000) for _ in range(2))
    rows = {"a": a.tolist(), "b": b.tolist(), "label": (a == b).astype(float).tolist()}
    spec = InputSpec(variables=(
        *(Variable(name=n, dtype="string", kind=Kind.CATEGORICAL) for n in "ab"), SPEC["label"],
    ))  # fmt: skip
    found = {}
    for crosses in ([], [["a", "b"]]):
        settings = settings_of(model="linear", learning_rate=0.05, crosses=crosses)
        found[len(crosses)] = fitted(tf, rows, planned(rows, settings, spec).plan, settings)[1]
    assert found[0]["auc"] < 0.6
    assert found[1]["auc"] > 0.99


def test_the_same_seed_gives_the_same_weights(tf: Any, rows: Rows) -> None:
    settings = settings_of()
    plan = planned(rows, settings).plan
    first, second, other = (
        build_model(plan, s).get_weights() for s in (settings, settings, settings_of(seed=2))
    )
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))
    # One table for all weights of the wide part, one for each size of embeddings.
    assert len(first) <= 2 + 4 + 2 * len(settings.hidden_units) + 1


def test_a_model_begins_at_what_is_usual(tf: Any, rows: Rows) -> None:
    far = {**rows, "label": [1e6 + 1e4 * value for value in rows["label"]]}
    settings = settings_of(model="linear")
    plan = planned(far, settings).plan
    raw, label = parser(plan)(tf.constant(examples(far)))
    model = build_model(plan, settings)
    assert model(raw).numpy().mean() == pytest.approx(label.numpy().mean(), rel=1e-3)


OWN = """
import tensorflow as tf

def weather(raw):
    return {
        "cold": raw["temp"] < 32.0,
        "squares": tf.stack([raw["temp"] ** 2 / 1e4, tf.sqrt(raw["fare"])], axis=1),
        "initial": tf.strings.substr(raw["carrier"], 0, 1),
        "decade": raw["month"] // 10,
        "month_of": tf.strings.to_number(tf.strings.substr(raw["at"], 5, 2), tf.int32),
    }

def broken(raw):
    raise KeyError("humidity")

def collides(raw):
    return {"temp": raw["fare"]}

def ragged(raw):
    return {"more": raw["tags"]}

def nothing(raw):
    return None
"""


def test_functions_of_the_user_are_features(
    tf: Any, rows: Rows, own_module: Callable[[str], str]
) -> None:
    settings = settings_of(functions=[f"{own_module(OWN)}:weather"], features={"at": {}})
    plan = planned(rows, settings).plan
    model = build_model(plan, settings)
    names = model.net.encode.dense_names
    assert {"cold", "squares[0]", "squares[1]"} <= set(names)
    hashed = [c.feature.variable for c in model.net.encode.columns if c.feature.kind == "hashed"]
    assert {"initial", "decade", "month_of"} <= set(hashed)
    raw, _ = parser(plan)(tf.constant(examples(rows)[:50]))
    dense = model.net.encode(model.net.own(raw)).dense.numpy()
    temp = raw["temp"].numpy()
    assert dense[:, names.index("cold")].tolist() == (temp < 32.0).astype(float).tolist()
    squares = np.nan_to_num(temp**2 / 1e4)
    np.testing.assert_allclose(dense[:, names.index("squares[0]")], squares, rtol=1e-6)
    assert np.isfinite(model(raw).numpy()).all()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("broken", UserCodeError, "broken failed: KeyError: 'humidity'; it gets a dictionary"),
        ("collides", ConfigError, "gives 'temp', which is there already"),
        ("ragged", UserCodeError, "gives 'more' of shape"),
        ("nothing", UserCodeError, "failed: TypeError: it gave NoneType"),
        ("absent", ConfigError, "has no function absent"),
    ],
)
def test_a_function_that_fails_is_named(
    tf: Any, rows: Rows, own_module: Callable[[str], str], name: str, error: type, message: str
) -> None:
    settings = settings_of(functions=[f"{own_module(OWN)}:{name}"])
    with pytest.raises(error, match=message):
        build_model(planned(rows, settings).plan, settings)


def test_a_module_that_is_not_there_is_named(tf: Any, rows: Rows) -> None:
    settings = settings_of(model="nowhere.at_all:build")
    with pytest.raises(ConfigError, match=r"training\.model names nowhere\.at_all:build, and impo"):
        build_model(planned(rows, settings).plan, settings)


OWN_MODEL = """
import tensorflow as tf
import tf_keras

class Net(tf_keras.Model):
    def __init__(self, activation):
        super().__init__()
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(["Oslo"], [1.0]), 0.0)
        self.last = tf_keras.layers.Dense(1, activation=activation)

    def call(self, raw, training=False):
        temp = tf.where(tf.math.is_nan(raw["temp"]), 50.0, raw["temp"])
        known = tf.stack([(temp - 50) / 15, self.table.lookup(raw["carrier"])], axis=1)
        return self.last(known)

def logits(plan, settings):
    return Net(None)

def probabilities(plan, settings):
    return Net("sigmoid")

def no_model(plan, settings):
    return 7
"""


def test_a_model_of_the_user_learns(tf: Any, rows: Rows, own_module: Callable[[str], str]) -> None:
    mine, spec = labelled(rows, "binary")
    module = own_module(OWN_MODEL)
    settings = settings_of(model=f"{module}:probabilities", learning_rate=0.1)
    plan = planned(mine, settings, spec).plan
    model = compile_model(build_model(plan, settings), plan, settings)
    model.run_eagerly = True  # sparing the seconds that AutoGraph takes
    data = tf.data.Dataset.from_tensor_slices(examples(mine)).batch(BATCH).map(parser(plan))
    history = model.fit(data, epochs=8, verbose=0).history
    found = {name: values[-1] for name, values in history.items()}
    assert found["auc"] > 0.9 and found["accuracy"] > 0.8, found
    assert 0.0 < found["loss"] < 0.5
    assert not gives_logits(model)
    assert gives_logits(build_model(plan, settings_of(model=f"{module}:logits")))


def test_what_is_no_model_is_refused(tf: Any, rows: Rows, own_module: Callable[[str], str]) -> None:
    settings = settings_of(model=f"{own_module(OWN_MODEL)}:no_model")
    with pytest.raises(UserCodeError, match="no_model gave int; return a tf_keras"):
        build_model(planned(rows, settings).plan, settings)
