"""Paths as TensorFlow Serving takes them. The first cases are those of its own tests, written anew:
``http_rest_api_handler_test.cc`` and ``http_rest_api_util_test.cc``."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.serving.routes import NOT_YET, NoRoute, Route, What, route

RESERVED = "%21%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D"
PLAIN = "!#$%&'()*+,/:;=?@[]"
UINT64_MAX = (1 << 64) - 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/foo"),
        ("POST", "/v1/foo"),
        ("GET", "/v1/models/debug/model_name"),
        ("POST", "/v1/models"),
        ("GET", "/v1/models/foo:predict"),
        ("GET", "/v1/models/foo/version/50:predict"),
        ("POST", "/v1/models/foo/version/50:regress"),
        ("POST", "/v1/models/foo/versions/HELLO:regress"),
        ("POST", "/v1/models/foo/metadata"),
        ("POST", "/v1/models/foo/label/some_label:regress"),
        ("POST", "/v1/models/foo/versions/50/labels/some_label:regress"),
        ("POST", "/v1/models/foo/versions/some_label:regress"),
        ("POST", "/v1/models/foo/versions/string:predict"),
        # Ours.
        ("PUT", "/v1/models/foo"),
        ("HEAD", "/v1/models/foo"),
        ("DELETE", "/v1/models/foo"),
        ("OPTIONS", "/v1/models/foo:predict"),
        ("POST", "/v1/models/foo:PREDICT"),
        ("POST", "/v1/models/foo:predict/"),
        ("POST", "/v1/models/foo:explain"),
        ("POST", "/v1/models/:predict"),
        ("POST", "/v1/models/foo/versions/١:predict"),
        ("POST", "/v1/models/foo/versions/-1:predict"),
        ("GET", "/v1/"),
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/foo/"),
        ("GET", "/v1/models/foo/labels/"),
    ],
)
def test_malformed(method: str, path: str) -> None:
    assert route(method, path) == NoRoute(400, f"Malformed request: {method} {path}")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/versions/1", "/V1/MODELS"])
def test_a_model_must_be_named(path: str) -> None:
    assert route("GET", path) == NoRoute(400, "Missing model name in request.")


@pytest.mark.parametrize("digits", [str(UINT64_MAX), str(1 << 63), "9" * 6000])
def test_a_version_must_be_a_number_of_64_bits(digits: str) -> None:
    problem = NoRoute(400, f"Failed to convert version: {digits} to numeric.")
    assert route("POST", f"/v1/models/foo/versions/{digits}:regress") == problem
    assert route("GET", f"/v1/models/foo/versions/{digits}") == problem


@pytest.mark.parametrize("digits", ["0", "007", str((1 << 63) - 1), "0" * 6000 + "1"])
def test_versions(digits: str) -> None:
    version = int(digits.lstrip("0") or "0")
    path = f"/v1/models/modelname/versions/{digits}"
    assert route("POST", f"{path}:predict") == Route(What.PREDICT, "modelname", version)
    assert route("GET", path) == Route(What.STATUS, "modelname", version)
    assert route("GET", f"{path}/metadata") == Route(What.METADATA, "modelname", version)


@pytest.mark.parametrize(
    ("sent", "name"), [("m", "m"), (f"m{RESERVED}", f"m{PLAIN}"), ("a+b%20%E2%82%AC", "a+b €")]
)
def test_names_and_labels_are_decoded_behind_matching(sent: str, name: str) -> None:
    assert route("GET", f"/v1/models/{sent}") == Route(What.STATUS, name)
    assert route("GET", f"/v1/models/{sent}/metadata") == Route(What.METADATA, name)
    assert route("POST", f"/v1/models/{sent}:predict") == Route(What.PREDICT, name)
    labelled = f"/v1/models/{sent}/labels/{sent}"
    assert route("POST", f"{labelled}:predict") == Route(What.PREDICT, name, alias=name)
    assert route("GET", labelled) == Route(What.STATUS, name, alias=name)
    assert route("GET", f"{labelled}/metadata") == Route(What.METADATA, name, alias=name)


def test_fixed_parts_may_be_of_either_case_and_metadata_not() -> None:
    assert route("POST", "/V1/Models/M/VERSIONS/1:predict") == Route(What.PREDICT, "M", 1)
    assert route("GET", "/v1/models/m/METADATA") == Route(What.STATUS, "m")
    assert route("GET", "/v1/models/metadata") == Route(What.STATUS, "metadata")


def test_what_comes_later_has_its_place() -> None:
    later = [
        route("POST", "/v1/models/m:classify"),
        route("POST", "/v1/models/m/versions/3:regress"),
        route("GET", "/v2/health/ready"),
        route("POST", "/v2/models/m/infer"),
        route("GET", "/v2"),
    ]
    whats = [found.what for found in later if isinstance(found, Route)]
    assert whats == [What.CLASSIFY, What.REGRESS] + [What.OPEN_INFERENCE] * 3
    assert set(whats) == NOT_YET


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("POST", "/trueup/v1/capture", What.CAPTURE),
        ("POST", "/trueup/v1/labels", What.LABELS),
        ("GET", "/livez", What.LIVE),
        ("HEAD", "/readyz", What.READY),
        ("GET", "/metrics", What.METRICS),
    ],
)
def test_our_own_paths(method: str, path: str, what: What) -> None:
    assert route(method, path) == Route(what)
    found = route("DELETE", path)
    assert isinstance(found, NoRoute)
    assert found.status == 405
    assert found.headers == (("Allow", "POST" if method == "POST" else "GET, HEAD"),)


@pytest.mark.parametrize("path", ["/", "*", "/v1", "/livez/", "/trueup/v1", "/v10/models", ""])
def test_nothing_elsewhere(path: str) -> None:
    found = route("GET", path)
    assert isinstance(found, NoRoute)
    assert (found.status, found.headers) == (404, ())


@settings(deadline=None, derandomize=True)
@given(st.sampled_from(["GET", "POST"]), st.text(max_size=40), st.text(max_size=20))
def test_any_path_is_a_route_or_none(method: str, name: str, rest: str) -> None:
    for path in (f"/v1/models/{name}{rest}", f"/v1/models/{name}:{rest}", f"/{name}", name):
        found = route(method, path)
        assert isinstance(found, Route) or found.status in (400, 404)
