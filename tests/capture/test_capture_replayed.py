"""Captured requests, rebuilt as clients sent them."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from tests.capture.conftest import NOW, Lab, frame
from trueup.config.serving import ColumnPolicy, ModelCaptureSettings
from trueup.config.settings import ModelSettings
from trueup.records.capture import FrameKind
from trueup.records.input_spec import InputSpec, Kind, Role, Variable
from trueup.replay.requests import Requests, captured_requests

SPEC = InputSpec(
    variables=(
        Variable(name="x", dtype="float64", kind=Kind.NUMERIC),
        Variable(name="kind", dtype="string", kind=Kind.CATEGORICAL, optional=True),
        Variable(name="at", dtype="timestamp", kind=Kind.TIME, role=Role.TIME),
    )
)


def row(x: float, minutes: int = 30, **more: Any) -> dict[str, Any]:
    return {"x": x, "at": (NOW - timedelta(minutes=minutes)).isoformat(), **more}


def asked(lab: Lab, most_rows: int = 100) -> Requests:
    found = captured_requests(lab.settings, lab.engine, lab.blobs, "flights", SPEC, most_rows)
    assert isinstance(found, Requests), found
    return found


def test_rows_of_a_request_are_together_whatever_their_times(lab: Lab) -> None:
    lab.declare(SPEC)
    lab.segment([
        frame([row(1.0, 50, kind="a"), row(2.0, 10)]),
        frame([row(3.0, 40), row(4.0, 20, kind="b")]),
    ])  # fmt: skip
    lab.compact()
    found = asked(lab)
    sent = [[(i["x"], i["kind"]) for i in request.instances] for request in found.requests]
    assert sent == [[(3.0, None), (4.0, "b")], [(1.0, "a"), (2.0, None)]]
    assert found.rows["x"].to_pylist() == [3.0, 4.0, 1.0, 2.0]
    assert found.words == "2 captured requests (4 rows)"


def test_only_what_was_answered_counts_and_the_newest_first(lab: Lab) -> None:
    lab.declare(SPEC)
    lab.segment([frame([row(float(n))]) for n in range(5)])
    lab.segment([
        frame([row(9.0)], kind=FrameKind.REFUSED, status=400), frame([row(8.0)], shadow=True),
        frame([row(float(n)) for n in (5, 6, 7)]),
    ])  # fmt: skip
    lab.compact()
    found = asked(lab, most_rows=5)
    assert [[i["x"] for i in r.instances] for r in found.requests] == [
        [5.0, 6.0, 7.0],
        [4.0],
        [3.0],
    ]


def test_numbers_that_are_none_are_sent_as_they_were(lab: Lab) -> None:
    lab.declare(SPEC)
    at = row(0.0)["at"]
    body = b'{"instances": [{"x": NaN, "at": "%s"}, {"x": -Infinity, "at": "%s"}]}'
    lab.segment([frame(body % (at.encode(), at.encode()), rows=2)])
    lab.compact()
    ((request,),) = (asked(lab).requests,)
    assert math.isnan(request.instances[0]["x"])
    assert request.instances[1]["x"] == -math.inf


def test_why_there_are_none(lab: Lab) -> None:
    lab.declare(SPEC)
    args = (lab.engine, lab.blobs, "flights", SPEC, 100)
    assert captured_requests(lab.settings, *args) == "nothing is captured yet"
    policies = ModelCaptureSettings(columns={"kind": ColumnPolicy(policy="hash")})
    settings = lab.settings.model_copy(
        update={"models": {"flights": ModelSettings(capture=policies)}}
    )
    assert "'kind' under a policy" in str(captured_requests(settings, *args))
