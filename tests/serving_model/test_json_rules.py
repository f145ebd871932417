"""TensorFlow Serving's rules, case by case: those of its json_tensor_test.cc, written anew."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from trueup.serving.json_read import InvalidRequest, assemble, parse_json, read_predict
from trueup.serving.json_write import prepare_outputs, write_predictions
from trueup.serving.signature import Signature, TensorSpec


def signature(**dtypes: str) -> dict[str, Signature]:
    """A default signature of tensors whose rank is not known, as in TensorFlow Serving's tests."""
    specs = {key: TensorSpec(key, f"{key}:0", dtype, None) for key, dtype in sorted(dtypes.items())}
    return {"serving_default": Signature("serving_default", "predict", specs, specs)}


def tensors(text: str | bytes, signatures: dict[str, Signature]) -> dict[str, np.ndarray]:
    body = text if isinstance(text, bytes) else text.encode()
    request = read_predict(parse_json(body, max_depth=64), signatures)
    return assemble(request.signature, [request])[0]


def refusal(text: str | bytes, signatures: dict[str, Signature]) -> str:
    with pytest.raises(InvalidRequest) as caught:
        tensors(text, signatures)
    return str(caught.value)


def test_a_single_unnamed_tensor() -> None:
    found = tensors('{"instances": [[1,2],[3,4],[5,6]]}', signature(default="int32"))["default"]
    assert found.dtype == np.int32
    assert found.tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_integers_and_floats_mix_in_a_float_tensor(dtype: str) -> None:
    text = '{"instances": [1, 2.0, 3, 4, 5.003, 0.007, 0.0]}'
    found = tensors(text, signature(default=dtype))["default"]
    assert found.dtype == dtype
    assert found.tolist() == np.array([1, 2, 3, 4, 5.003, 0.007, 0], dtype).tolist()


def test_a_float_tensor_loses_precision_alike_with_and_without_a_point() -> None:
    for text in ("1435774380", "1435774380.0"):
        found = tensors(f'{{"instances": [{text}]}}', signature(default="float32"))["default"]
        assert found.tolist() == [float(np.float32(1435774380))]


def test_what_exceeds_a_float_is_infinite_and_what_is_too_small_is_zero() -> None:
    text = '{"instances": [1.7976931348623157e308, -1.7976931348623157e308, 1e999, 2.2e-308]}'
    found = tensors(text, signature(default="float32"))["default"]
    assert found.tolist() == [math.inf, -math.inf, math.inf, 0.0]


def test_a_signature_by_name() -> None:
    named = {"predict_images": signature(default="int32")["serving_default"]}
    text = '{"signature_name": "predict_images", "instances": [[1,2]]}'
    assert tensors(text, named)["default"].tolist() == [[1, 2]]
    assert refusal('{"instances": [[1,2]]}', named) == (
        'Serving signature name: "serving_default" not found in signature def'
    )


def test_an_empty_signature_name_is_the_default() -> None:
    text = '{"signature_name": "", "instances": [1]}'
    assert tensors(text, signature(default="int32"))["default"].tolist() == [1]


@pytest.mark.parametrize(
    ("instances", "expected"),
    [
        ('[{"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}]', [b"hello", b"world"]),
        ('[[{"b64": "aGVsbG8="}], [{"b64": "d29ybGQ="}]]', [[b"hello"], [b"world"]]),
        ('[{"default": [{"b64": "aGVsbG8"}, {"b64": ""}]}]', [[b"hello", b""]]),
        ('[{"b64": "aGVs bG8="}, "plain"]', [b"hello", "plain"]),
        ('[{"b64": ""}]', [b""]),
    ],
)  # fmt: skip
def test_base64(instances: str, expected: list[Any]) -> None:
    found = tensors(f'{{"instances": {instances}}}', signature(default="string"))["default"]
    assert found.tolist() == expected


@pytest.mark.parametrize("text", ["aGVsbG8==", "a", "!!!!", "aGVsbG-_", "aGV=sbG8", "é"])
def test_what_is_no_base64(text: str) -> None:
    said = refusal(json.dumps({"instances": [{"b64": text}]}), signature(default="string"))
    assert "Unable to base64 decode" in said
    assert "default" in said


def test_several_named_tensors() -> None:
    text = """{"instances": [
        {"int_tensor": [[1,2],[3,4],[5,6]], "str_tensor": ["foo", "bar"],
         "float_tensor": [1.0, NaN], "dbl_tensor": [NaN]},
        {"int_tensor": [[7,8],[9,0],[1,2]], "str_tensor": ["baz", "bat"],
         "float_tensor": [2.0, Infinity], "dbl_tensor": [2.0]}]}"""
    dtypes = {
        "int_tensor": "int32",
        "str_tensor": "string",
        "float_tensor": "float32",
        "dbl_tensor": "float64",
    }
    found = tensors(text, signature(**dtypes))
    assert found["int_tensor"].tolist() == [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0], [1, 2]]]
    assert found["str_tensor"].tolist() == [["foo", "bar"], ["baz", "bat"]]
    np.testing.assert_array_equal(found["float_tensor"], np.array([[1, np.nan], [2, np.inf]]))
    np.testing.assert_array_equal(found["dbl_tensor"], np.array([[np.nan], [2]]))
    assert {key: array.dtype.name for key, array in found.items() if key != "str_tensor"} == {
        "int_tensor": "int32",
        "float_tensor": "float32",
        "dbl_tensor": "float64",
    }


@pytest.mark.parametrize("inputs", ['{"t": [[[1,2],[3,4]]]}', "[[[1,2],[3,4]]]"])
def test_columns_of_a_single_tensor(inputs: str) -> None:
    found = tensors(f'{{"inputs": {inputs}}}', signature(t="int32"))["t"]
    assert found.tolist() == [[[1, 2], [3, 4]]]


def test_columns_of_several_tensors_and_one_without_dimensions() -> None:
    text = """{"inputs": {"int_tensor": [[[1,2],[3,4],[5,6]]], "str_tensor": ["foo", "bar"],
        "bin_tensor": {"b64": "aGVsbG8="}, "unknown": 7}, "context": {"ignored": true}}"""
    found = tensors(text, signature(int_tensor="int32", str_tensor="string", bin_tensor="string"))
    assert found["int_tensor"].shape == (1, 3, 2)
    assert found["str_tensor"].tolist() == ["foo", "bar"]
    assert found["bin_tensor"].shape == ()
    assert found["bin_tensor"].item() == b"hello"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("  \n", "JSON Parse error: The document is empty"),
        ("[1]", "Is not object"),
        ("5", "Is not object"),
        ('{"signature_name": 5, "instances": [1]}', "'signature_name' key must be a string value"),
        ('{"signature_name": null, "instances": [1]}', "key must be a string value"),
        ('{"instances": [1], "inputs": [1]}', "Not formatted correctly"),
        ('{"signature_name": "serving_default"}', "Missing 'inputs' or 'instances' key"),
        ('{"instances": {"a": 1}}', "Expecting 'instances' to be an list/array"),
        ('{"instances": []}', "No values in 'instances' array"),
        ('{"instances": [[1,2],[3,4],[5,6,7]]}', "Expecting tensor size: 2 but got: 3"),
        ('{"instances": [[1,2],[3,4],[[5,6]]]}', "Expecting shape [2] but got: [1,2]"),
        ('{"instances": [1, [1]]}', "Expecting shape [] but got: [1]"),
        ('{"instances": [[1,2],["a","b"]]}', 'JSON Value: "a" Type: String is not of expected'),
        ('{"instances": [[1,[2]]]}', "Encountered list at unexpected level: 1 expected < 1"),
        ('{"instances": [[[1],2]]}', "found at incorrect level: 2 in the JSON DOM. Expected at"),
        ('{"instances": [[[1],[2,3]]]}', "unexpected size: 2 at level: 1 expected size: 1"),
        ('{"instances": [1.0]}', "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ('{"instances": [true]}', "Type: True is not of expected type: int32"),
        ('{"instances": [null]}', "Type: Null is not of expected type: int32"),
        ('{"instances": [{"b64": "aGVsbG8="}]}', "Type: Object is not of expected type: int32"),
        ('{"instances": [2147483648]}', "JSON Value: 2147483648 Type: Number is not of expected"),
        ('{"inputs": {}}', "Missing named input: default in 'inputs' object"),
    ],
)  # fmt: skip
def test_what_a_single_tensor_refuses(text: str, said: str) -> None:
    assert said in refusal(text, signature(default="int32"))


TWO = {"int_tensor": "int32", "str_tensor": "string"}


@pytest.mark.parametrize(
    ("instances", "said"),
    [
        ([{"int_tensor": [[1, 2]], "str_tensor": ["a"]},
          {"int_tensor": [[[1, 2]]], "str_tensor": ["b"]}], "Expecting shape"),
        ([{"int_tensor": [[1], [2]], "str_tensor": ["a"]},
          {"int_tensor": [[1]], "str_tensor": ["b"]}], "Expecting tensor size"),
        ([{"int_tensor": [1], "str_tensor": ["a"]}, [1, 20, 30]], "Expecting object but got list"),
        ([{"int_tensor": [1], "str_tensor": ["a"]}, None], "Expecting object but got list"),
        ([1, 2], "instances is a plain list, but expecting list of objects"),
        ([{"int_tensor": 1}], "keys must be equal to: int_tensor,str_tensor"),
        ([{"int_tensor": 1, "str_tensor": "a", "more": 1}], "does not have named input: more"),
    ],
)  # fmt: skip
def test_what_several_tensors_refuse(instances: list[Any], said: str) -> None:
    assert said in refusal(json.dumps({"instances": instances}), signature(**TWO))


def test_a_value_and_an_object_do_not_mix() -> None:
    text = '{"instances": [["baz"], {"str_tensor": ["bat"]}]}'
    said = refusal(text, signature(str_tensor="string"))
    assert said == "Expecting value/list but got object at item 1 of input list"


def test_columns_of_several_tensors_need_names() -> None:
    assert "inputs is a plain value/list" in refusal('{"inputs": [1]}', signature(**TWO))
    said = refusal('{"inputs": {"int_tensor": [1]}}', signature(**TWO))
    assert said == "Missing named input: str_tensor in 'inputs' object."


def test_a_message_names_variable_and_row() -> None:
    rows = [{"a": 1.5, "b": "x"}, {"a": 2.5, "b": "y"}, {"a": "2.5", "b": "z"}]
    said = refusal(json.dumps({"instances": rows}), signature(a="float32", b="string"))
    assert said == (
        "Failed to process element: 2 key: a of 'instances' list. Error: INVALID_ARGUMENT: "
        'JSON Value: "2.5" Type: String is not of expected type: float'
    )


def test_of_duplicate_keys_the_last_counts() -> None:
    assert tensors('{"instances": [1], "instances": [2]}', signature(x="int32"))["x"] == [2]


# Writing


def written(row_format: bool, **outputs: np.ndarray) -> Any:
    specs = {key: TensorSpec(key, key, "", None) for key in sorted(outputs)}
    called = Signature("serving_default", "predict", specs, specs)
    text = write_predictions(called, row_format, outputs, 0, 1 << 30).decode()
    assert prepare_outputs(called, outputs, [(0, 3)]).write(row_format, 0, 3).decode() == text
    return json.loads(text)


def test_one_output_loses_its_name() -> None:
    array = np.arange(12, dtype=np.int32).reshape(2, 3, 2)
    assert written(True, t=array) == {"predictions": array.tolist()}
    assert written(False, t=array) == {"outputs": array.tolist()}
    assert written(True, t=np.arange(5)) == {"predictions": [0, 1, 2, 3, 4]}


def test_strings_whose_name_ends_in_bytes_are_base64() -> None:
    strings = np.array([[b"hello", b"world"], [b"tf", b"serving"]], np.object_)
    as_bytes = [
        [{"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}],
        [{"b64": "dGY="}, {"b64": "c2VydmluZw=="}],
    ]
    assert written(True, t_bytes=strings) == {"predictions": as_bytes}
    assert written(True, t=strings) == {"predictions": [["hello", "world"], ["tf", "serving"]]}
    assert written(True, t_bytes=np.array([1, 2])) == {"predictions": [1, 2]}


def test_a_string_that_is_no_text_is_base64() -> None:
    assert written(True, t=np.array([b"\xff\x00", "é".encode()], np.object_)) == {
        "predictions": [{"b64": "/wA="}, "é"]
    }


def test_floats_have_their_own_shortest_digits_and_a_point() -> None:
    specs = {"t": TensorSpec("t", "t", "float32", None)}
    called = Signature("s", "predict", specs, specs)
    array = np.array([[9000000, 999999, 0.5], [0.0003, 0.2, 555557.5]], np.float32)
    text = write_predictions(called, True, {"t": array}, 0, 2)
    assert text == b'{"predictions":[[9000000.0,999999.0,0.5],[0.0003,0.2,555557.5]]}'


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_that_are_not_finite_are_bare_tokens(dtype: type) -> None:
    specs = {"t": TensorSpec("t", "t", "", None)}
    called = Signature("s", "predict", specs, specs)
    array: Any = np.array([[np.nan, np.inf], [3, -np.inf]], dtype)
    assert write_predictions(called, True, {"t": array}, 0, 2) == (
        b'{"predictions":[[NaN,Infinity],[3.0,-Infinity]]}'
    )
    assert write_predictions(called, True, {"t": array[:, 0]}, 0, 2) == b'{"predictions":[NaN,3.0]}'
    assert write_predictions(called, False, {"t": array[0, 0]}, 0, 2) == b'{"outputs":NaN}'


def test_several_outputs_are_objects() -> None:
    outputs = {
        "a%b": np.array([8.0, 9.0]),
        "flag": np.array([True, False]),
        "s_bytes": np.array([b"x", b"y"], np.object_),
        "v": np.array([[1], [2]], np.uint8),
    }
    assert written(True, **outputs) == {
        "predictions": [
            {"a%b": 8.0, "flag": True, "s_bytes": {"b64": "eA=="}, "v": [1]},
            {"a%b": 9.0, "flag": False, "s_bytes": {"b64": "eQ=="}, "v": [2]},
        ]
    }
    assert written(False, **outputs) == {
        "outputs": {
            "a%b": [8.0, 9.0],
            "flag": [True, False],
            "s_bytes": [{"b64": "eA=="}, {"b64": "eQ=="}],
            "v": [[1], [2]],
        }
    }


@pytest.mark.parametrize("shape", [(0,), (0, 2), (0, 1, 2), (2, 0), (2, 0, 3), (2, 3, 0), (1, 1)])
def test_empty_dimensions(shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, np.float32)
    assert written(True, t=array) == {"predictions": array.tolist()}
    assert written(False, t=array) == {"outputs": array.tolist()}
    assert written(True, t=np.full(shape, b"", np.object_)) == {
        "predictions": np.full(shape, "", np.object_).tolist()
    }


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        ({"t": np.zeros(2, np.complex64)}, "tensor type: complex64"),
        ({"t": np.int32(1)}, "Tensor name: t has no shape information"),
        ({"a": np.zeros((2, 3)), "b": np.zeros((1, 3))},
         "Tensor name: b has inconsistent batch size: 1 expecting: 2"),
        ({"a": np.zeros((0, 3)), "b": np.zeros((1, 3))}, "inconsistent batch size"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_in_rows(outputs: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        written(True, **{key: np.asarray(array) for key, array in outputs.items()})


def test_columns_may_have_different_sizes() -> None:
    found = written(False, a=np.zeros((2, 1)), b=np.zeros(3), c=np.array(7))
    assert found == {"outputs": {"a": [[0.0], [0.0]], "b": [0.0, 0.0, 0.0], "c": 7}}
