"""What profile and settings make of each variable, and what they refuse. No TensorFlow in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.trainer_graph.samples import Rows, planned, profile_of, settings_of
from trueup.errors import ConfigError, DataError
from trueup.records.features import (
    Bucketed,
    FeaturePlan,
    Hashed,
    MissingFlag,
    Scaled,
    Vocabulary,
    Words,
)
from trueup.records.input_spec import InputSpec, Kind, Missing, Role, Variable
from trueup.records.training import Target
from trueup.trainer.features import find_target
from trueup.trainer.graph.variables import MISSING_INTEGER

COUNT = 4000


def number(name: str, **given: Any) -> Variable:
    return Variable(**{"name": name, "dtype": "float64", "kind": Kind.NUMERIC, **given})


def words(name: str, **given: Any) -> Variable:
    return Variable(**{"name": name, "dtype": "string", "kind": Kind.CATEGORICAL, **given})


def whole(name: str, **given: Any) -> Variable:
    return number(name, **{"dtype": "int64", **given})


LABEL = number("label", role=Role.LABEL)


def plan_of(
    columns: dict[str, tuple[Variable, list[Any]]], **settings: Any
) -> tuple[FeaturePlan, tuple[str, ...]]:
    chance = np.random.default_rng(3)
    spec = InputSpec(variables=(*(v for v, _ in columns.values()), LABEL))
    rows: Rows = {name: values for name, (_, values) in columns.items()}
    rows["label"] = chance.normal(size=COUNT).tolist()
    found = planned(rows, settings_of(**settings), spec)
    return found.plan, found.notes


def kinds(plan: FeaturePlan, name: str) -> list[str]:
    return [feature.kind for feature in plan.features if feature.variable == name]


def only(plan: FeaturePlan, kind: type, name: str = "x") -> Any:
    (found,) = [f for f in plan.features if isinstance(f, kind) and f.variable == name]
    return found


NORMAL = np.random.default_rng(1).normal(10, 2, COUNT).tolist()


def test_numbers_are_scaled_and_in_buckets_of_the_wide_part() -> None:
    plan, notes = plan_of({"x": (number("x"), NORMAL)})
    scaled = only(plan, Scaled)
    assert not scaled.log and notes == ()
    assert scaled.mean == pytest.approx(np.mean(NORMAL), rel=0.01)
    assert scaled.sd == pytest.approx(np.std(NORMAL), rel=0.01)
    assert min(NORMAL) <= scaled.low < 5 and 15 < scaled.high <= max(NORMAL)
    buckets = only(plan, Bucketed)
    assert buckets.embedding == 0 and len(buckets.boundaries) == 31
    shares = np.bincount(np.digitize(NORMAL, buckets.boundaries), minlength=32) / COUNT
    assert abs(shares - 1 / 32).max() < 0.01
    deep, _ = plan_of({"x": (number("x"), NORMAL)}, model="dnn")
    assert kinds(deep, "x") == ["scaled"]


def test_strong_skewness_takes_the_logarithm_if_it_helps_and_nothing_is_negative() -> None:
    chance = np.random.default_rng(2)
    heavy = chance.lognormal(3, 1.5, COUNT)
    plan, _ = plan_of({"x": (number("x"), heavy.tolist())})
    scaled = only(plan, Scaled)
    assert scaled.log
    logs = np.log1p(np.clip(heavy, scaled.low, scaled.high))
    assert scaled.mean == pytest.approx(logs.mean(), rel=0.01)
    assert scaled.sd == pytest.approx(logs.std(), rel=0.01)
    below = (heavy - 1.0).tolist()
    assert not only(plan_of({"x": (number("x"), below)})[0], Scaled).log
    flat = chance.exponential(1.0, COUNT).tolist()
    assert not only(plan_of({"x": (number("x"), flat)})[0], Scaled).log


def test_few_integers_are_numbers_and_categories_many_are_numbers() -> None:
    months = np.random.default_rng(4).integers(1, 13, COUNT).tolist()
    plan, _ = plan_of({"x": (whole("x"), months)})
    assert kinds(plan, "x") == ["scaled", "vocabulary"]
    assert only(plan, Vocabulary).values == tuple(str(n) for n in range(1, 13))
    many = np.random.default_rng(4).integers(0, 5000, COUNT).tolist()
    assert kinds(plan_of({"x": (whole("x"), many)})[0], "x") == ["scaled", "bucketed"]


def test_texts_by_vocabulary_hash_or_not_at_all() -> None:
    chance = np.random.default_rng(5)
    few = chance.choice(["a", "b", "", "c"], COUNT, p=[0.5, 0.2, 0.2, 0.1]).tolist()
    many = [f"v{n}" for n in chance.integers(0, 1500, COUNT)]
    all_different = [f"id{n}" for n in range(COUNT)]
    plan, notes = plan_of({
        "few": (words("few"), few),
        "many": (words("many"), many),
        "id": (words("id"), all_different),
        "flag": (words("flag", dtype="bool"), chance.choice([True, False], COUNT).tolist()),
        "text": (words("text", kind=Kind.TEXT), all_different),
    })  # fmt: skip
    assert only(plan, Vocabulary, "few").values == ("a", "b", "c")  # the empty one is missing
    hashed = only(plan, Hashed, "many")
    assert hashed.buckets >= len(set(many))
    assert set(only(plan, Vocabulary, "flag").values) == {"true", "false"}
    assert kinds(plan, "text") == ["words"]
    assert notes == ("id is no feature: 100% of its values are different",)


def test_what_says_nothing_is_left_out_with_a_reason() -> None:
    plan, notes = plan_of({
        "x": (number("x"), NORMAL),
        "same": (number("same"), [3.0] * COUNT),
        "word": (words("word"), ["a"] * COUNT),
        "gone": (number("gone"), [None] * COUNT),
        "at": (words("at", dtype="timestamp", kind=Kind.TIME, role=Role.FEATURE),
               ["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"] * (COUNT // 2)),
    })  # fmt: skip
    assert [v.name for v in plan.inputs] == ["x"]
    assert notes == (
        "same is no feature: it is 3 in all training rows",
        "word is no feature: it is a in all training rows",
        "gone is no feature: all its values are missing in the training rows",
        "at is no feature: times are left out: what is to come lies beyond all that training has "
        "seen",
    )
    with pytest.raises(DataError, match="no variable is left to learn from: same is no feature"):
        plan_of({"same": (number("same"), [3.0] * COUNT)})


def test_missing_values_make_a_variable_optional_and_give_numbers_a_flag() -> None:
    gaps = [None, *NORMAL[1:]]
    whole_gaps = [None, *([1, 2] * COUNT)][:COUNT]
    bools = [None, *([True, False] * COUNT)][:COUNT]
    plan, notes = plan_of({
        "x": (number("x"), gaps),
        "n": (whole("n", dtype="int32"), whole_gaps),
        "own": (whole("own", missing=Missing(graph=-1.0)), whole_gaps),
        "b": (words("b", dtype="bool"), bools),
        "s": (words("s"), [None, *(["a", "b"] * COUNT)][:COUNT]),
        "full": (number("full"), NORMAL),
    })  # fmt: skip
    inputs = {variable.name: variable for variable in plan.inputs}
    assert {n: v.optional for n, v in inputs.items()} == {
        "x": True, "n": True, "own": True, "b": True, "s": True, "full": False,
    }  # fmt: skip
    assert (inputs["n"].dtype, inputs["n"].missing.graph) == ("int64", MISSING_INTEGER)
    assert inputs["own"].missing.graph == -1
    flagged = [f.variable for f in plan.features if isinstance(f, MissingFlag)]
    assert flagged == ["x", "n", "own"]
    assert notes == ("b: true and false leave no room for missing, which is taken as false",)


def test_a_plan_survives_its_json() -> None:
    plan, _ = plan_of(
        {"x": (number("x"), [None, *NORMAL[1:]]), "n": (whole("n"), [None, 1] * (COUNT // 2))}
    )
    assert FeaturePlan.model_validate_json(plan.model_dump_json()) == plan


def test_the_user_overrules() -> None:
    many = np.random.default_rng(4).integers(0, 50, COUNT).tolist()
    columns = {"x": (number("x"), NORMAL), "n": (whole("n"), many),
               "s": (words("s"), ["a", "b"] * (COUNT // 2))}  # fmt: skip
    plan, _ = plan_of(columns, features={
        "x": {"transform": "buckets", "buckets": 8, "embedding": 3},
        "n": {"transform": "vocabulary", "vocabulary": 5},
        "s": {"transform": "hash", "buckets": 10},
    })  # fmt: skip
    assert only(plan, Bucketed).embedding == 3
    assert len(only(plan, Bucketed).boundaries) == 7
    assert len(only(plan, Vocabulary, "n").values) == 5
    assert only(plan, Hashed, "s").buckets == 10
    plan, notes = plan_of(columns, features={
        "x": {"transform": "log"}, "n": {"transform": "leave"}, "s": {"transform": "text"},
    })  # fmt: skip
    assert only(plan, Scaled).log and notes == ()
    assert kinds(plan, "n") == [] and "n" not in [v.name for v in plan.inputs]
    assert isinstance(only(plan, Words, "s"), Words)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": {"y": {"transform": "log"}}},
         r"training\.features\.y: the training data have no such variable; check the name"),
        ({"features": {"carier": {}}}, "did you mean 'carrier'"),
        ({"features": {"label": {"transform": "scale"}}}, r"features\.label: it is the label"),
        ({"features": {"key": {"transform": "hash"}}},
         r'features\.key: the variable is not used: an id; set variables\.key\.role = "feature"'),
        ({"features": {"carrier": {"transform": "scale"}}},
         r"carrier\.transform is scale, and it is no number; use vocabulary"),
        ({"features": {"x": {"transform": "vocabulary"}}}, "too many different numbers .* buckets"),
        ({"features": {"x": {"transform": "text"}}}, "it is no text; use scale"),
        ({"features": {"list": {"transform": "buckets"}}}, "a row has several values of it"),
        ({"crosses": [["x"]]}, "name two or more"),
        ({"crosses": [["x", "nothing"]]}, "names 'nothing', which is no feature"),
        ({"crosses": [["x", "list"]]}, "names 'list', which has several values"),
        ({"crosses": [["x", "key"]]}, "names 'key', which is no feature"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_key_and_remedy(
    settings: dict[str, Any], message: str
) -> None:
    columns = {
        "x": (number("x"), NORMAL),
        "carrier": (words("carrier"), ["a", "b"] * (COUNT // 2)),
        "key": (words("key", role=Role.ID, reason="an id"), ["a", "b"] * (COUNT // 2)),
        "list": (number("list", shape=(-1,)), [[1.5], [2.5, 3.0]] * (COUNT // 2)),
    }
    with pytest.raises(ConfigError, match=message):
        plan_of(columns, **settings)


def test_crosses_of_numbers_are_of_their_buckets() -> None:
    columns = {"x": (number("x"), NORMAL), "s": (words("s"), ["a", "b"] * (COUNT // 2)),
               "same": (words("same"), ["a"] * COUNT)}  # fmt: skip
    plan, notes = plan_of(columns, crosses=[["x", "s"], ["s", "same"]], cross_buckets=50,
                          features={"x": {"transform": "scale"}})  # fmt: skip
    assert only(plan, Bucketed).embedding == 0
    assert [(c.variables, c.buckets) for c in plan.crosses] == [(("x", "s"), 50)]
    assert "the cross s × same is left out: same: it is a in all training rows" in notes
    plan, notes = plan_of(columns, crosses=[["x", "s"]], model="dnn")
    assert plan.crosses == ()
    assert "crosses are for the wide part" in " ".join(notes)


def test_own_functions_get_every_variable_and_a_time_that_is_named() -> None:
    at = words("at", dtype="timestamp", kind=Kind.TIME, role=Role.TIME)
    times = ["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"] * (COUNT // 2)
    columns = {"x": (number("x"), NORMAL), "same": (number("same"), [3.0] * COUNT),
               "left": (number("left"), NORMAL), "at": (at, times)}  # fmt: skip
    own = {"functions": ["mine:f"], "features": {"left": {"transform": "leave"}}}
    plan, _ = plan_of(columns, **own)
    assert [v.name for v in plan.inputs] == ["x", "same"]
    plan, _ = plan_of(columns, functions=["mine:f"], features={"at": {}})
    assert [v.name for v in plan.inputs] == ["x", "same", "left", "at"]
    assert kinds(plan, "at") == []


def target_of(values: list[Any], variable: Variable = LABEL, **settings: Any) -> Target:
    spec = InputSpec(variables=(number("x"), variable))
    rows: Rows = {"x": NORMAL[: len(values)], variable.name: values}
    return find_target(profile_of(rows, spec), spec, settings_of(**settings))


TEXT_LABEL = words("label", role=Role.LABEL)


def test_the_task_follows_from_the_label() -> None:
    found = target_of(NORMAL)
    assert found.task == "regression" and found.dtype == "float64"
    assert found.bias[0] == pytest.approx(10, abs=0.2) and found.scale == pytest.approx(2, abs=0.1)
    found = target_of([0.0, 1.0, 1.0, 1.0] * 100)
    assert (found.task, found.classes) == ("binary", ("0", "1"))
    assert found.bias[0] == pytest.approx(np.log(3), abs=0.02)
    found = target_of(["yes", "no"] * 100, TEXT_LABEL)
    assert (found.task, found.classes) == ("binary", ("no", "yes"))
    found = target_of([True, False] * 100, words("label", dtype="bool", role=Role.LABEL))
    assert (found.task, found.classes, found.dtype) == ("binary", ("false", "true"), "bool")
    found = target_of(["b", "a", "c", "a"] * 100, TEXT_LABEL)
    assert (found.task, found.classes) == ("multiclass", ("a", "b", "c"))
    assert found.bias == pytest.approx(np.log([0.5, 0.25, 0.25]), abs=0.01)
    found = target_of([10, 9, 11] * 100, whole("label", role=Role.LABEL), task="multiclass")
    assert found.classes == ("9", "10", "11")
    found = target_of(NORMAL, positive_above=12.0)
    share = np.mean(np.array(NORMAL) > 12.0)
    assert found.task == "binary" and found.positive_above == 12.0
    assert found.bias[0] == pytest.approx(np.log(share / (1 - share)), abs=0.05)


@pytest.mark.parametrize(
    ("label", "variable", "settings", "error", "message"),
    [
        ([None] * 9, LABEL, {}, DataError, "'label' has no value in the 9 training rows"),
        ([1.5] * 9, LABEL, {}, DataError, "'label' has one value only .*: '1.5'"),
        (["a"] * 9, TEXT_LABEL, {}, DataError, "one value only .*: 'a'; there is nothing to learn"),
        ([1.0, 2.0] * 9, LABEL, {"positive_above": 5.0}, DataError,
         "one class only: all 18 values, from 1 to 2, are not above 5"),
        ([1.0, 2.0] * 9, LABEL, {"positive_above": 0.0}, DataError, "are above 0"),
        (["a", "b"] * 9, TEXT_LABEL, {"positive_above": 1.0}, ConfigError, "is no number"),
        (["a", "b", "c"] * 9, TEXT_LABEL, {"task": "regression"}, ConfigError, "is no number"),
        (["a", "b", "c"] * 9, TEXT_LABEL, {"task": "binary"}, ConfigError, "has 3 values"),
        (NORMAL, LABEL, {"task": "binary"}, ConfigError, "too many values .* set positive_above"),
        ([1.0] * 9, LABEL, {"label": "lable"}, ConfigError, "did you mean 'label'"),
        ([1.0, 2.0] * 9, number("label"), {"label": ""}, ConfigError, "not said what is to be"),
        ([[1.0], [2.0]] * 9, number("label", role=Role.LABEL, shape=(-1,)), {}, ConfigError,
         "is a list"),
    ],
)  # fmt: skip
def test_a_label_that_cannot_be_learnt_is_refused(
    label: list[Any], variable: Variable, settings: dict[str, Any], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        target_of(label, variable, **settings)
