"""A capture frame's payload: 36 bytes of header, JSON of what is said in words, the bodies as they
are.

uint8   2            version of this layout
uint8   kind         1 served, 2 refused, 3 logged, 4 labels
uint8   body         1 predict, 2 rows, 3 omitted
uint8   flags        1: shadow
uint32  length       of the JSON
uint32  length       of the request
uint32  length       of the response
uint32  rows         instances in the request
uint32  length       of the body as sent
uint32  latency      microseconds
int64   arrival      microseconds since 1970
JSON                 an object; keys that are at their default are left out
bytes   request
bytes   response

All little-endian; numbers that do not fit are the largest that do. What differs from frame to frame
is a number in the header, so that the JSON of most frames of a segment is the same, and is written
and read once. A reader passes over keys that it does not know; a change of what is there counts the
version up.
"""

from __future__ import annotations

import struct
from typing import Any

import orjson

from trueup.errors import FrameError
from trueup.records.capture import Body, CaptureFrame, FrameKind

VERSION = 2

HEADER = struct.Struct("<BBBBIIIIIIq")
"""Layout, kind, body, flags; lengths of JSON, request and response; rows, length as sent, latency,
arrival."""
LARGEST = 0xFFFF_FFFF
_KINDS = (FrameKind.SERVED, FrameKind.REFUSED, FrameKind.LOGGED, FrameKind.LABELS)
_BODIES = (Body.PREDICT, Body.ROWS, Body.OMITTED)
KIND_CODES = {kind: code for code, kind in enumerate(_KINDS, 1)}
BODY_CODES = {body: code for code, body in enumerate(_BODIES, 1)}
SHADOW = 1


def encode_frame(frame: CaptureFrame) -> bytes:
    """``frame`` as the payload of a frame file.

    >>> frame = CaptureFrame(
    ...     FrameKind.SERVED, "flights", 3, 1_385_000_000_000_000, 200, 1, Body.PREDICT, b"{}"
    ... )
    >>> decode_frame(encode_frame(frame)) == frame
    True
    """
    said: dict[str, Any] = {"m": frame.model, "v": frame.version, "s": frame.status}
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
    if frame.sample_rate != 1.0:
        said["sr"] = frame.sample_rate
    if frame.error:
        said["err"] = frame.error
    words = orjson.dumps(said)
    header = HEADER.pack(
        VERSION,
        KIND_CODES[frame.kind],
        BODY_CODES[frame.body],
        SHADOW if frame.shadow else 0,
        len(words),
        len(frame.request),
        len(frame.response),
        min(frame.rows, LARGEST),
        min(frame.request_bytes, LARGEST),
        min(frame.latency_us, LARGEST),
        frame.arrival_us,
    )
    return b"".join((header, words, frame.request, frame.response))


def decode_frame(payload: bytes) -> CaptureFrame:
    """What :func:`encode_frame` wrote.

    :raises FrameError: when it is no capture frame, or of newer software.
    """
    if len(payload) < HEADER.size:
        raise FrameError(f"a payload of {len(payload)} bytes is no capture frame")
    (
        version, kind, body, flags, words, request, response, rows, sent, latency, arrival,
    ) = HEADER.unpack_from(payload)  # fmt: skip
    if version != VERSION:
        raise FrameError(
            f"a capture frame has layout {version}, and this release reads {VERSION}",
            remedy="read it with the release that wrote it, or a newer one",
        )
    start = HEADER.size + words
    middle = start + request
    if middle + response != len(payload) or not (0 < kind <= 4 and 0 < body <= 3):
        raise FrameError("a payload's header does not fit its length: it is no capture frame")
    try:
        said = orjson.loads(payload[HEADER.size : start])
        return CaptureFrame(
            kind=_KINDS[kind - 1],
            model=said["m"],
            version=said["v"],
            arrival_us=arrival,
            status=said["s"],
            rows=rows,
            body=_BODIES[body - 1],
            request=payload[start:middle],
            request_bytes=sent,
            response=payload[middle:],
            request_id=said.get("id", ""),
            signature=said.get("sig", ""),
            alias=said.get("alias", ""),
            arm=said.get("arm", ""),
            shadow=bool(flags & SHADOW),
            event_us=said.get("et"),
            latency_us=latency,
            sample_rate=said.get("sr", 1.0),
            error=said.get("err", ""),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise FrameError("a capture frame's description cannot be read") from error
