"""Request bodies to JSON documents: orjson where it can, else what TensorFlow Serving takes too.

TensorFlow Serving parses with rapidjson, which accepts the bare tokens ``NaN``, ``Infinity`` and
``-Infinity`` and a byte order mark. Of duplicate keys the last one counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from trueup.serving.tensors import InvalidRequest

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
# A document that is not deeper than this is found to be so by a few replacements.
_SHALLOW = 8
_CHUNK_BYTES = 1 << 18
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1
# Integers of more digits may exceed 64 bits; rapidjson and orjson make them floats.
_LONG_NUMBER = re.compile(r"[0-9]{19}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(body: bytes, *, max_depth: int) -> Any:
    """The document that a request's body holds.

    :param max_depth: lists and objects may be nested as deeply.
    :raises InvalidRequest: for anything else than one JSON document in UTF-8.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return _parse_with_tokens(body, max_depth, error)
    if body.count(b"[") + body.count(b"{") > max_depth and not _is_shallow(body):
        _check_depth(body, max_depth)
    return document


def _parse_with_tokens(body: bytes, max_depth: int, refusal: orjson.JSONDecodeError) -> Any:
    if not body or body.isspace():
        raise InvalidRequest("JSON Parse error: The document is empty")
    if body.startswith(_BYTE_ORDER_MARK):
        rest = body[len(_BYTE_ORDER_MARK) :]
        if rest.startswith(_BYTE_ORDER_MARK):
            raise _parse_error(refusal.msg, refusal.pos)
        return parse_json(rest, max_depth=max_depth)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise _parse_error("Invalid encoding in string.", error.start) from None
    # Python's parser calls itself for every level, and some versions die of too many.
    _check_depth(body, max_depth)
    if "NaN" not in text and "Infinity" not in text and "infinity" not in refusal.msg:
        raise _parse_error(refusal.msg, refusal.pos)
    return _parse_with_python(text)


def _parse_with_python(text: str) -> Any:
    options: dict[str, Any] = {"parse_int": _integer} if _LONG_NUMBER.search(text) else {}
    try:
        document = json.loads(text, **options)
        if _SURROGATE.search(text):
            json.dumps(document, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise _parse_error(error.msg, error.pos) from None
    except UnicodeEncodeError:
        raise _parse_error("The surrogate pair in string is invalid.", 0) from None
    return document


def _parse_error(reason: str, offset: int) -> InvalidRequest:
    return InvalidRequest(f"JSON Parse error: {reason} at offset: {offset}")


def _integer(digits: str) -> int | float:
    if len(digits) <= 20:
        value = int(digits)
        if -(1 << 63) <= value < 1 << 64:
            return value
    return float(digits)


def _is_shallow(body: bytes) -> bool:
    """Whether all brackets vanish when pairs are taken away a few times."""
    brackets = body.translate(None, _NOT_BRACKETS)
    for _ in range(_SHALLOW):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return True
    return False


def _check_depth(body: bytes, max_depth: int) -> None:
    """Refuse deeper nesting; strings are left out. Time and memory do not depend on the depth."""
    depth = 0
    for brackets in _brackets(body):
        depths = np.cumsum(_STEPS[np.frombuffer(brackets, np.uint8)], dtype=np.int64)
        if depths.size:
            if depth + int(depths.max()) > max_depth:
                raise InvalidRequest(
                    f"JSON Parse error: nested more than {max_depth} levels deep"
                    " (serving.max_json_depth)"
                )
            depth += int(depths[-1])


def _brackets(body: bytes) -> Iterator[bytes]:
    """The brackets outside of strings, in pieces."""
    unescaped = body
    if b"\\" in body:
        unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = 0  # which of the pieces between quotes are outside of strings: even or odd ones
    for start in range(0, len(unescaped), _CHUNK_BYTES):
        pieces = unescaped[start : start + _CHUNK_BYTES].split(b'"')
        yield b"".join(pieces[outside::2]).translate(None, _NOT_BRACKETS)
        outside ^= (len(pieces) - 1) & 1
