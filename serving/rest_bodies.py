"""Bodies of errors, status and metadata, in the very form in which TensorFlow Serving writes them.

It prints protocol buffers as JSON with all fields, also those that have their default; numbers of
64 bits are texts, as proto3 JSON wants it (``http_rest_api_util.cc``, ``json_tensor.cc``).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

from trueup.serving.http_message import CLIENT_CLOSED_REQUEST, Reply, error_reply


class Code(IntEnum):
    """gRPC's codes, in whose words TensorFlow Serving thinks."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @property
    def http(self) -> int:
        """The status of a reply (``ToHTTPStatusCode`` in ``http_server.cc``).

        >>> Code.RESOURCE_EXHAUSTED.http, Code.UNAVAILABLE.http
        (429, 503)
        """
        return _HTTP[self]


_HTTP = {
    Code.OK: 200,
    Code.CANCELLED: CLIENT_CLOSED_REQUEST,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


class VersionStatus(NamedTuple):
    """Of one version of a model.

    :param state: ``UNKNOWN``, ``START``, ``LOADING``, ``AVAILABLE``, ``UNLOADING`` or ``END``.
    """

    version: int
    state: str
    code: Code = Code.OK
    message: str = ""


def error(code: Code, message: str) -> Reply:
    return error_reply(code.http, message)


def unimplemented(what: str) -> Reply:
    """For a path that has its place already: ``what`` as in ``classify``."""
    return error(Code.UNIMPLEMENTED, f"{what} is not implemented yet; predict is")


def servable_not_found(model: str, version: int | None) -> Reply:
    """No such model or version to predict with, or to say the metadata of."""
    asked = f"Latest({model})" if version is None else f"Specific({model}, {version})"
    return error(Code.NOT_FOUND, f"Servable not found for request: {asked}")


def status_not_found(model: str, version: int | None) -> Reply:
    """No such model or version to say the status of."""
    what = "any versions" if version is None else f"version {version}"
    return error(Code.NOT_FOUND, f"Could not find {what} of model {model}")


def unknown_alias(alias: str) -> Reply:
    return error(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {alias}")


def status_body(versions: Iterable[VersionStatus]) -> bytes:
    """``GetModelStatusResponse``, of one version or of all."""
    return _printed(
        {
            "model_version_status": [
                {
                    "version": str(found.version),
                    "state": found.state,
                    "status": {"error_code": found.code.name, "error_message": found.message},
                }
                for found in versions
            ]
        }
    )


def metadata_body(
    model: str, version: int, signatures: Mapping[str, Any], *, signature_name: str = ""
) -> bytes:
    """``GetModelMetadataResponse``.

    :param signatures: ``SignatureDef`` messages by name: all that the SavedModel has.
    """
    return _printed(
        {
            "model_spec": {
                "name": model,
                "signature_name": signature_name,
                "version": str(version),
            },
            "metadata": {
                "signature_def": {
                    "signature_def": {
                        name: _as_json(signature) for name, signature in signatures.items()
                    }
                }
            },
        }
    )


def _as_json(message: Any) -> dict[str, Any]:
    from google.protobuf import json_format

    found: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, **{_all_fields(): True}
    )
    return found


@lru_cache(maxsize=1)
def _all_fields() -> str:
    """The option that prints defaults: protobuf 5.26 gave it another name."""
    from google.protobuf import json_format

    known = inspect.signature(json_format.MessageToDict).parameters
    new = "always_print_fields_with_no_presence"
    return new if new in known else "including_default_value_fields"


def _printed(value: Any) -> bytes:
    """As protobuf prints with ``add_whitespace``."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")
