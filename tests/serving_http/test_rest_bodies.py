"""Bodies as TensorFlow Serving prints them: the cases of its own tests, written anew."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trueup.serving.rest_bodies import (
    Code,
    VersionStatus,
    error,
    metadata_body,
    servable_not_found,
    status_body,
    status_not_found,
    unimplemented,
    unknown_alias,
)


def test_status() -> None:
    assert status_body([VersionStatus(123, "AVAILABLE")]) == (
        b"""{
 "model_version_status": [
  {
   "version": "123",
   "state": "AVAILABLE",
   "status": {
    "error_code": "OK",
    "error_message": ""
   }
  }
 ]
}
"""
    )


def test_status_of_a_version_that_failed() -> None:
    failed = VersionStatus(2, "END", Code.INTERNAL, 'no "x"')
    found = json.loads(status_body([VersionStatus(3, "LOADING"), failed]))
    assert [each["version"] for each in found["model_version_status"]] == ["3", "2"]
    assert found["model_version_status"][1] == {
        "version": "2",
        "state": "END",
        "status": {"error_code": "INTERNAL", "error_message": 'no "x"'},
    }


def test_errors() -> None:
    reply = error(Code.INVALID_ARGUMENT, 'a "b"\n\u20ac \ud800')
    assert reply.status == 400
    assert reply.content_type == "application/json"
    assert reply.body.startswith(b'{\n    "error": "')
    assert json.loads(reply.body) == {"error": 'a "b"\n€ ?'}


def test_what_is_not_there() -> None:
    said = [
        servable_not_found("foo", None),
        servable_not_found("foo", 50),
        status_not_found("foo", None),
        status_not_found("foo", 50),
        unknown_alias("canary"),
        unimplemented("classify"),
    ]
    assert [(reply.status, json.loads(reply.body)["error"]) for reply in said] == [
        (404, "Servable not found for request: Latest(foo)"),
        (404, "Servable not found for request: Specific(foo, 50)"),
        (404, "Could not find any versions of model foo"),
        (404, "Could not find version 50 of model foo"),
        (400, "Unrecognized servable version label: canary"),
        (501, "classify is not implemented yet; predict is"),
    ]


def test_every_code_has_its_status() -> None:
    by_status: dict[int, set[str]] = {}
    for code in Code:
        by_status.setdefault(code.http, set()).add(code.name)
    assert by_status == {
        200: {"OK"},
        400: {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"},
        401: {"UNAUTHENTICATED"},
        403: {"PERMISSION_DENIED"},
        404: {"NOT_FOUND"},
        409: {"ALREADY_EXISTS", "ABORTED"},
        429: {"RESOURCE_EXHAUSTED"},
        499: {"CANCELLED"},
        500: {"UNKNOWN", "INTERNAL", "DATA_LOSS"},
        501: {"UNIMPLEMENTED"},
        503: {"UNAVAILABLE"},
        504: {"DEADLINE_EXCEEDED"},
    }


def tensor(name: str, dtype: str = "DT_FLOAT", sizes: tuple[int, ...] | None = (-1, 1)) -> Any:
    shape = "unknown_rank: true"
    if sizes is not None:
        shape = " ".join(f"dim {{ size: {size} }}" for size in sizes)
    return f'value {{ name: "{name}" dtype: {dtype} tensor_shape {{ {shape} }} }}'


@pytest.mark.heavy
def test_metadata() -> None:
    """Of the model half_plus_two, as ``saved_model_half_plus_two_2_versions_metadata.json``."""
    from google.protobuf import text_format
    from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

    predict = text_format.Parse(
        f'inputs {{ key: "x" {tensor("x:0")} }} outputs {{ key: "y" {tensor("y:0")} }} '
        'method_name: "tensorflow/serving/predict"',
        SignatureDef(),
    )
    classify = text_format.Parse(
        f'inputs {{ key: "inputs" {tensor("tf_example:0", "DT_STRING", None)} }} '
        f'outputs {{ key: "scores" {tensor("y:0", sizes=())} }} '
        'method_name: "tensorflow/serving/classify"',
        SignatureDef(),
    )
    body = metadata_body("half_plus_two", 123, {"serving_default": predict, "classify": classify})
    found = json.loads(body)
    assert found["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "123"}
    assert list(found) == ["model_spec", "metadata"]
    dims = [{"size": "-1", "name": ""}, {"size": "1", "name": ""}]
    known = {"dim": dims, "unknown_rank": False}
    assert found["metadata"] == {
        "signature_def": {
            "signature_def": {
                "serving_default": {
                    "inputs": {"x": {"dtype": "DT_FLOAT", "tensor_shape": known, "name": "x:0"}},
                    "outputs": {"y": {"dtype": "DT_FLOAT", "tensor_shape": known, "name": "y:0"}},
                    "method_name": "tensorflow/serving/predict",
                    "defaults": {},
                },
                "classify": {
                    "inputs": {
                        "inputs": {
                            "dtype": "DT_STRING",
                            "tensor_shape": {"dim": [], "unknown_rank": True},
                            "name": "tf_example:0",
                        }
                    },
                    "outputs": {
                        "scores": {
                            "dtype": "DT_FLOAT",
                            "tensor_shape": {"dim": [], "unknown_rank": False},
                            "name": "y:0",
                        }
                    },
                    "method_name": "tensorflow/serving/classify",
                    "defaults": {},
                },
            }
        }
    }
