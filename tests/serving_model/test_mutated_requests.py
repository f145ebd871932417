"""Ten thousand broken requests: each is answered or refused, and nothing else ever happens."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trueup.serving.json_read import InvalidRequest, assemble, parse_json, read_predict
from trueup.serving.json_write import prepare_outputs
from trueup.serving.saved_model import LoadedModel, ModelRunError

pytestmark = pytest.mark.heavy

MUTATIONS = 10_000
MAX_DEPTH = 64

SCALAR_ROW = {
    "f16": 0.5, "f32": 0.25, "f64": -1.5, "i8": 1, "i16": 2, "i32": 3, "i64": 4,
    "u8": 5, "u16": 6, "u32": 7, "u64": 8, "flag": True, "text": "naïve",
}  # fmt: skip
RANKS_ROW: dict[str, Any] = {
    "a": 1.5, "b": [1, 2, 3], "c": [7, 8], "d": [["p", {"b64": "cQ=="}], ["r", "s"]],
}  # fmt: skip
DOCUMENTS: list[Any] = [
    {"instances": [1.0, 2, 3.5]},
    {"inputs": {"x": [1.0, 2.0]}},
    {"signature_name": "scalars", "instances": [SCALAR_ROW, SCALAR_ROW]},
    {"signature_name": "scalars", "inputs": {k: [v, v] for k, v in SCALAR_ROW.items()}},
    {"signature_name": "ranks", "instances": [RANKS_ROW, RANKS_ROW, RANKS_ROW]},
    {"signature_name": "ranks", "inputs": {k: [v, v] for k, v in RANKS_ROW.items()}},
    {"signature_name": "lookup", "instances": ["red", {"b64": "Ymx1ZQ=="}]},
    {"signature_name": "scaled", "inputs": {"x": [1.0], "factor": 2.0}},
    {"signature_name": "free", "inputs": [[1, 2], [3, 4]]},
    {"signature_name": "pair", "instances": [[1, 2], [3, 4]]},
]


def deep(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"x": value}
    return value


JUNK: list[Callable[[], Any]] = [
    lambda: None, lambda: True, lambda: False, lambda: 0, lambda: -1, lambda: 1.5, lambda: -0.0,
    lambda: 2**31, lambda: 2**63, lambda: -(2**63) - 1, lambda: 10**400, lambda: 1e308,
    lambda: float("nan"), lambda: float("-inf"), lambda: "", lambda: "NaN", lambda: "\x00",
    lambda: "\ud800", lambda: "long" * 2_000, list, lambda: [[]], lambda: [None], dict,
    lambda: {"b64": "!"}, lambda: {"b64": 1}, lambda: {"b64": "YQ==", "x": 1}, lambda: {"b64": "é"},
    lambda: [1, [2]], lambda: [[1], [2, 3]], lambda: deep(40), lambda: deep(70), lambda: [0] * 500,
]  # fmt: skip
TOKENS = [
    b"NaN", b"-Infinity", b"Infinity", b"1e999", b"-1e999", b"null", b"[", b"]", b"{", b"}", b'"',
    b"\\", b"\\ud800", b"\\u0000", b",", b":", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\x00", b"-",
    b"+1", b"01", b".5", b"1e", b"[" * 200, b"[" * 20_000, b'{"a":' * 2_000, b"9" * 5_000,
    b" " * 99, b"/*x*/", b"'", b"Inf", b"tru",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(item, (*path, key))
    return found


def put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return document


def mutated_document(randomness: random.Random) -> bytes:
    """One or more values, keys or lengths are others than they were."""
    document = copy.deepcopy(randomness.choice(DOCUMENTS))
    for _ in range(randomness.choice((1, 1, 2, 4))):
        if not isinstance(document, (dict, list)):
            break
        path = randomness.choice(places(document))
        parent: Any = document
        for key in path[:-1]:
            parent = parent[key]
        kind = randomness.randrange(4)
        if not path or kind < 2:
            document = put(document, path, randomness.choice(JUNK)())
        elif kind == 2:
            del parent[path[-1]]
        elif isinstance(parent, dict):
            parent[randomness.choice(("x", "b64", "inputs", "instances", ""))] = parent.pop(
                path[-1]
            )
        else:
            parent.insert(path[-1], randomness.choice(JUNK)())
    return json.dumps(document, ensure_ascii=randomness.random() < 0.5).encode(
        "utf-8", "surrogatepass"
    )


def mutated_bytes(randomness: random.Random) -> bytes:
    """Bytes are cut out, doubled, changed or put in."""
    body = bytearray(json.dumps(randomness.choice(DOCUMENTS)).encode())
    for _ in range(randomness.choice((1, 1, 1, 2, 5))):
        start = randomness.randrange(len(body) + 1)
        stop = min(len(body), start + randomness.randrange(1, 9))
        kind = randomness.randrange(4)
        if kind == 0:
            del body[start:stop]
        elif kind == 1:
            body[start:start] = body[start:stop]
        elif kind == 2 and start < len(body):
            body[start] = randomness.randrange(256)
        else:
            body[start : randomness.choice((start, stop))] = randomness.choice(TOKENS)
    return bytes(body)


def outcome(model: LoadedModel, body: bytes) -> str:
    """What becomes of a request; any other exception is a failure of ours."""
    try:
        request = read_predict(parse_json(body, max_depth=MAX_DEPTH), model.signatures)
        columns, slices = assemble(request.signature, [request])
        outputs = model.run(request.signature.name, columns)
        prepared = prepare_outputs(request.signature, outputs, slices)
        prepared.write(request.row_format, *slices[0])
    except InvalidRequest as refusal:
        message = str(refusal)
        assert message and "\n" not in message and len(message) < 1_500
        message.encode()
        return "refused"
    except ModelRunError:
        return "failed"
    return "answered"


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("mutate", [mutated_document, mutated_bytes])
def test_a_broken_request_is_answered_or_refused(
    model: LoadedModel, mutate: Callable[[random.Random], bytes]
) -> None:
    randomness = random.Random(20_260_731)
    outcomes = {"answered": 0, "refused": 0, "failed": 0}
    measure = Path("/proc/self/statm").exists()
    for number in range(MUTATIONS):
        if number == MUTATIONS // 5 and measure:
            early = resident()
        outcomes[outcome(model, mutate(randomness))] += 1
    assert outcomes["refused"] > MUTATIONS / 3
    assert outcomes["answered"] > MUTATIONS / 100
    assert outcomes["failed"] == 0
    if measure:
        assert resident() - early < 30_000_000


WRONG: dict[str, list[Any]] = {
    "float16": [None, True, "1", [1.0], {"b64": "YQ=="}, {}],
    "float32": [None, False, "NaN", [1.0], {}],
    "float64": [None, True, "", []],
    "int8": [None, True, 1.0, "1", 128, -129, 2**70, [1]],
    "int16": [32768, -32769, 1e3],
    "int32": [2**31, -(2**31) - 1, 0.5],
    "int64": [2**63, -(2**63) - 1, 1.0],
    "uint8": [256, -1, 1.5],
    "uint16": [65536, -1],
    "uint32": [2**32, -1],
    "uint64": [2**64, -1, 1.0, True],
    "bool": [None, 0, 1, "true", [True]],
    "string": [None, 1, 1.5, True, ["a"], {}, {"b64": 1}, {"b64": "!"}, {"b64": "YQ==", "c": 1}],
}


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("key", list(SCALAR_ROW))
def test_the_message_names_variable_and_row(model: LoadedModel, key: str, rows: bool) -> None:
    dtype = model.signatures["scalars"].inputs[key].dtype
    for wrong in WRONG[dtype]:
        document: dict[str, Any] = {"signature_name": "scalars"}
        if rows:
            document["instances"] = [SCALAR_ROW, {**SCALAR_ROW, key: wrong}]
        else:
            document["inputs"] = {name: [value] * 2 for name, value in SCALAR_ROW.items()}
            document["inputs"][key][1] = wrong
        request = read_predict(
            parse_json(json.dumps(document).encode(), max_depth=MAX_DEPTH), model.signatures
        )
        with pytest.raises(InvalidRequest) as caught:
            assemble(request.signature, [request])
        assert (f"element: 1 key: {key} " if rows else f"named input: {key} ") in str(caught.value)
        assert "element: 1" in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_000_000,
        b'{"a":' * 2_000_000,
        b'{"instances":[NaN],"x":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}",
        b'{"instances":[1],"x":' + b"[" * 65 + b"]" * 65 + b"}",
        b'{"instances":[1],"x":' + b"[" * 800 + b"]" * 800 + b"}",
        b'{"instances":[1],"x":' + b'[{"k":' * 40 + b"1" + b"}]" * 40 + b"}",
        b'{"instances":[1],"[":"]","x":' + b'["\\"]",' * 70 + b"1" + b"]" * 70 + b"}",
    ],
    ids=["lists", "objects", "beside a NaN", "65", "800", "mixed", "brackets in strings"],
)
def test_absurd_nesting_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="JSON Parse error"):
        parse_json(body, max_depth=MAX_DEPTH)


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances":[1],"x":' + b"[" * 63 + b"]" * 63 + b"}",
        b'{"instances":[NaN],"x":' + b"[" * 63 + b"]" * 63 + b"}",
        b'{"instances":["' + b"[" * 10_000 + b'", "\\\\", "\\"' + b"{" * 10_000 + b'"]}',
        b'{"instances":[NaN,"' + b"[" * 10_000 + b'", "\\\\", "\\"' + b"{" * 10_000 + b'"]}',
        b'{"instances":[' + b",".join([b"[[[]]]"] * 10_000) + b"]}",
    ],
)
def test_what_is_not_deep_is_read(body: bytes) -> None:
    assert "instances" in parse_json(body, max_depth=MAX_DEPTH)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\xef\xbb\xbf[1]", [1]),
        (b"[NaN]", [float("nan")]),
        (b"[Infinity,-Infinity,1e999,-1e999]", [float("inf"), float("-inf")] * 2),
        (b"[NaN,18446744073709551615,18446744073709551616,-9223372036854775809]",
         [float("nan"), 2**64 - 1, 2.0**64, -(2.0**63)]),
        (b"[NaN," + b"9" * 5_000 + b"]", [float("nan"), float("inf")]),
        (b'[NaN,"\\ud83d\\ude00"]', [float("nan"), "\U0001f600"]),
    ],
)  # fmt: skip
def test_what_tensorflow_serving_reads_and_orjson_does_not(body: bytes, expected: Any) -> None:
    assert repr(parse_json(body, max_depth=MAX_DEPTH)) == repr(expected)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff", b'["\xc3"]', b'[NaN,"\xc3"]', b'[NaN,"\\ud800"]', b'["\\ud800"]', b"[NaN", b"nan",
        b"[1] x", b"[1]\x00", b"[01]", b"[NaN,01]", b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2 + b"[1]",
        b"[-NaN]", b"[NaN,\x01]", b"NaNNaN", b"{'a': 1}", b'{"a":NaN,}',
    ],
)  # fmt: skip
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="JSON Parse error: "):
        parse_json(body, max_depth=MAX_DEPTH)
