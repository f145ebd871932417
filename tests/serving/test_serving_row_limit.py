"""``serving.max_request_rows``: a few bytes a row must not become gigabytes of tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

from tests.serving.in_process import Columns, serving
from trueup.records.capture import Body, FrameKind
from trueup.serving.json_read import read_predict
from trueup.serving.row_limit import TooManyRows
from trueup.serving.signature import Signature, TensorSpec

MOST = 50
NDJSON = "application/x-ndjson"


def body_of(rows: int, form: str) -> bytes:
    if form == "instances":
        return orjson.dumps({"instances": [{}] * rows})
    if form == "columns":
        return orjson.dumps({"inputs": {"x": [1.5] * rows}})
    # Refused for something else first: it must not be written down as a million rows either.
    return orjson.dumps({"instances": [{}] * rows, "signature_name": "none"})


@pytest.mark.parametrize("form", ["instances", "columns"])
def test_a_request_of_too_many_rows_is_refused_before_tensors_are_made(
    tmp_path: Path, form: str
) -> None:
    seen: list[int] = []

    def model(columns: Columns) -> dict[str, np.ndarray]:
        seen.append(len(columns["x"]))
        return {"y": columns["x"]}

    with serving(tmp_path, model=model, max_rows=MOST) as server:
        assert server.post(body_of(MOST, form)).status_code == 200
        answer = server.post(body_of(MOST + 1, form), **{"X-Request-Id": "many"})
        assert answer.status_code == 413
        assert f"{MOST + 1} rows, and {MOST} are allowed" in answer.json()["error"]
        assert "serving.max_request_rows" in answer.json()["error"]
        assert server.post(body_of(1, form)).status_code == 200
        assert server.lanes[0].values()["refused"] == {"413": 1}
    assert seen == [MOST, 1]
    (refused,) = [f for f in server.captured() if f.kind is FrameKind.REFUSED]
    assert (refused.status, refused.request_id, refused.rows) == (413, "many", 0)
    assert (refused.body, refused.request) == (Body.OMITTED, b"")
    assert refused.request_bytes == len(body_of(MOST + 1, form))
    assert f"{MOST + 1} rows" in refused.error


def test_what_is_refused_for_something_else_is_not_written_down_as_its_rows(tmp_path: Path) -> None:
    with serving(tmp_path, max_rows=MOST) as server:
        for rows in (MOST, MOST + 1):
            answer = server.post(body_of(rows, "unknown signature"))
            assert answer.status_code in (400, 413)
    few, many = server.captured()
    assert (few.body, few.rows) == (Body.PREDICT, MOST)
    assert (many.body, many.rows) == (Body.OMITTED, 0)


@pytest.mark.parametrize(("path", "rows_key", "row"), [
    ("/trueup/v1/capture", "rows", {"instance": {"x": 1}}),
    ("/trueup/v1/labels", "labels", {"id": "a/0", "label": 1}),
])  # fmt: skip
def test_rows_and_labels_that_are_sent_are_bounded_too(
    tmp_path: Path, path: str, rows_key: str, row: dict[str, object]
) -> None:
    def as_json(rows: int) -> bytes:
        return orjson.dumps({"model": "m", rows_key: [row] * rows})

    def as_lines(rows: int) -> bytes:
        line = orjson.dumps({"model": "m", **row})
        return b"\n \n".join([line] * rows) + b"\n\n\n"  # empty lines count for nothing

    with serving(tmp_path, max_rows=MOST) as server:
        for make, headers in ((as_json, {}), (as_lines, {"Content-Type": NDJSON})):
            answer = server.post(make(MOST), path, **headers)
            assert (answer.status_code, answer.json()["accepted"]) == (200, MOST)
            answer = server.post(make(MOST + 1), path, **headers)
            assert answer.status_code == 413
            assert f"{MOST + 1} rows, and {MOST} are allowed" in answer.json()["error"]
    assert sum(frame.rows for frame in server.captured()) == 2 * MOST


def test_a_tensor_without_a_batch_dimension_has_no_rows() -> None:
    spec = {"wave": TensorSpec("wave", "w:0", "float32", (200,))}
    signatures = {"serving_default": Signature("serving_default", "predict", spec, spec)}
    assert read_predict({"inputs": [0.0] * 200}, signatures, max_rows=10).values is None
    whole = {"any": TensorSpec("any", "a:0", "float32", None)}
    signatures = {"serving_default": Signature("serving_default", "predict", whole, whole)}
    with pytest.raises(TooManyRows, match="200 rows, and 10 are"):
        read_predict({"inputs": [0.0] * 200}, signatures, max_rows=10)
