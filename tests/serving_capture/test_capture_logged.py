"""Rows served elsewhere: good ones become frames, each bad one is refused with its reason."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.config.serving import ModelCaptureSettings
from trueup.datasets.iso_time import parse_time_us
from trueup.errors import BadInputError
from trueup.frames.capture_codec import decode_frame
from trueup.records.capture import Body, CaptureFrame, FrameKind
from trueup.records.input_spec import InputSpec, Kind, Variable
from trueup.serving.capture.logged import parse_logged
from trueup.serving.capture.policy import CapturePolicy
from trueup.serving.capture.sent_rows import ROWS_OF_A_FRAME, Taken, UnknownModelError

NOW = 1_700_000_000_000_000
SPEC = InputSpec(
    variables=(
        Variable(name="carrier", dtype="string", kind=Kind.CATEGORICAL),
        Variable(name="distance", dtype="float32", kind=Kind.NUMERIC),
        Variable(name="stops", dtype="int64", kind=Kind.NUMERIC),
        Variable(name="late", dtype="bool", kind=Kind.CATEGORICAL),
        Variable(name="at", dtype="timestamp", kind=Kind.TIME),
        Variable(name="tags", dtype="string", kind=Kind.CATEGORICAL, shape=(-1,)),
    )
)
SETTINGS = {
    "flights": ModelCaptureSettings(),
    "private": ModelCaptureSettings(columns={"carrier": {"policy": "hash"}}),  # type: ignore[dict-item]
    "sampled": ModelCaptureSettings(sample_rate=1e-9),
    "off": ModelCaptureSettings(enabled=False),
}
POLICIES = {name: CapturePolicy(name, each, SPEC, bytes(32)) for name, each in SETTINGS.items()}


def take(document: Any, *, ndjson: bool = False) -> Taken:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_logged(body, ndjson=ndjson, arrival_us=NOW, policy_of=POLICIES.get)


def frames(taken: Taken) -> list[CaptureFrame]:
    return [decode_frame(payload) for batch in taken.batches for payload in batch.payloads]


def reason(row: Any) -> str:
    taken = take({"model": "flights", "rows": [row]})
    assert (taken.accepted, taken.refused, taken.batches) == (0, 1, [])
    assert taken.reasons[0]["index"] == 0
    return str(taken.reasons[0]["reason"])


def test_rows_of_one_request_are_one_frame() -> None:
    rows = [
        {"instance": {"stops": 1}, "prediction": 0.5, "request_id": "a"},
        {"instance": {"stops": 2}},
        {"instance": {"stops": 3}, "prediction": {"p": 1}, "request_id": "b"},
        {"instance": {"stops": 4}, "request_id": "a"},
        {"instance": {"stops": 5}, "event_time": "2013-07-01T05:30:00Z"},
        {"instance": {"stops": 6}, "request_id": None, "event_time": None},
    ]
    taken = take({"model": "flights", "version": 4, "rows": rows})
    assert taken.reply() == {"accepted": 6, "refused": 0, "reasons": []}
    event_us = parse_time_us("2013-07-01T05:30:00Z")
    told = {
        (frame.request_id, frame.event_us): (
            [row["stops"] for row in orjson.loads(frame.request)],
            orjson.loads(frame.response or b"null"),
        )
        for frame in frames(taken)
    }
    assert told == {
        ("a", None): ([1, 4], {"predictions": [0.5, None]}),
        ("", None): ([2, 6], None),
        ("b", None): ([3], {"predictions": [{"p": 1}]}),
        ("", event_us): ([5], None),
    }
    [batch] = taken.batches
    assert (batch.model, batch.rows, batch.newest_event_us) == ("flights", 6, NOW)
    for frame in frames(taken):
        assert (frame.kind, frame.body, frame.version) == (FrameKind.LOGGED, Body.ROWS, 4)
        assert (frame.status, frame.arrival_us) == (200, NOW)
        assert frame.rows == len(orjson.loads(frame.request))


def test_lines_may_be_of_several_models_and_versions() -> None:
    lines = [
        {"model": "flights", "version": 1, "instance": {"stops": 1}},
        {"model": "flights", "version": 2, "instance": {"stops": 2}},
        {"model": "private", "instance": {"stops": 3}},
        {"model": "nobody", "instance": {"stops": 4}},
        {"instance": {"stops": 5}},
        [1],
    ]
    text = b"\r\n".join(json.dumps(line).encode() for line in lines) + b"\n\n{broken\n"
    taken = take(text, ndjson=True)
    assert [(batch.model, batch.rows) for batch in taken.batches] == [
        ("flights", 2),
        ("private", 1),
    ]
    assert sorted(frame.version for frame in frames(taken)) == [0, 1, 2]
    assert taken.accepted == 3
    assert [(each["index"], each["reason"][:16]) for each in taken.reasons] == [
        (3, "there is no mode"),
        (4, "it needs the nam"),
        (5, "it is no JSON ob"),
        (7, "it is no JSON: E"),
    ]


GOOD = [
    {"carrier": "UA", "distance": 1, "stops": 2.0, "late": True, "at": "2013-01-01", "tags": []},
    {"carrier": None, "tags": None},
    {"carrier": {"b64": "AA=="}, "tags": ["a", None, "b"]},
    {"stops": 1, "somebody": "else's"},
]


@pytest.mark.parametrize("instance", GOOD)
def test_what_can_be_of_the_model_is_taken(instance: Any) -> None:
    [frame] = frames(take({"model": "flights", "rows": [{"instance": instance}]}))
    assert orjson.loads(frame.request) == [instance]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("row", "it is no object"),
        ({}, 'it needs an object of variables under "instance"'),
        ({"instance": {}}, 'it needs an object of variables under "instance"'),
        ({"instance": [1]}, 'it needs an object of variables under "instance"'),
        ({"instance": {"other": 1}}, "it has none of the model's variables"),
        ({"instance": {"distance": "far"}}, "variable 'distance' is no float32"),
        ({"instance": {"distance": True}}, "variable 'distance' is no float32"),
        ({"instance": {"stops": 1.5}}, "variable 'stops' is no int64"),
        ({"instance": {"late": 1}}, "variable 'late' is no bool"),
        ({"instance": {"carrier": 1}}, "variable 'carrier' is no string"),
        ({"instance": {"carrier": {"b64": "!"}}}, "variable 'carrier' is no string"),
        ({"instance": {"carrier": ["UA"]}}, "variable 'carrier' is no string"),
        ({"instance": {"tags": "a"}}, "variable 'tags' has not the shape of a list"),
        ({"instance": {"tags": [1]}}, "variable 'tags' is no string"),
        ({"instance": {"stops": 1}, "request_id": 5}, '"request_id" must be a text'),
        ({"instance": {"stops": 1}, "event_time": "soon"}, '"event_time" must be a time such as'),
        ({"instance": {"stops": 1}, "event_time": 5}, '"event_time" must be a time such as'),
        ({"instance": {"stops": 1}, "evnt": 1}, "unknown key 'evnt'; there are event_time, inst"),
    ],
)
def test_bad_rows_are_refused_with_their_reason(row: Any, said: str) -> None:
    assert reason(row).startswith(said)


def test_one_bad_row_does_not_refuse_the_others() -> None:
    rows = [{"instance": {"stops": n if n % 5 else "x"}} for n in range(100)]
    taken = take({"model": "flights", "rows": rows})
    assert (taken.accepted, taken.refused, len(taken.reasons)) == (80, 20, 10)
    assert [each["index"] for each in taken.reasons] == list(range(0, 50, 5))
    again = {"instance": {"stops": 1}, "request_id": "a"}
    other = {**again, "event_time": "2013-01-01"}
    taken = take({"model": "flights", "rows": [again, other, again]})
    assert (taken.accepted, taken.reasons[0]["index"]) == (2, 1)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "it is no JSON"),
        (b"[]", "it is no JSON object"),
        (b"[" * 100_000, "it is no JSON"),
        ({"rows": [{}]}, "needs the name of a model"),
        ({"model": "flights"}, 'needs a non-empty array "rows"'),
        ({"model": "flights", "rows": []}, 'needs a non-empty array "rows"'),
        ({"model": "flights", "rows": [{}], "version": "1"}, '"version" must be'),
        ({"model": "flights", "rows": [{}], "row": 1}, "unknown key 'row'"),
    ],
)
def test_a_body_that_is_none_is_refused_as_a_whole(body: Any, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        take(body)


def test_a_model_that_is_unknown_or_not_captured() -> None:
    with pytest.raises(UnknownModelError, match="there is no model 'nobody'"):
        take({"model": "nobody", "rows": [{"instance": {"stops": 1}}]})
    taken = take({"model": "off", "rows": [{"instance": {"stops": 1}}]})
    assert taken.reasons[0]["reason"].endswith("is switched off (capture.enabled)")


def test_policies_hold_for_logged_rows_and_their_predictions() -> None:
    row = {
        "instance": {"carrier": "SECRET", "stops": 1, "undeclared": "SECRET"},
        "prediction": {"carrier": "SECRET", "p": 1},
    }
    taken = take({"model": "private", "rows": [row, row]})
    assert not any(b"SECRET" in payload for payload in taken.batches[0].payloads)
    [frame] = frames(taken)
    rows = orjson.loads(frame.request)
    assert set(rows[0]) == {"carrier", "stops"}
    assert orjson.loads(frame.response)["predictions"][1] == {"carrier": rows[1]["carrier"], "p": 1}


def test_rows_that_were_sent_are_not_sampled() -> None:
    taken = take({"model": "sampled", "rows": [{"instance": {"stops": 1}}]})
    assert [frame.sample_rate for frame in frames(taken)] == [1.0]


def test_many_rows_make_frames_of_bounded_size() -> None:
    rows = [{"instance": {"stops": number}} for number in range(2 * ROWS_OF_A_FRAME + 5)]
    found = frames(take({"model": "flights", "rows": rows}))
    assert [frame.rows for frame in found] == [ROWS_OF_A_FRAME, ROWS_OF_A_FRAME, 5]
    stops = [row["stops"] for frame in found for row in orjson.loads(frame.request)]
    assert stops == list(range(len(rows)))


VALUES = {
    "carrier": st.none() | st.text(),
    "distance": st.none() | st.floats(allow_nan=False),
    "stops": st.none() | st.integers(-(2**63), 2**63 - 1),
    "late": st.none() | st.booleans(),
    "tags": st.none() | st.lists(st.text(max_size=5), max_size=3),
}
ROW = st.fixed_dictionaries(
    {"instance": st.fixed_dictionaries(VALUES)},
    optional={
        "prediction": st.none() | st.floats(allow_nan=False) | st.text(),
        "request_id": st.sampled_from(["", "a", "b"]),
    },
)


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=12), ndjson=st.booleans())
def test_every_row_is_in_the_frames_once(rows: list[Any], ndjson: bool) -> None:
    if ndjson:
        body = "\n".join(json.dumps({"model": "flights", **row}) for row in rows).encode()
    else:
        body = json.dumps({"model": "flights", "rows": rows}).encode()
    taken = take(body, ndjson=ndjson)
    assert (taken.accepted, taken.refused) == (len(rows), 0)
    found = []
    for frame in frames(taken):
        instances = json.loads(frame.request)
        said = json.loads(frame.response)["predictions"] if frame.response else []
        predictions = said or [None] * len(instances)
        found += [
            (frame.request_id, instance, prediction)
            for instance, prediction in zip(instances, predictions, strict=True)
        ]
    sent = [(row.get("request_id", ""), row["instance"], row.get("prediction")) for row in rows]
    assert sorted(map(repr, found)) == sorted(map(repr, sent))
