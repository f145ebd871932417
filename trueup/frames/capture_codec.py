"""A capture frame's payload: 16 bytes of header, JSON of what is short, the bodies as they are.

uint8   1            version of this layout
uint8   kind         1 served, 2 refused, 3 logged, 4 labels
uint8   body         1 predict, 2 rows, 3 omitted
uint8   flags        1: shadow
uint32  length       of the JSON
uint32  length       of the request
uint32  length       of the response
JSON                 an object; keys that are at their default are left out
bytes   request
bytes   response

Lengths are little-endian. A reader passes over keys that it does not know; a change of what is
there counts the version up.
"""

from __future__ import annotations

import struct
from typing import Any

import orjson

from trueup.errors import FrameError
from trueup.records.capture import Body, CaptureFrame, FrameKind

VERSION = 1

_HEADER = struct.Struct("<BBBBIII")
_KINDS = (FrameKind.SERVED, FrameKind.REFUSED, FrameKind.LOGGED, FrameKind.LABELS)
_BODIES = (Body.PREDICT, Body.ROWS, Body.OMITTED)
_KIND_CODES = {kind: code for code, kind in enumerate(_KINDS, 1)}
_BODY_CODES = {body: code for code, body in enumerate(_BODIES, 1)}
_SHADOW = 1


def encode_frame(frame: CaptureFrame) -> bytes:
    """``frame`` as the payload of a frame file.

    >>> frame = CaptureFrame(
    ...     FrameKind.SERVED, "flights", 3, 1_385_000_000_000_000, 200, 1, Body.PREDICT, b"{}"
    ... )
    >>> decode_frame(encode_frame(frame)) == frame
    True
    """
    said: dict[str, Any] = {
        "m": frame.model,
        "v": frame.version,
        "t": frame.arrival_us,
        "s": frame.status,
        "n": frame.rows,
    }
    if frame.request_bytes:
        said["b"] = frame.request_bytes
    if frame.request_id:
        said["id"] = frame.request_id
    if frame.signature:
        said["sig"] = frame.signature
    if frame.alias:
        said["alias"] = frame.alias
    if frame.arm:
        said["arm"] = frame.arm
    if frame.event_us is not None:
        said["et"] = frame.event_us
    if frame.latency_us:
        said["l"] = frame.latency_us
    if frame.sample_rate != 1.0:
        said["sr"] = frame.sample_rate
    if frame.error:
        said["err"] = frame.error
    words = orjson.dumps(said)
    header = _HEADER.pack(
        VERSION,
        _KIND_CODES[frame.kind],
        _BODY_CODES[frame.body],
        _SHADOW if frame.shadow else 0,
        len(words),
        len(frame.request),
        len(frame.response),
    )
    return b"".join((header, words, frame.request, frame.response))


def decode_frame(payload: bytes) -> CaptureFrame:
    """What :func:`encode_frame` wrote.

    :raises FrameError: when it is no capture frame, or of newer software.
    """
    if len(payload) < _HEADER.size:
        raise FrameError(f"a payload of {len(payload)} bytes is no capture frame")
    version, kind, body, flags, words, request, response = _HEADER.unpack_from(payload)
    if version != VERSION:
        raise FrameError(
            f"a capture frame has layout {version}, and this release reads {VERSION}",
            remedy="read it with the release that wrote it, or a newer one",
        )
    start = _HEADER.size + words
    middle = start + request
    if middle + response != len(payload) or not (0 < kind <= 4 and 0 < body <= 3):
        raise FrameError("a payload's header does not fit its length: it is no capture frame")
    try:
        said = orjson.loads(payload[_HEADER.size : start])
        return CaptureFrame(
            kind=_KINDS[kind - 1],
            model=said["m"],
            version=said["v"],
            arrival_us=said["t"],
            status=said["s"],
            rows=said["n"],
            body=_BODIES[body - 1],
            request=payload[start:middle],
            request_bytes=said.get("b", 0),
            response=payload[middle:],
            request_id=said.get("id", ""),
            signature=said.get("sig", ""),
            alias=said.get("alias", ""),
            arm=said.get("arm", ""),
            shadow=bool(flags & _SHADOW),
            event_us=said.get("et"),
            latency_us=said.get("l", 0),
            sample_rate=said.get("sr", 1.0),
            error=said.get("err", ""),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise FrameError("a capture frame's description cannot be read") from error
