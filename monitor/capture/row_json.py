"""Rows of the capture as JSON, as a client of TensorFlow Serving writes values."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

import orjson


def plain(value: Any) -> Any:
    """A value of an Arrow column as JSON has it: bytes as ``{"b64": …}``, times in ISO 8601.

    >>> plain([b"a", None, 1.5])
    [{'b64': 'YQ=='}, None, 1.5]
    """
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return [plain(each) for each in value] if isinstance(value, list) else value


def json_of(document: Any) -> bytes:
    """``document`` as JSON; NaN and infinities as bare words, as TensorFlow Serving writes them.

    >>> json_of({"x": 1.5}), json_of({"x": float("inf")})
    (b'{"x":1.5}', b'{"x": Infinity}')
    """
    if _is_finite(document):
        return orjson.dumps(document)
    return json.dumps(document, ensure_ascii=False).encode()


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return value - value == 0.0
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return all(map(_is_finite, value)) if isinstance(value, list) else True
