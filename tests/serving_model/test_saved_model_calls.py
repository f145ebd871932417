"""Requests through a real model: JSON → tensors → session → JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from trueup.serving.json_read import (
    Instances,
    InvalidRequest,
    assemble,
    parse_json,
    read_predict,
)
from trueup.serving.json_write import prepare_outputs
from trueup.serving.saved_model import LoadedModel, ModelRunError

pytestmark = pytest.mark.heavy


def read(model: LoadedModel, document: Any, **optional: Any) -> Instances:
    body = json.dumps(document).encode()
    return read_predict(parse_json(body, max_depth=64), model.signatures, optional=optional)


def answers(model: LoadedModel, *requests: Instances) -> list[Any]:
    """The replies to requests that share one call."""
    assert len({request.key for request in requests}) == 1
    signature = requests[0].signature
    columns, slices = assemble(signature, requests)
    prepared = prepare_outputs(signature, model.run(signature.name, columns), slices)
    return [
        json.loads(prepared.write(request.row_format, start, stop))
        for request, (start, stop) in zip(requests, slices, strict=True)
    ]


def answer(model: LoadedModel, document: Any, **optional: Any) -> Any:
    return answers(model, read(model, document, **optional))[0]


def test_signatures_are_read(model: LoadedModel) -> None:
    assert "__saved_model_init_op" not in model.signatures
    assert set(model.signatures) <= set(model.metadata)
    ranks = model.signatures["ranks"]
    assert ranks.method == "predict"
    assert {key: (spec.dtype, spec.shape) for key, spec in ranks.inputs.items()} == {
        "a": ("float32", (None,)),
        "b": ("float32", (None, 3)),
        "c": ("int64", (None, None)),
        "d": ("string", (None, 2, 2)),
    }
    assert model.signatures["free"].inputs["x"].shape is None
    assert model.signatures["scaled"].inputs["factor"].shape == ()


def test_rows_of_every_type(model: LoadedModel) -> None:
    row = {
        "f16": 0.5, "f32": 0.1, "f64": 0.1, "i8": -128, "i16": 32767, "i32": -(2**31),
        "i64": 2**63 - 1, "u8": 255, "u16": 65535, "u32": 2**32 - 1, "u64": 2**64 - 1,
        "flag": True, "text": "naïve ☃",
    }  # fmt: skip
    found = answer(model, {"signature_name": "scalars", "instances": [row, row]})
    expected = {f"{name}_out": value for name, value in row.items()}
    expected["text_bytes"] = {"b64": "bmHDr3ZlIOKYgw=="}
    assert found == {"predictions": [expected, expected]}


def test_rows_and_columns_of_every_rank(model: LoadedModel) -> None:
    row = {"a": 1.5, "b": [1, 2, 3], "c": [7, 8], "d": [["p", "q"], ["r", "s"]]}
    columns = {name: [value, value] for name, value in row.items()}
    upper = {name.upper(): value for name, value in row.items()}
    rows = answer(model, {"signature_name": "ranks", "instances": [row, row]})
    assert rows == {"predictions": [upper, upper]}
    given = answer(model, {"signature_name": "ranks", "inputs": columns})
    assert given == {"outputs": {name: [value, value] for name, value in upper.items()}}


def test_requests_share_a_call_and_get_their_own_rows(model: LoadedModel) -> None:
    requests = [
        read(model, {"instances": [1.0]}),
        read(model, {"inputs": [2.0, 3.0]}),
        read(model, {"instances": [{"x": 4.0}, {"x": 5.0}]}),
        read(model, {"inputs": {"x": []}}),
        read(model, {"signature_name": "", "instances": [6]}),
    ]
    assert answers(model, *requests) == [
        {"predictions": [2.0]},
        {"outputs": [3.0, 4.0]},
        {"predictions": [5.0, 6.0]},
        {"outputs": []},
        {"predictions": [7.0]},
    ]


def test_only_equal_shapes_share_a_call(model: LoadedModel) -> None:
    def key(width: int) -> Any:
        row = {"a": 1, "b": [1, 2, 3], "c": [1] * width, "d": [["", ""], ["", ""]]}
        return read(model, {"signature_name": "ranks", "instances": [row]}).key

    assert key(2) == key(2)
    assert key(2) != key(3)
    assert key(2) != read(model, {"instances": [1.0]}).key


@pytest.mark.parametrize("name", ["mean", "mixed", "scaled", "free", "pair"])
def test_strangers_never_share_a_call_where_outputs_are_no_rows(
    model: LoadedModel, name: str
) -> None:
    inputs: Any = {"scaled": {"x": [1.0], "factor": 2.0}, "pair": [[1, 2], [3, 4]]}.get(name, [1])
    document = {"signature_name": name, "inputs": inputs}
    assert read(model, document).key != read(model, document).key


def test_outputs_without_a_batch(model: LoadedModel) -> None:
    assert answer(model, {"signature_name": "mean", "inputs": [1.0, 3.0]}) == {"outputs": 2.0}
    assert answer(model, {"signature_name": "mixed", "inputs": [1.0, 3.0]}) == {
        "outputs": {"release": "r1", "y": [2.0, 6.0]}
    }
    with pytest.raises(InvalidRequest, match="Tensor name: mean has no shape information"):
        answer(model, {"signature_name": "mean", "instances": [1.0, 3.0]})


def test_a_scalar_input(model: LoadedModel) -> None:
    document = {"signature_name": "scaled", "inputs": {"x": [1.0, 2.0], "factor": 3.0}}
    assert answer(model, document) == {"outputs": [3.0, 6.0]}
    with pytest.raises(InvalidRequest, match=r"input: factor.*use 'inputs'"):
        answer(model, {"signature_name": "scaled", "instances": [{"x": 1.0, "factor": 3.0}]})


def test_an_unknown_rank(model: LoadedModel) -> None:
    assert answer(model, {"signature_name": "free", "inputs": 5}) == {"outputs": 5}
    assert answer(model, {"signature_name": "free", "inputs": [[5, 6]]}) == {"outputs": [[5, 6]]}
    assert answer(model, {"signature_name": "free", "instances": [[5], [6]]}) == {
        "predictions": [[5], [6]]
    }
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    with pytest.raises(InvalidRequest, match="levels of lists"):
        answer(model, {"signature_name": "free", "inputs": deep})


def test_a_fixed_batch(model: LoadedModel) -> None:
    assert answer(model, {"signature_name": "pair", "instances": [[1, 2], [3, 4]]}) == {
        "predictions": [3.0, 7.0]
    }
    with pytest.raises(InvalidRequest, match=r"x.*Expecting shape \[2,2\] but got: \[1,2\]"):
        answer(model, {"signature_name": "pair", "instances": [[1, 2]]})


def test_an_output_with_fewer_rows(model: LoadedModel) -> None:
    requests = [
        read(model, {"signature_name": "positive", "instances": [1.0, -1.0]}) for _ in range(2)
    ]
    assert answers(model, requests[0]) == [{"predictions": [1.0]}]
    with pytest.raises(InvalidRequest, match="kept has inconsistent batch size: 2 expecting: 4"):
        answers(model, *requests)


def test_lookup_tables_are_initialised(model: LoadedModel) -> None:
    document = {"signature_name": "lookup", "instances": ["red", "blue", {"b64": "Z3JlZW4="}]}
    assert answer(model, document) == {"predictions": [1, 2, 0]}


def test_a_failing_call_says_what_the_model_says(model: LoadedModel) -> None:
    with pytest.raises(ModelRunError) as caught:
        answer(model, {"signature_name": "strict", "instances": [math.nan]})
    assert caught.value.code == "INVALID_ARGUMENT"
    assert "x is not finite" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert answer(model, {"signature_name": "strict", "instances": [1.0]}) == {"predictions": [1.0]}
    with pytest.raises(ModelRunError, match="not found"):
        model.run("nowhere", {})


def test_an_output_that_json_cannot_hold(model: LoadedModel) -> None:
    with pytest.raises(InvalidRequest, match="complex64"):
        answer(model, {"signature_name": "complex", "instances": [1.0]})


OPTIONAL = {"a": math.nan, "c": -1, "d": ""}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"b": [1, 2, 3], "c": [4], "d": [["p", "q"], ["r", "s"]]}, {"A": math.nan}),
        ({"a": None, "b": [1, 2, 3], "c": [None, 5], "d": [["p", None], ["r", "s"]]},
         {"A": math.nan, "C": [-1, 5], "D": [["p", ""], ["r", "s"]]}),
        ({"a": 1, "b": [1, 2, 3]}, {"A": 1.0, "C": [], "D": [["", ""], ["", ""]]}),
        ({"a": 1, "b": [1, 2, 3], "c": None, "d": None}, {"C": [], "D": [["", ""], ["", ""]]}),
        ({"a": 1, "b": [1, 2, 3], "c": [], "d": [None, ["r", "s"]]}, {"D": [["", ""], ["r", "s"]]}),
    ],
)  # fmt: skip
def test_optional_variables(
    model: LoadedModel, row: dict[str, Any], expected: dict[str, Any]
) -> None:
    document = {"signature_name": "ranks", "instances": [row, row]}
    found = answer(model, document, **OPTIONAL)["predictions"]
    assert repr({key: found[1][key] for key in expected}) == repr(expected)
    columns = {key: [value, value] for key, value in row.items()}
    found = answer(model, {"signature_name": "ranks", "inputs": columns}, **OPTIONAL)["outputs"]
    assert repr({key: found[key][1] for key in expected}) == repr(expected)


def test_a_null_beside_given_rows_takes_their_shape(model: LoadedModel) -> None:
    rest = {"a": 1, "b": [1, 2, 3], "d": [["", ""], ["", ""]]}
    rows = [{**rest, "c": None}, {**rest, "c": [4, 5]}, rest]
    found = answer(model, {"signature_name": "ranks", "instances": rows}, **OPTIONAL)
    assert [row["C"] for row in found["predictions"]] == [[-1, -1], [4, 5], [-1, -1]]


def test_what_is_not_optional_may_be_neither_null_nor_absent(model: LoadedModel) -> None:
    row = {"a": 1, "b": [1, 2, 3], "c": [4], "d": [["", ""], ["", ""]]}
    for wrong in ({**row, "b": None}, {**row, "b": [1, None, 3]}):
        with pytest.raises(InvalidRequest, match=r"key: b.*JSON Value: null Type: Null"):
            answer(model, {"signature_name": "ranks", "instances": [wrong]}, **OPTIONAL)
    del row["b"]
    with pytest.raises(InvalidRequest, match="missing: b"):
        answer(model, {"signature_name": "ranks", "instances": [row]}, **OPTIONAL)


def test_shapes_are_checked_before_the_model_sees_them(model: LoadedModel) -> None:
    row = {"a": 1, "b": [1, 2], "c": [4], "d": [["", ""], ["", ""]]}
    with pytest.raises(InvalidRequest, match=r"key: b .*Expecting shape \[3\] but got: \[2\]"):
        read(model, {"signature_name": "ranks", "instances": [row]})
    with pytest.raises(InvalidRequest, match=r"input: x .*Expecting shape \[\] but got: \[1\]"):
        answer(model, {"inputs": [[1.0]]})


def test_a_poisoned_request_spoils_the_shared_assembly_and_not_its_own(model: LoadedModel) -> None:
    good, bad = read(model, {"instances": [1.0]}), read(model, {"instances": [2.0, "x"]})
    with pytest.raises(InvalidRequest):
        answers(model, good, bad)
    assert answers(model, good) == [{"predictions": [2.0]}]
    with pytest.raises(InvalidRequest, match="element: 1 key: x"):
        answers(model, bad)


def test_columns_of_unequal_length_go_alone(model: LoadedModel) -> None:
    columns = {"a": [1, 2], "b": [[1, 2, 3]], "c": [[1]], "d": [[["", ""], ["", ""]]]}
    request = read(model, {"signature_name": "ranks", "inputs": columns})
    assert answers(model, request)[0]["outputs"]["A"] == [1.0, 2.0]
    assert request.key != read(model, {"signature_name": "ranks", "inputs": columns}).key
