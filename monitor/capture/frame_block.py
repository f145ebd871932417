"""Many frames at once: their descriptions as columns, their bodies as they are.

One frame as an object (:func:`~trueup.frames.capture_codec.decode_frame`) costs 7 µs, which is what
all the rest of the work on a row may cost. So headers are read as an array, and what is said in
words, which is the same for many frames, is parsed once, and together by Arrow where it differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from trueup.errors import FrameError
from trueup.frames.capture_codec import (
    BODY_CODES,
    HEADER,
    KIND_CODES,
    SHADOW,
    VERSION,
    decode_frame,
)
from trueup.monitor.capture.arrow_json import documents
from trueup.records.capture import CaptureFrame

#: The layout of :data:`trueup.frames.capture_codec.HEADER`.
_HEADERS = np.dtype(
    [(name, "u1") for name in ("layout", "kind", "body", "flags")]
    + [(name, "<u4") for name in ("words", "request", "response", "rows", "sent", "latency_us")]
    + [("arrival_us", "<i8")]
)
#: Fields of a description that are numbers in the header.
_NUMBERS = ("arrival_us", "rows", "latency_us")

#: Key in the description → name, type, and what stands for a key that is left out.
_FIELDS: dict[str, tuple[str, pa.DataType, object]] = {
    "m": ("model", pa.string(), None),
    "v": ("version", pa.int64(), None),
    "s": ("status", pa.int64(), None),
    "id": ("request_id", pa.string(), ""),
    "sig": ("signature", pa.string(), ""),
    "alias": ("alias", pa.string(), ""),
    "arm": ("arm", pa.string(), ""),
    "et": ("event_us", pa.int64(), None),
    "sr": ("sample_rate", pa.float64(), 1.0),
    "err": ("error", pa.string(), ""),
}
_TYPES = {name: kind for name, kind, _ in _FIELDS.values()} | dict.fromkeys(_NUMBERS, pa.int64())
_SCHEMA = pa.schema([(key, kind) for key, (_, kind, _) in _FIELDS.items()])
_REQUIRED = ("model", "version", "status")
#: Fewer descriptions than this share of the frames: each is parsed once.
_REPEATED = 0.5

NO_FRAME = "it is no capture frame"
NO_DESCRIPTION = "its description cannot be read"
BEYOND = "its model, arm, version or time is beyond all bounds"
NEWER = "newer software wrote it"
"""Why a frame is not read."""

Refuse = Callable[[int, str], None]

_BOUNDS = (
    ("version", 0, (1 << 31) - 1),
    ("arrival_us", 0, 253_402_300_799_999_999),  # the year 9999 ends
    ("rows", 0, 1 << 31),
)
_LONGEST_NAME = 100  # of a model or an arm, characters


@dataclass(frozen=True)
class FrameBlock:
    """Frames of one stretch of a segment.

    :param number: index of each in its segment, int64, shape ``(n,)``.
    :param kind, body, shadow: codes (see ``KIND_CODES``, ``BODY_CODES``) and flag of each.
    :param head: a column per field of the descriptions: Arrow arrays of length n, without nulls but
        in ``event_us``.
    """

    number: np.ndarray
    kind: np.ndarray
    body: np.ndarray
    shadow: np.ndarray
    head: pa.Table
    requests: list[bytes]
    responses: list[bytes]

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


def read_block(payloads: Sequence[bytes], first: int, refuse: Refuse) -> FrameBlock:
    """``payloads``, of which the first has index ``first`` in its segment.

    :param refuse: called with the index of each that is no frame, and why; it is not in the block.
    """
    unpack, header = HEADER.unpack_from, HEADER.size
    headers: list[bytes] = []
    words: list[bytes] = []
    requests: list[bytes] = []
    responses: list[bytes] = []
    numbers: list[int] = []
    for number, payload in enumerate(payloads, first):
        if len(payload) < header:
            refuse(number, NO_FRAME)
            continue
        version, kind, body, _, said, request, response, *_ = unpack(payload)
        start = header + said
        middle = start + request
        if version != VERSION:
            refuse(number, NEWER if version > VERSION else NO_FRAME)
            continue
        if middle + response != len(payload) or not (0 < kind <= 4 and 0 < body <= 3):
            refuse(number, NO_FRAME)
            continue
        headers.append(payload[:header])
        words.append(payload[header:start])
        requests.append(payload[start:middle])
        responses.append(payload[middle:])
        numbers.append(number)
    table = _descriptions(words)
    if table is None:
        chosen = [(number, payloads[number - first]) for number in numbers]
        return _sound(_one_by_one(chosen, refuse), refuse)
    codes = np.frombuffer(b"".join(headers), _HEADERS, len(headers))
    for name in _NUMBERS:
        table = table.append_column(name, pa.array(codes[name].astype(np.int64)))
    block = FrameBlock(
        np.array(numbers, np.int64), codes["kind"], codes["body"], (codes["flags"] & SHADOW) > 0,
        table, requests, responses,
    )  # fmt: skip
    return _sound(block, refuse)


def _descriptions(words: list[bytes]) -> pa.Table | None:
    """What is said in words, as columns; ``None`` where one is not as it should be."""
    places = {each: place for place, each in enumerate(dict.fromkeys(words))}
    if len(places) > _REPEATED * len(words):
        return _parsed(words)
    table = _parsed(list(places))
    if table is None:
        return None
    taken = table.take(pa.array([places[each] for each in words], pa.int32()))
    return taken.combine_chunks()


def _parsed(heads: list[bytes]) -> pa.Table | None:
    """A row per description; ``None`` where one is not as it should be."""
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


def _one_by_one(chosen: Sequence[tuple[int, bytes]], refuse: Refuse) -> FrameBlock:
    """As :func:`read_block`, where the description of one of the frames does not read: that one is
    refused."""
    frames: list[CaptureFrame] = []
    numbers = []
    for number, payload in chosen:
        try:
            frame = decode_frame(payload)
            for name, kind in _TYPES.items():
                _checked(getattr(frame, name), kind, name)
        except (FrameError, TypeError, ValueError, OverflowError):
            refuse(number, NO_DESCRIPTION)
            continue
        frames.append(frame)
        numbers.append(number)
    columns = {
        name: pa.array([getattr(frame, name) for frame in frames], kind)
        for name, kind in _TYPES.items()
    }
    return FrameBlock(
        np.array(numbers, np.int64),
        np.array([KIND_CODES[frame.kind] for frame in frames], np.uint8),
        np.array([BODY_CODES[frame.body] for frame in frames], np.uint8),
        np.array([frame.shadow for frame in frames], bool),
        pa.table(columns),
        [frame.request for frame in frames],
        [frame.response for frame in frames],
    )


def _checked(value: Any, kind: pa.DataType, name: str) -> None:
    """:raises TypeError, ValueError, OverflowError: ``value`` is none of ``kind``. (Arrow's errors
    are of these classes.)"""
    if value is None and name != "event_us":
        raise TypeError(f"{name} is null")
    if isinstance(value, bool) or (kind == pa.string() and not isinstance(value, str | None)):
        raise TypeError(f"{name} is no {kind}")
    pa.array([value], kind)


def _sound(block: FrameBlock, refuse: Refuse) -> FrameBlock:
    """``block`` without frames that no store and no calendar can hold."""
    good = np.ones(len(block), bool)
    for name, low, high in _BOUNDS:
        values = block.column(name)
        if len(values):
            numbers = values.to_numpy()
            good &= (numbers >= low) & (numbers <= high)
    for name, least in (("model", 1), ("arm", 0)):
        encoded = block.column(name).dictionary_encode()
        words = encoded.dictionary.to_pylist()
        fits = [least <= len(word) <= _LONGEST_NAME and "\0" not in word for word in words]
        if not all(fits):
            good &= np.array(fits, bool)[encoded.indices.to_numpy()]
    if good.all():
        return block
    for number in block.number[~good].tolist():
        refuse(number, BEYOND)
    return block.take(np.flatnonzero(good))
