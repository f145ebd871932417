"""Frames as nobody writes them: whole by their CRC, and with anything inside."""

from __future__ import annotations

import random
from typing import Any

import orjson

from tests.capture.conftest import NOW, frame, us
from trueup.frames.capture_codec import HEADER, VERSION, encode_frame
from trueup.records.capture import Body, CaptureFrame, FrameKind

HUGE = 10**400
DEEP = b"[" * 10_000 + b"]" * 10_000

TEXTS: tuple[bytes, ...] = (
    b"",
    b"{",
    b"null",
    b"[]",
    b"{}",
    b"\xff\xfe\x00",
    b'"\xc3"',
    DEEP,
    b"{" * 10_000,
    b'{"instances":' + DEEP + b"}",
    b'{"instances":[{"x":' + DEEP + b"}]}",
    b'{"instances":[{"x":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}]}",
    b'{"instances":[{"x":"\\ud800"}]}',
    b'{"instances":[{"\\ud800":1}]}',
    b'{"instances":[{"\\u0000":1,"":2}]}',
    b'{"instances":[{"x":' + str(HUGE).encode() + b"}]}",
    b'{"instances":[{"x":' + b"9" * 5_000 + b"}]}",
    b'{"instances":[{"x":1e999},{"x":-1e999}]}',
    b'{"instances":[{"x":NaN},{"x":Infinity}]}',
    b'{"instances":[{"x":18446744073709551615}]}',
    b'{"instances":[{"x":9223372036854775808},{"x":-9223372036854775808}]}',
    b'{"instances":[{"x":{}},{"x":[]},{"x":[[]]},{"x":[[[1]]]},{"x":null}]}',
    b'{"instances":[{"new":' + b"[" * 150 + b"1" + b"]" * 150 + b"}]}",
    b'{"instances":[{"new":[1,"a",null,[2],{"b":3}]}]}',
    b'{"instances":[{"new":[[1],["a"]]},{"new":[[[true]]]}]}',
    b'{"instances":[{"x":{"b64":"!"}},{"x":{"b64":"AA=="}},{"c":{"b64":3}}]}',
    b'{"instances":[1,"a",null,[1],{"x":1}]}',
    b'{"inputs":{"x":[1,2,3],"c":["a"]}}',
    b'{"inputs":[]}',
    b'{"inputs":{}}',
    b'{"inputs":{"x":7}}',
    b'{"instances":7}',
    b'{"instances":[{"x":1}],"inputs":{"x":[1]}}',
    b'{"instances":[{"x":1,"x":2}]}',
    b'{"instances":[{"when":"9999-12-31T23:59:59Z"},{"when":"99999-01-01"},{"when":1e300}]}',
    b'{"instances":[{"when":-9223372036854775808},{"when":{"b64":"AA=="}}]}',
    b'{"instances":[{"x":"' + b"a" * 100_000 + b'"}]}',
    b'{"instances":[{}]}',
    b'[{"id":"a/0","label":1e999}]',
    b'[{"id":"\\ud800/0","label":1}]',
    b"[[[]]]",
    b'[{"key":{"x":' + DEEP + b'},"label":1}]',
    b'[{"key":{"x":NaN},"label":1}]',
    b'[{"id":"a/0","label":{"":null}}]',
    b'[{"id":"a/0","label":1,"labelled_at":"99999-01-01"}]',
    b'[{"id":"a/0","label":1,"labelled_at":"0001-01-01T00:00:00+14:00"}]',
    b'[{"id":"a/0","label":' + str(HUGE).encode() + b"}]",
)

NUMBERS: tuple[Any, ...] = (
    0,
    -1,
    1,
    7,
    1 << 31,
    (1 << 63) - 1,
    -(1 << 63),
    (1 << 64) - 1,
    1.5,
    True,
    None,
    "x",
    [],
    {},
)
WORDS: tuple[Any, ...] = ("", "flights", "a\x00b", "é" * 300, "../x", 5, None, [], {}, True)


def hostile(rng: random.Random) -> bytes:
    """The payload of one frame."""
    return rng.choice((_text, _head, _bytes, _mixed))(rng)


def _text(rng: random.Random) -> bytes:
    """A frame of which all is in order but the bodies."""
    kind = rng.choice(tuple(FrameKind))
    return encode_frame(
        CaptureFrame(
            kind, "flights", 3, us(NOW) - rng.randrange(10**9), rng.choice((200, 400, 500)),
            rng.choice((0, 1, 2, 3, 5)), rng.choice(tuple(Body)), rng.choice(TEXTS),
            response=rng.choice((b"", b'{"predictions":[0.5]}', *TEXTS)),
            signature="serving_default", shadow=rng.random() < 0.1,
        )
    )  # fmt: skip


def _head(rng: random.Random) -> bytes:
    """A description with other values, or none."""
    said: dict[str, Any] = {"m": "flights", "v": 3, "s": 200}
    for key in rng.sample(("m", "v", "s"), rng.randrange(3)):
        said[key] = rng.choice((*NUMBERS, *WORDS))
    for key in rng.sample(("id", "sig", "alias", "arm", "et", "sr", "err", "z"), 3):
        said[key] = rng.choice((*NUMBERS, *WORDS))
    if rng.random() < 0.2:
        said.pop(rng.choice(tuple(said)))
    words = rng.choice((orjson.dumps(said), rng.choice(TEXTS))) if rng.random() < 0.2 else (
        orjson.dumps(said)
    )  # fmt: skip
    request = rng.choice((b'{"instances":[{"x":1.0}]}', b'{"inputs":{"x":1.0}}', b'[{"x":1.0}]'))
    response = rng.choice((b"", b'{"outputs":0.5}', b'{"predictions":[0.5]}'))
    return _packed(rng, words, request, response)


def _packed(rng: random.Random, words: bytes, request: bytes, response: bytes) -> bytes:
    header = HEADER.pack(
        VERSION, rng.choice((1, 2, 3, 4, 4, 1, 0, 9)), rng.choice((1, 2, 3, 1, 1, 0, 7)),
        rng.randrange(256), len(words), len(request), len(response),
        rng.choice((0, 1, 1, 2, 5, 1 << 32 - 1)), len(request), rng.randrange(1 << 32),
        rng.choice((us(NOW), us(NOW), 0, -1, 1 << 62, -(1 << 63))),
    )  # fmt: skip
    return header + words + request + response


def _bytes(rng: random.Random) -> bytes:
    """A good frame with some bytes changed, cut off or put in."""
    data = bytearray(encode_frame(frame([{"x": rng.random(), "c": "a"}], predictions=[0.5])))
    for _ in range(rng.randrange(1, 6)):
        place = rng.randrange(1, len(data))
        how = rng.randrange(3)
        if how == 0:
            data[place] = rng.randrange(256)
        elif how == 1:
            del data[place:]
        else:
            data[place:place] = bytes(rng.randrange(256) for _ in range(rng.randrange(9)))
        if len(data) < 2:
            break
    data[:1] = rng.choice((b"\x02", b"\x02", b"\x02", b"\x00", b"\x09", b"\xff"))
    return bytes(data)


def _mixed(rng: random.Random) -> bytes:
    """Values of any shape where columns are expected."""
    names = ("x", "c", "new", "when", "inputs", "")
    rows = [
        {rng.choice(names): value(rng, 3) for _ in range(3)} for _ in range(rng.randrange(1, 4))
    ]
    body: Any = {"instances": rows}
    if rng.random() < 0.3:
        body = {"inputs": {rng.choice(names): [value(rng, 2) for _ in rows] for _ in range(2)}}
    said = {"predictions": [value(rng, 3) for _ in rows]}
    if rng.random() < 0.3:
        said = {"predictions": [{rng.choice(("p", "q")): value(rng, 2)} for _ in rows]}
    return encode_frame(
        frame(
            orjson.dumps(body), rows=len(rows), response=orjson.dumps(said),
            kind=rng.choice((FrameKind.SERVED, FrameKind.SERVED, FrameKind.REFUSED)),
        )
    )  # fmt: skip


def value(rng: random.Random, deep: int) -> Any:
    """Any JSON value."""
    if deep and rng.random() < 0.4:
        return [value(rng, deep - 1) for _ in range(rng.randrange(4))]
    if deep and rng.random() < 0.2:
        return {rng.choice(("a", "b64", "")): value(rng, deep - 1)}
    return rng.choice((None, True, 0, 1, -5, 1 << 40, 0.5, 1e300, "a", "2024-05-01", "é", ""))
