"""Many frames at once: their descriptions as columns, their bodies as they are.

One frame as an object (:func:`~trueup.frames.capture_codec.decode_frame`) costs 7 µs, which is what
all the rest of the work on a row may cost; so descriptions are parsed together, by Arrow.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from trueup.errors import FrameError
from trueup.frames.capture_codec import VERSION, decode_frame
from trueup.monitor.capture.arrow_json import documents
from trueup.records.capture import Body, CaptureFrame, FrameKind

#: The layout of :mod:`trueup.frames.capture_codec`.
_HEADER = struct.Struct("<BBBBIII")
_KINDS = (FrameKind.SERVED, FrameKind.REFUSED, FrameKind.LOGGED, FrameKind.LABELS)
_BODIES = (Body.PREDICT, Body.ROWS, Body.OMITTED)
KIND_CODES = {kind: code for code, kind in enumerate(_KINDS, 1)}
BODY_CODES = {body: code for code, body in enumerate(_BODIES, 1)}
_SHADOW = 1

#: Key in the description → name, type, and what stands for a key that is left out.
_FIELDS: dict[str, tuple[str, pa.DataType, object]] = {
    "m": ("model", pa.string(), None),
    "v": ("version", pa.int64(), None),
    "t": ("arrival_us", pa.int64(), None),
    "s": ("status", pa.int64(), None),
    "n": ("rows", pa.int64(), None),
    "id": ("request_id", pa.string(), ""),
    "sig": ("signature", pa.string(), ""),
    "alias": ("alias", pa.string(), ""),
    "arm": ("arm", pa.string(), ""),
    "et": ("event_us", pa.int64(), None),
    "l": ("latency_us", pa.int64(), 0),
    "sr": ("sample_rate", pa.float64(), 1.0),
    "err": ("error", pa.string(), ""),
}
_SCHEMA = pa.schema([(key, kind) for key, (_, kind, _) in _FIELDS.items()])
_REQUIRED = ("model", "version", "arrival_us", "status", "rows")


@dataclass(frozen=True)
class FrameBlock:
    """Frames of one stretch of a segment.

    :param number: index of each in its segment, int64, shape ``(n,)``.
    :param kind, body, shadow: codes (see ``KIND_CODES``, ``BODY_CODES``) and flag of each.
    :param head: a column per field of the descriptions: Arrow arrays of length n, without nulls but
        in ``event_us``.
    :param unreadable: bytes of frames that are none, which are not in here.
    """

    number: np.ndarray
    kind: np.ndarray
    body: np.ndarray
    shadow: np.ndarray
    head: pa.Table
    requests: list[bytes]
    responses: list[bytes]
    unreadable: int = 0

    def __len__(self) -> int:
        return len(self.requests)

    def take(self, places: np.ndarray) -> FrameBlock:
        """Those at ``places``, in that order."""
        if len(places) == len(self) and (places == np.arange(len(self))).all():
            return self
        chosen = places.tolist()
        return FrameBlock(
            self.number[places], self.kind[places], self.body[places], self.shadow[places],
            self.head.take(pa.array(places)).combine_chunks(),
            [self.requests[place] for place in chosen],
            [self.responses[place] for place in chosen],
        )  # fmt: skip

    def column(self, name: str) -> pa.Array:
        column = self.head.column(name)
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

    def numbers(self, name: str) -> np.ndarray:
        found: np.ndarray = self.head.column(name).to_numpy()
        return found


def read_block(payloads: Sequence[bytes], first: int) -> FrameBlock:
    """``payloads``, of which the first has index ``first`` in its segment.

    :raises FrameError: when newer software wrote one of them: nothing of it may be passed over.
    """
    unpack, header = _HEADER.unpack_from, _HEADER.size
    heads: list[bytes] = []
    requests: list[bytes] = []
    responses: list[bytes] = []
    codes: list[tuple[int, int, int]] = []
    numbers: list[int] = []
    unreadable = 0
    for number, payload in enumerate(payloads, first):
        if len(payload) < header:
            unreadable += len(payload)
            continue
        version, kind, body, flags, words, request, response = unpack(payload)
        if version > VERSION:
            decode_frame(payload)  # raises, in its own words
        start = header + words
        middle = start + request
        if middle + response != len(payload) or not (0 < kind <= 4 and 0 < body <= 3):
            unreadable += len(payload)
            continue
        heads.append(payload[header:start])
        requests.append(payload[start:middle])
        responses.append(payload[middle:])
        codes.append((kind, body, flags))
        numbers.append(number)
    table = _heads(heads)
    if table is None:
        return _one_by_one(payloads, first)
    code = np.array(codes, np.uint8).reshape(-1, 3)
    return FrameBlock(
        np.array(numbers, np.int64), code[:, 0], code[:, 1], (code[:, 2] & _SHADOW) > 0,
        table, requests, responses, unreadable,
    )  # fmt: skip


def _heads(heads: list[bytes]) -> pa.Table | None:
    """The descriptions as columns; ``None`` where one is not as it should be."""
    found = documents(heads, _SCHEMA, unexpected="ignore")
    if found is None:
        return None
    columns = {}
    for key, (name, _, default) in _FIELDS.items():
        column = found.column(key)
        if default is not None and column.null_count:
            column = column.fill_null(default)
        columns[name] = column
    if any(columns[name].null_count for name in _REQUIRED):
        return None
    return pa.table(columns)


def _one_by_one(payloads: Sequence[bytes], first: int) -> FrameBlock:
    """As :func:`read_block`, where one of the frames does not read: that one is left out."""
    frames: list[CaptureFrame] = []
    numbers, unreadable = [], 0
    for number, payload in enumerate(payloads, first):
        try:
            frame = decode_frame(payload)
            pa.array([frame.model], pa.string()), pa.array([_integers(frame)], pa.list_(pa.int64()))
        except (FrameError, pa.ArrowException, OverflowError):
            if payload[:1] > bytes([VERSION]):
                raise
            unreadable += len(payload)
            continue
        frames.append(frame)
        numbers.append(number)
    columns = {
        name: pa.array([getattr(frame, name) for frame in frames], kind)
        for name, kind, _ in _FIELDS.values()
    }
    return FrameBlock(
        np.array(numbers, np.int64),
        np.array([KIND_CODES[frame.kind] for frame in frames], np.uint8),
        np.array([BODY_CODES[frame.body] for frame in frames], np.uint8),
        np.array([frame.shadow for frame in frames], bool),
        pa.table(columns),
        [frame.request for frame in frames],
        [frame.response for frame in frames],
        unreadable,
    )


def _integers(frame: CaptureFrame) -> list[int | None]:
    return [getattr(frame, name) for name, kind, _ in _FIELDS.values() if kind == pa.int64()]
