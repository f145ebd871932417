"""A document parsed in parts is the same as parsed at once, whatever is in it and wherever it is
cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.serving import json_parts
from trueup.serving.json_parts import parse_in_parts
from trueup.serving.json_read import InvalidRequest, parse_json

MAX_DEPTH = 12


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Any:
    """A cut every few bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_parts, "_PIECE", 16)
        patch.setattr(json_parts, "_TURN_S", 0)
        yield


def parse(body: bytes) -> Any:
    return parse_json(body, max_depth=MAX_DEPTH)


def outcome(call: Any, body: bytes) -> tuple[str, str]:
    """What is given or raised, with types (``repr`` tells 1 from 1.0 and knows NaN)."""
    try:
        return "gave", repr(call(body))
    except InvalidRequest as error:
        return "raised", str(error)


def assert_same(body: bytes) -> None:
    assert outcome(lambda b: parse_in_parts(b, parse, max_depth=MAX_DEPTH), body) == outcome(
        parse, body
    )


texts = st.text(st.sampled_from('ab"\\[]{},:é\n\u2028'), max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=30,
)
names = st.sampled_from(["instances", "inputs", "a", 'b"', "signature_name"])
documents = st.dictionaries(
    names, values | st.lists(values, max_size=12) | st.dictionaries(names, st.lists(values)),
    max_size=4,
)  # fmt: skip


@given(documents, st.booleans(), st.sampled_from([None, 1]))
def test_the_same_comes_of_any_document(document: Any, ascii_only: bool, indent: Any) -> None:
    try:
        text = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    except UnicodeEncodeError:
        return
    assert_same(text)
    assert_same(b"\xef\xbb\xbf" + text)


@given(documents, st.data())
def test_the_same_comes_of_what_is_damaged(document: Any, data: st.DataObject) -> None:
    text = bytearray(json.dumps(document).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        change = data.draw(st.sampled_from([b"", b",", b'"', b"]", b"[", b"}", b"{", b"\\", b"x"]))
        text[place : place + data.draw(st.integers(0, 1))] = change
        if not text:
            return
    assert_same(bytes(text))


@pytest.mark.parametrize("body", [
    b'{"instances": [%b]}' % b",".join([b'{"a": [1, 2], "b": "],[\\\\"}'] * 50),
    b'{"instances": [%b,]}' % b",".join([b"12"] * 50),
    b'{"instances": [%b,,%b]}' % (b",".join([b"12"] * 50), b",".join([b"12"] * 50)),
    b'{"instances": [%b}' % b",".join([b"12"] * 50),
    b'{"instances": [%b}]' % b",".join([b"12"] * 50),
    b'{[%b]: 1}' % b",".join([b"12"] * 50),
    b'[%b]' % b",".join([b"[1,2]"] * 50),
    b'{"a": [%b], "a": [%b], "a": 3}' % (b",".join([b"1"] * 50), b",".join([b"2"] * 50)),
    b'{"inputs": {"x": [%b], "y": [[1,2],[3,4]]}}' % b",".join([b"NaN"] * 50),
    b'{"instances": [%b]}' % b",".join([b"[" * 20 + b"]" * 20] * 9),
    b'{"instances": [%b]} x' % b",".join([b"12"] * 50),
    b'{"instances": [%b], "s": "\xff"}' % b",".join([b"12"] * 50),
    b'{"s": "%b", "instances": [%b]}' % (b"\\\\" * 99, b",".join([b"12"] * 50)),
    b'{"s": "%b"}' % (b"\\" * 99),
    b"", b"   ", b"{", b"]",
])  # fmt: skip
def test_cases(body: bytes) -> None:
    assert_same(body)


def test_an_array_is_counted_before_its_items_are_parsed() -> None:
    seen: list[tuple[tuple[str, ...], int]] = []
    parsed: list[bytes] = []

    def parse_and_say(body: bytes) -> Any:
        parsed.append(body)
        return parse(body)

    def check(at: tuple[str, ...], items: int) -> None:
        seen.append((at, items))
        if at == ("inputs", "x"):
            raise KeyError(items)

    body = json.dumps({"inputs": {"x": [1] * 70, "y": 3}, "instances": [{}] * 80}).encode()
    with pytest.raises(KeyError):
        parse_in_parts(body, parse_and_say, max_depth=MAX_DEPTH, check=check)
    assert seen == [(("instances",), 80), (("inputs", "x"), 70)]
    assert len(parsed) == 1
    assert len(parsed[0]) < 200
