"""Frames of attempts: as sent where all is kept, else through the policies; no way around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.config.serving import CaptureSettings, ModelCaptureSettings
from trueup.frames.capture_codec import decode_frame, encode_frame
from trueup.frames.segment_files import sealed_segments
from trueup.records.capture import Body, CaptureFrame, FrameKind
from trueup.records.input_spec import InputSpec, Kind, Variable
from trueup.serving.capture.documents import read_json, rows_of, write_json
from trueup.serving.capture.frame_encoder import ServedEncoder
from trueup.serving.capture.policy import WITHHELD, CapturePolicy
from trueup.serving.capture.writer import CaptureWriter

KEY = bytes(range(32))
SPEC = InputSpec(
    variables=(
        Variable(name="name", dtype="string", kind=Kind.CATEGORICAL),
        Variable(name="mail", dtype="string", kind=Kind.CATEGORICAL),
        Variable(name="zip", dtype="string", kind=Kind.CATEGORICAL),
        Variable(name="age", dtype="float32", kind=Kind.NUMERIC),
    )
)
PRIVATE = {
    "name": {"policy": "drop"},
    "mail": {"policy": "hash"},
    "zip": {"policy": "truncate", "length": 2},
}
INPUTS = ("name", "mail", "zip", "age")
ROW = {"name": "Ada Byron", "mail": "ada@example.org", "zip": "12345", "age": 36.5}
SECRETS = ("Ada", "Byron", "ada@example", "example.org", "12345", "345")


def policy(spec: InputSpec | None = SPEC, **changes: Any) -> CapturePolicy:
    return CapturePolicy("people", ModelCaptureSettings(**changes), spec, KEY)


def body(document: Any) -> bytes:
    return json.dumps(document).encode()


def served(rule: CapturePolicy, request: bytes, response: bytes = b"{}", rows: int = 1) -> bytes:
    payload = rule.served(
        rule.served_encoder(3, "serving_default", inputs=INPUTS), request, response, rows, 5, 6, "r"
    )
    assert payload is not None
    return payload


def refused(
    rule: CapturePolicy, request: bytes, error: str, inputs: tuple[str, ...] = INPUTS
) -> Any:
    frame = CaptureFrame(
        FrameKind.REFUSED, "people", 3, 5, 400, 0, Body.PREDICT, request, error=error
    )
    return rule.frame(frame, inputs=inputs)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MICROSECONDS = st.integers(0, 2**53)


@settings(max_examples=200, deadline=None)
@given(
    texts=st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT),
    bodies=st.tuples(st.binary(max_size=50), st.binary(max_size=50)),
    numbers=st.tuples(*[st.integers(0, 2**31)] * 2, MICROSECONDS, st.integers(0, 2**32 - 1)),
    event_us=st.none() | st.integers(-(2**53), 2**53),
    shadow=st.booleans(),
    rate=st.sampled_from([1.0, 0.25]),
    form=st.sampled_from(list(Body)),
    length=st.none() | st.integers(1, 2**31),
)
def test_the_quick_encoder_says_what_the_codec_says(
    texts: Any, bodies: Any, numbers: Any, event_us: Any, shadow: bool, rate: float, form: Body,
    length: int | None,
) -> None:  # fmt: skip
    model, signature, alias, arm, request_id = texts
    request, response = bodies
    version, rows, arrival_us, latency_us = numbers
    encoder = ServedEncoder(
        model=model, version=version, signature=signature, alias=alias, arm=arm, shadow=shadow,
        sample_rate=rate,
    )  # fmt: skip
    payload = encoder.encode(
        request, response, rows, arrival_us, latency_us, request_id, event_us,
        request_bytes=length, body=form,
    )  # fmt: skip
    frame = CaptureFrame(
        FrameKind.SERVED, model, version, arrival_us, 200, rows, form, request,
        len(request) if length is None else length, response, request_id, signature, alias, arm,
        shadow, event_us, latency_us, rate,
    )  # fmt: skip
    assert decode_frame(payload) == frame == decode_frame(encode_frame(frame))


def test_with_all_kept_the_request_is_as_it_was_sent() -> None:
    request = b' {"instances" : [ {"name": "Ada", "name": "twice", "x": NaN} ] } '
    frame = decode_frame(served(policy(), request, b'{"predictions": [1]}'))
    assert (frame.request, frame.body, frame.request_bytes) == (request, Body.PREDICT, len(request))
    assert frame.response == b'{"predictions": [1]}'
    columns = {"name": {"policy": "keep"}}
    assert decode_frame(served(policy(columns=columns), request)).request == request


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [ROW, ROW]},
        {"inputs": {name: [value, value] for name, value in ROW.items()}},
        {"signature_name": "serving_default", "instances": [ROW, ROW], "other": "Ada"},
    ],
)
def test_rows_go_through_the_policies(document: Any) -> None:
    frame = decode_frame(served(policy(columns=PRIVATE), body(document), rows=2))
    rows = orjson.loads(frame.request)
    assert frame.body is Body.ROWS
    assert frame.request_bytes == len(body(document))
    assert rows == [rows[0]] * 2
    assert {**rows[0], "mail": len(rows[0]["mail"])} == {"mail": 64, "zip": "12", "age": 36.5}


@pytest.mark.parametrize("value", [[1.5], {"inputs": [1.5]}, 1.5])
def test_a_bare_value_is_of_the_only_input(value: Any) -> None:
    spec = InputSpec(variables=(Variable(name="x", dtype="float64", kind=Kind.NUMERIC),))
    rule = policy(spec, columns={"x": {"policy": "truncate"}})
    document = value if isinstance(value, dict) else {"instances": [1.5]}
    payload = rule.served(rule.served_encoder(1, "s", inputs=["x"]), body(document), b"", 1, 5, 6)
    assert payload is not None
    assert orjson.loads(decode_frame(payload).request) == [{"x": 1.0}]


def test_what_strict_json_cannot_say_is_kept() -> None:
    rule = policy(columns={"name": {"policy": "drop"}})
    request = b'{"instances": [{"age": Infinity, "zip": "\\ud800"}, {"age": NaN, "zip": "a"}]}'
    rows = read_json(decode_frame(served(rule, request, rows=2)).request)
    assert rows[0] == {"age": float("inf"), "zip": "\ud800"}
    assert str(rows[1]["age"]) == "nan"


def test_outputs_named_as_a_private_variable_go_through_the_policies() -> None:
    rule = policy(columns=PRIVATE)
    request = body({"instances": [ROW]})
    answers = (
        {"predictions": [{"score": 1, "name": "Ada Byron", "mail": "ada@example.org"}]},
        {"outputs": {"score": [1], "name": ["Ada Byron"], "mail": ["ada@example.org"]}},
    )
    for answer in answers:
        payload = served(rule, request, body(answer))
        assert not any(secret.encode() in payload for secret in SECRETS)
        assert b'"score"' in decode_frame(payload).response
        assert b'"mail"' in decode_frame(payload).response
    plain = b'{"predictions": [0.5]}'
    assert decode_frame(served(rule, request, plain)).response == plain


REFUSED = [
    ({"instances": [{**ROW, "Name": "Ada Byron"}]}, "unexpected key Name"),
    ({"instances": [{**ROW, "name": {"Ada": ["Byron"]}}]}, 'name: {"Ada": ["Byron"]} is no text'),
    ({"instances": [{**ROW, "mail": ["ada@example.org"]}]}, "mail: ada@exam… has a wrong shape"),
    ({"instances": [{**ROW, "zip": 12345}]}, "zip: expected text, got 12345"),
    ({"instances": [ROW, "Ada Byron"]}, "row 1 is no object: Ada Byron"),
    ({"instances": ROW}, "instances is no array"),
    ({"instances": []}, "instances is empty"),
    ({"instances": [ROW], "inputs": {"name": "Ada"}}, "both"),
    ({"inputs": {"name": ["Ada", "Byron"], "zip": ["12345"]}}, "unequal batch sizes"),
    ({"inputs": "Ada Byron"}, "inputs is no object"),
    ({"rows": [ROW]}, "neither instances nor inputs"),
    ([ROW], "Malformed"),
    ("Ada Byron", "Malformed"),
]


@pytest.mark.parametrize("inputs", [INPUTS, ("name",), ()])
@pytest.mark.parametrize(("document", "error"), REFUSED)
def test_a_refused_body_leaks_nothing(document: Any, error: str, inputs: tuple[str, ...]) -> None:
    for spec in (SPEC, None):
        if spec is None and "Name" in error:
            continue  # without the variables nobody knows that this name is none of them
        payload = refused(policy(spec, columns=PRIVATE), body(document), error, inputs)
        assert not any(secret.encode() in payload for secret in SECRETS), payload
        frame = decode_frame(payload)
        assert frame.request_bytes == len(body(document))
        assert frame.body in (Body.ROWS, Body.OMITTED)


def test_errors_that_quote_nothing_private_are_kept() -> None:
    rule = policy(columns=PRIVATE)
    request = body({"instances": [{**ROW, "age": "old"}]})
    said = 'variable age: expected a number, got "old"'
    frame = decode_frame(refused(rule, request, said))
    assert frame.error == said
    assert orjson.loads(frame.request)[0]["age"] == "old"
    assert decode_frame(refused(rule, request, "zip is 12345")).error == WITHHELD
    unequal = body({"inputs": {"name": ["a", "b"], "age": [1]}})
    assert decode_frame(refused(rule, unequal, "batch sizes")).error == "batch sizes"


@pytest.mark.parametrize("columns", [{}, PRIVATE])
@pytest.mark.parametrize("request_", [b"{Ada Byron", b"", b"\xff", b"[" * 100_000, b"1 2"])
def test_of_a_body_that_cannot_be_parsed_the_length_is_kept(request_: bytes, columns: Any) -> None:
    frame = decode_frame(refused(policy(columns=columns), request_, "no JSON at Ada"))
    assert (frame.body, frame.request, frame.request_bytes) == (Body.OMITTED, b"", len(request_))
    assert frame.error == (WITHHELD if columns else "no JSON at Ada")


def test_of_a_refused_body_that_can_be_parsed_all_is_kept() -> None:
    frame = decode_frame(refused(policy(), b'{"instances": 1}', "no array"))
    assert (frame.body, frame.request) == (Body.PREDICT, b'{"instances": 1}')
    assert (frame.kind, frame.error) == (FrameKind.REFUSED, "no array")


def test_refused_attempts_and_whole_models_can_be_left_out() -> None:
    assert refused(policy(keep_refused=False), b"{}", "no") is None
    off = policy(enabled=False)
    assert refused(off, b"{}", "no") is None
    assert off.served(off.served_encoder(1, "s"), b"{}", b"{}", 1, 5, 6) is None


def test_the_sample_is_keyed_and_repeatable() -> None:
    names = [f"request-{number}" for number in range(4000)]
    rule = policy(sample_rate=0.25)
    chosen = {name for name in names if rule.is_sampled(name)}
    assert 850 < len(chosen) < 1150
    assert chosen == {name for name in names if policy(sample_rate=0.25).is_sampled(name)}
    assert chosen <= {name for name in names if policy(sample_rate=0.5).is_sampled(name)}
    other = CapturePolicy("people", ModelCaptureSettings(sample_rate=0.25), SPEC, KEY[::-1])
    assert chosen != {name for name in names if other.is_sampled(name)}
    without = [rule.is_sampled("") for _ in range(4000)]
    assert 850 < sum(without) < 1150
    name = next(iter(chosen))
    payload = rule.served(rule.served_encoder(1, "s"), b"{}", b"", 1, 5, 6, name)
    assert payload is not None and decode_frame(payload).sample_rate == 0.25
    [left_out] = [each for each in names if each not in chosen][:1]
    assert rule.served(rule.served_encoder(1, "s"), b"{}", b"", 1, 5, 6, left_out) is None


def test_no_private_value_is_in_the_bytes_of_a_segment(tmp_path: Path) -> None:
    rule = policy(columns=PRIVATE)
    writer = CaptureWriter(tmp_path, CaptureSettings(min_free=0))
    echo = body({"predictions": [{"name": "Ada Byron", "score": 1}]})
    payloads = [served(rule, body({"instances": [ROW] * rows}), echo, rows) for rows in range(1, 9)]
    payloads += [refused(rule, body(document), error) for document, error in REFUSED]
    payloads += [refused(rule, body(document)[:-1], error) for document, error in REFUSED]
    writer.append(payloads)
    writer.close()
    [segment] = sealed_segments(tmp_path)
    written = segment.path.read_bytes()
    assert len(written) > 5000
    assert not [secret for secret in SECRETS if secret.encode() in written]


LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_json_is_written_as_it_was_read(document: Any) -> None:
    assert json.loads(write_json(document)) == document


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries({"a": LEAF, "b": st.lists(LEAF, max_size=2)}), min_size=1, max_size=4
    )
)
def test_rows_and_columns_are_the_same_rows(rows: list[dict[str, Any]]) -> None:
    columns = {name: [row[name] for row in rows] for name in ("a", "b")}
    for document in ({"instances": rows}, {"inputs": columns}):
        assert rows_of(document, ("a", "b"), len(rows)) == rows


@settings(max_examples=300, deadline=None)
@given(
    document=JSON
    | st.fixed_dictionaries({"instances": JSON})
    | st.fixed_dictionaries({"inputs": JSON}),
    error=st.text(),
)
def test_whatever_is_refused_has_a_frame(document: Any, error: str) -> None:
    rule = policy(columns=PRIVATE)
    frame = decode_frame(refused(rule, body(document), error.encode("utf-8", "replace").decode()))
    if frame.body is Body.ROWS:
        assert all(set(row) <= {"mail", "zip", "age"} for row in read_json(frame.request))
    else:
        assert frame.request == b""
