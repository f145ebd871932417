"""Every form in which a request may be written, read into rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.capture.conftest import frame
from trueup.frames.capture_codec import encode_frame
from trueup.monitor.capture.decode import Decoder, Part
from trueup.monitor.capture.frame_block import read_block
from trueup.records.capture import Body, CaptureFrame, FrameKind
from trueup.records.input_spec import InputSpec, Variable

SPEC = InputSpec(
    variables=(
        Variable(name="x", dtype="float64", kind="numeric"),
        Variable(name="n", dtype="int64", kind="numeric"),
        Variable(name="c", dtype="string", kind="categorical"),
        Variable(name="b", dtype="bool", kind="categorical"),
        Variable(name="raw", dtype="bytes", kind="categorical", optional=True),
        Variable(name="v", dtype="float32", kind="numeric", shape=(-1,), optional=True),
    )
)


def decoded(frames: list[CaptureFrame], spec: InputSpec | None = SPEC) -> list[Part]:
    block = read_block([encode_frame(each) for each in frames], 0, refuse)
    return list(Decoder(lambda model: spec).decode(block))


def refuse(number: int, reason: str) -> None:
    raise AssertionError(f"frame {number}: {reason}")


def columns(frames: list[CaptureFrame], spec: InputSpec | None = SPEC) -> dict[str, list[Any]]:
    """The inputs of all rows in the order of frames."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for part in decoded(frames, spec):
        row = 0
        for number, count in zip(part.block.number.tolist(), part.counts.tolist(), strict=True):
            for place in range(count):
                found[number, place] = {k: a[row].as_py() for k, a in part.inputs.items()}
                row += 1
    names = dict.fromkeys(name for values in found.values() for name in values)
    return {name: [found[key].get(name) for key in sorted(found)] for name in names}


def body(text: str, rows: int = 1, **more: Any) -> CaptureFrame:
    return frame(text.encode(), rows=rows, **more)


def test_rows_and_columns_of_a_request_are_the_same_rows() -> None:
    by_row = body(
        '{"instances":[{"x":1,"n":2,"c":"a","b":true},{"x":0.5,"n":3,"c":"b","b":false}]}', 2
    )
    by_column = body('{"inputs":{"x":[1,0.5],"n":[2,3],"c":["a","b"],"b":[true,false]}}', 2)
    expected = {"x": [1.0, 0.5], "n": [2, 3], "c": ["a", "b"], "b": [True, False]}
    for sent in (by_row, by_column):
        found = columns([sent])
        assert {name: found[name] for name in expected} == expected


def test_bare_values_are_of_the_only_feature() -> None:
    spec = InputSpec(
        variables=(Variable(name="pixels", dtype="float32", kind="numeric", shape=(2, 2)),)
    )
    for text in ('{"instances":[[[1,2],[3,4]]]}', '{"inputs":[[[1,2],[3,4]]]}'):
        (part,) = decoded([body(text)], spec)
        assert part.inputs["pixels"].to_pylist() == [[[1.0, 2.0], [3.0, 4.0]]]
        assert part.inputs["pixels"].type == pa.list_(pa.list_(pa.float32()))


def test_bare_values_of_an_undeclared_model_have_a_column() -> None:
    assert columns([body('{"instances":[1.5,2.5]}', 2)], None) == {"inputs": [1.5, 2.5]}


def test_an_input_without_a_batch_axis_is_of_every_row() -> None:
    found = columns([body('{"inputs":{"x":[1.0,2.0],"n":7}}', 2)])
    assert found["n"] == [7, 7]


def test_bytes_are_unpacked() -> None:
    found = columns([body('{"instances":[{"raw":{"b64":"/wA="}},{"raw":"text"}]}', 2)])
    assert found["raw"] == [b"\xff\x00", b"text"]


def test_many_images_as_bytes_are_read_alike() -> None:
    frames = [frame([{"raw": {"b64": "aGk="}}]) for _ in range(300)]
    assert columns(frames)["raw"] == [b"hi"] * 300


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_numbers_that_json_does_not_have(token: str) -> None:
    (value,) = columns([body(f'{{"instances":[{{"x":{token}}}]}}')])["x"]
    expected = float(token.replace("1e400", "inf"))
    assert value == expected or (math.isnan(value) and math.isnan(expected))


def test_scalars_in_lists_of_one_are_the_declared_scalar() -> None:
    frames = [frame([{"x": [[float(i)]], "c": ["a"]}]) for i in range(600)]
    found = columns(frames)
    assert found["x"] == [float(i) for i in range(600)] and set(found["c"]) == {"a"}


def test_fractions_where_integers_are_declared_stay() -> None:
    found = columns([frame([{"n": 1}, {"n": 1.5}])])
    assert found["n"] == [1.0, 1.5]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("x", '"12"'), ("x", "true"), ("x", "[1,2]"), ("x", "{}"), ("n", '"1"'), ("n", "1e30"),
        ("n", "9223372036854775808"), ("c", "5"), ("c", '{"b64":"?"}'), ("b", "1"), ("v", '["a"]'),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_null_named_and_kept(name: str, wrong: str) -> None:
    good = '{"x":1.0,"n":1,"c":"a","b":true}'
    bad = f'{{"{name}":{wrong}}}'
    (part,) = decoded([body(f'{{"instances":[{good},{bad},{good}]}}', 3)])
    assert part.inputs[name][1].as_py() is None
    assert part.misfits == {1: [name]}
    assert orjson.loads(part.raw[1]) == orjson.loads(bad)
    assert list(part.raw) == [1]


def test_text_that_is_not_utf8_is_escaped_and_lone_surrogates_too() -> None:
    found = columns([body('{"instances":[{"c":"a\\ud800"},{"c":{"b64":"/w=="}}]}', 2)])
    assert found["c"] == ["a\\ud800", "\\xff"]


def test_whitespace_other_keys_and_a_key_twice_change_nothing() -> None:
    frames = [
        body('{\n "signature_name": "s",\n "instances": [\n {"x": 1}\n]\n}'),
        body('{"extra":[1,{"a":2}],"instances":[{"x":2}]}'),
        body('{"instances":[{"x":9,"x":3}]}'),
        body('{"instances":[{"x":4}]}'),
    ]
    assert columns(frames * 100)["x"] == [1.0, 2.0, 3.0, 4.0] * 100


def test_rows_that_we_wrote_are_read() -> None:
    rows = orjson.dumps([{"x": 1.0}, {"x": None, "c": "a"}])
    found = columns([frame(rows, rows=2, body=Body.ROWS, kind=FrameKind.LOGGED)])
    assert found["x"] == [1.0, None] and found["c"] == [None, "a"]


def test_undeclared_columns_take_the_type_that_holds_all_values() -> None:
    found = columns([frame([{"q": 1}, {"q": 2.5}, {"q": None}]), frame([{"q": "a"}])], None)
    assert found["q"] == ["1", "2.5", None, "a"]
    (number, nothing) = columns([body('{"instances":[{"q":NaN},{"q":null}]}', 2)], None)["q"]
    assert math.isnan(number) and nothing is None
    nested = columns([frame([{"q": {"a": 1}}])], None)
    assert nested["q"] == ['{"a":1}']


def test_types_of_undeclared_columns_are_learnt_in_order() -> None:
    frames = [frame([{"q": i if i < 700 else i + 0.5}]) for i in range(1000)]
    assert columns(frames, None)["q"] == [float(i if i < 700 else i + 0.5) for i in range(1000)]


def test_a_refused_request_that_reads_is_typed_and_kept() -> None:
    sent = body(
        '{"instances":[{"x":null,"c":"a"},{"x":1,"zzz":2}]}', 0,
        kind=FrameKind.REFUSED, status=400, error="null is no number",
    )  # fmt: skip
    (part,) = decoded([sent])
    assert part.inputs["x"].to_pylist() == [None, 1.0]
    assert "zzz" not in part.inputs  # a client's invention is no column
    assert orjson.loads(part.raw[1]) == {"x": 1, "zzz": 2} and set(part.raw) == {0, 1}
    assert part.readable is None


@pytest.mark.parametrize(
    "text", ['{"instances":', "[]", '{"instances":[]}', "5", "\xff", "{}", "[" * 5000]
)
def test_a_request_that_does_not_read_is_one_row(text: str) -> None:
    raw = text.encode("latin-1")
    sent = frame(raw, rows=0, kind=FrameKind.REFUSED, status=400, error="no JSON")
    (part,) = decoded([sent])
    assert part.rows == 1 and part.readable is not None and not part.readable[0]
    assert part.raw[0] == raw.decode("utf-8", "backslashreplace")


@pytest.mark.parametrize("depth", [150, 199, 205, 260, 400, 505, 900, 1020, 1030, 30_000])
@pytest.mark.parametrize("spec", [SPEC, None])
@pytest.mark.parametrize(
    "around", ['{"instances":[{"x":%s}]}', '{"instances":[{"other":%s}]}', '{"inputs":%s}', "%s"]
)
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_a_body_of_any_depth_harms_no_others(
    depth: int, spec: InputSpec | None, around: str, opening: str, closing: str
) -> None:
    for leaf in ("1", "NaN", str(10**30), '"\\ud800"'):
        deep = around % (opening * depth + leaf + closing * depth)
        refused = body(deep, 1, kind=FrameKind.REFUSED, status=400, error="too deep")
        for wrong in (refused, body(deep)):
            parts = decoded([body('{"instances":[{"x":1}]}'), wrong], spec)
            assert sum(int(part.counts.sum()) for part in parts) == 2


def test_an_omitted_body_is_one_row() -> None:
    sent = frame(
        b"", rows=0, kind=FrameKind.REFUSED, status=400, body=Body.OMITTED, request_bytes=9
    )
    (part,) = decoded([sent])
    assert part.rows == 1 and not part.raw


def test_predictions_of_every_form() -> None:
    named = frame([{"x": 1.0}], predictions=[{"score": 0.5, "name": "a"}])
    bare = frame([{"x": 1.0}, {"x": 2.0}], predictions=[[0.5], [0.25]])
    columnar = frame([{"x": 1.0}], response=b'{"outputs":{"score":[0.75]}}')
    single = frame([{"x": 1.0}], response=b'{"outputs":[0.125]}')
    found = [part.outputs for part in decoded([named]) + decoded([bare])]
    assert found[0]["score"].to_pylist() == [0.5] and found[0]["name"].to_pylist() == ["a"]
    assert found[1]["outputs"].to_pylist() == [[0.5], [0.25]]
    assert decoded([columnar])[0].outputs["score"].to_pylist() == [0.75]
    assert decoded([single])[0].outputs["outputs"].to_pylist() == [0.125]


def test_predictions_that_do_not_count_up_are_left_out() -> None:
    (part,) = decoded([frame([{"x": 1.0}], response=b'{"predictions":[1,2]}')])
    assert part.rows == 1 and part.outputs == {}


numbers = st.one_of(
    st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53)
)
row = st.fixed_dictionaries(
    {},
    optional={
        "x": numbers,
        "n": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        "c": st.one_of(st.none(), st.text(max_size=5)),
        "b": st.one_of(st.none(), st.booleans()),
        "v": st.one_of(st.none(), st.lists(st.floats(-10, 10, width=32), max_size=3)),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(row, min_size=1, max_size=4), min_size=1, max_size=12), st.booleans())
def test_what_was_sent_is_what_is_read(requests: list[list[dict[str, Any]]], odd: bool) -> None:
    """By whichever way: an odd request among them sends its neighbours another way."""
    frames = [frame(rows) for rows in requests]
    if odd:
        frames.insert(len(frames) // 2, body('{"instances":[{"x":NaN,"c":"odd"}],"more":1}'))
        requests.insert(len(requests) // 2, [{"x": math.nan, "c": "odd"}])
    found = columns(frames)
    for name in ("x", "n", "c", "b", "v"):
        expected = [each.get(name) for rows in requests for each in rows]
        got = found.get(name, [None] * len(expected))
        if name in ("x", "n"):  # equal as numbers
            np.testing.assert_array_equal(
                np.array([math.nan if v is None else v for v in got], float),
                np.array([math.nan if v is None else v for v in expected], float),
            )
            assert [v is None for v in got] == [v is None for v in expected]
        else:
            assert got == expected
