"""JSON → tensors → JSON is what TensorFlow's own conversion of the same values gives."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trueup.serving.json_read import InvalidRequest, assemble, parse_json, read_predict
from trueup.serving.json_write import prepare_outputs, write_predictions
from trueup.serving.saved_model import LoadedModel
from trueup.serving.signature import Signature, TensorSpec

pytestmark = pytest.mark.heavy

FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES = (*FLOATS, *INTEGERS, "bool", "string")
ROUNDS = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# Text that JSON can hold (no half of a surrogate pair).
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def elements(dtype: str) -> st.SearchStrategy[Any]:
    if dtype in FLOATS:
        return st.floats() | st.integers(-(2**63), 2**64 - 1)
    if dtype in INTEGERS:
        limits = np.iinfo(dtype)
        return st.integers(int(limits.min), int(limits.max))
    return st.booleans() if dtype == "bool" else TEXT


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, tuple[int, ...], Any]:
    """A dtype, a shape of up to three dimensions behind the batch's, and nested lists."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple))
    values = elements(dtype)
    for dim in reversed(shape):
        values = st.lists(values, min_size=dim, max_size=dim)
    return dtype, shape, draw(values)


def signature(dtype: str, shape: tuple[int | None, ...]) -> Signature:
    spec = {"t": TensorSpec("t", "t:0", dtype, shape)}
    return Signature("serving_default", "predict", spec, spec)


def tensorflow_array(values: Any, dtype: str) -> np.ndarray:
    import tensorflow as tf

    return tf.constant(values, dtype=dtype).numpy()


def same(ours: np.ndarray, theirs: np.ndarray) -> None:
    if theirs.dtype == object:
        encoded = [value.encode() if isinstance(value, str) else value for value in ours.ravel()]
        assert encoded == theirs.ravel().tolist()
    else:
        assert ours.dtype == theirs.dtype
        # Equal bits, so that -0.0 is not 0.0, but any NaN is NaN.
        a_number = ours == ours
        assert (a_number == (theirs == theirs)).all()
        assert ours[a_number].tobytes() == theirs[a_number].tobytes()
    assert ours.shape == theirs.shape


@ROUNDS
@given(tensor=tensors(), row_format=st.booleans(), open_dimensions=st.booleans())
def test_tensors_are_tensorflows(
    tensor: tuple[str, tuple[int, ...], Any], row_format: bool, open_dimensions: bool
) -> None:
    dtype, shape, values = tensor
    row_shape = (None,) * (len(shape) - 1) if open_dimensions else shape[1:]
    called = signature(dtype, (None, *row_shape))
    document = {"instances": values} if row_format else {"inputs": {"t": values}}
    body = json.dumps(document).encode()
    request = read_predict(parse_json(body, max_depth=64), {called.name: called})
    arrays, slices = assemble(called, [request])
    assert slices == [(0, shape[0])]
    same(arrays["t"], tensorflow_array(values, dtype))


@ROUNDS
@given(tensor=tensors(), row_format=st.booleans())
def test_what_is_written_is_the_tensor(
    tensor: tuple[str, tuple[int, ...], Any], row_format: bool
) -> None:
    dtype, shape, values = tensor
    array = tensorflow_array(values, dtype)
    called = signature(dtype, (None, *shape[1:]))
    text = write_predictions(called, row_format, {"t": array}, 0, shape[0])
    found = json.loads(text)["predictions" if row_format else "outputs"]
    same(np.asarray(tensorflow_array(found, dtype)), array)


@ROUNDS
@given(tensor=tensors(), data=st.data())
def test_a_shared_call_is_written_as_its_parts(
    tensor: tuple[str, tuple[int, ...], Any], data: st.DataObject
) -> None:
    dtype, shape, values = tensor
    array = tensorflow_array(values, dtype)
    called = signature(dtype, (None, *shape[1:]))
    cut = data.draw(st.integers(0, shape[0]))
    slices = [(0, cut), (cut, shape[0])]
    prepared = prepare_outputs(called, {"t": array}, slices)
    for start, stop in slices:
        assert prepared.write(True, start, stop) == write_predictions(
            called, True, {"t": array[start:stop]}, 0, stop - start
        )


def tensorflow_refuses_or_alters(value: Any, dtype: str) -> bool:
    """TensorFlow wraps integers and takes some booleans for numbers; a client must not."""
    try:
        theirs = tensorflow_array([value], dtype)
    except (TypeError, ValueError, OverflowError, SystemError):
        return True
    return type(value) is bool or theirs.item() != value


JSON_SCALARS = (
    st.none() | st.booleans() | TEXT | st.floats() | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([0, 1, -1, 127, 128, 255, 256, 65535, 65536, 2**31, 2**32, "1", "nan", 1.0])
)  # fmt: skip


@ROUNDS
@given(dtype=st.sampled_from(DTYPES), value=JSON_SCALARS)
def test_what_is_refused_tensorflow_refuses_too(dtype: str, value: Any) -> None:
    """Or it makes another value of it; and what is taken is the same."""
    called = signature(dtype, (None,))
    body = json.dumps({"instances": [value]}).encode()
    request = read_predict(parse_json(body, max_depth=64), {called.name: called})
    try:
        ours = assemble(called, [request])[0]["t"]
    except InvalidRequest:
        assert tensorflow_refuses_or_alters(value, dtype)
        return
    same(ours, tensorflow_array([value], dtype))


@ROUNDS
@given(strings=st.lists(st.binary(max_size=12), min_size=1, max_size=4))
def test_bytes_go_both_ways(strings: list[bytes]) -> None:
    spec = {"raw_bytes": TensorSpec("raw_bytes", "t:0", "string", (None,))}
    called = Signature("serving_default", "predict", spec, spec)
    instances = [{"b64": base64.b64encode(value).decode()} for value in strings]
    body = json.dumps({"instances": instances}).encode()
    request = read_predict(parse_json(body, max_depth=64), {called.name: called})
    arrays, _ = assemble(called, [request])
    assert arrays["raw_bytes"].tolist() == strings
    text = write_predictions(called, True, arrays, 0, len(strings))
    assert json.loads(text) == {"predictions": instances}


@settings(ROUNDS, max_examples=100)
@given(data=st.data())
def test_a_model_that_changes_nothing_answers_what_it_was_asked(
    model: LoadedModel, data: st.DataObject
) -> None:
    called = model.signatures["scalars"]
    rows = data.draw(
        st.lists(
            st.fixed_dictionaries({key: elements(s.dtype) for key, s in called.inputs.items()}),
            min_size=1,
            max_size=4,
        )
    )
    body = json.dumps({"signature_name": "scalars", "instances": rows}).encode()
    request = read_predict(parse_json(body, max_depth=64), model.signatures)
    arrays, slices = assemble(called, [request])
    prepared = prepare_outputs(called, model.run("scalars", arrays), slices)
    for row, answered in zip(
        rows, json.loads(prepared.write(True, *slices[0]))["predictions"], strict=True
    ):
        assert base64.b64decode(answered.pop("text_bytes")["b64"]).decode() == row["text"]
        for key, value in row.items():
            found = answered[f"{key}_out"]
            if called.inputs[key].dtype in FLOATS:
                with np.errstate(over="ignore"):
                    expected = float(np.dtype(called.inputs[key].dtype).type(float(value)))
                    found = float(np.dtype(called.inputs[key].dtype).type(found))
                assert found == expected or (math.isnan(found) and math.isnan(expected))
            else:
                assert found == value and type(found) is type(value)
