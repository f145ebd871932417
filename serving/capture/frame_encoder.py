"""Frames of answered predictions, quickly: what is the same for all of them is encoded once.

The bytes decode to what :func:`trueup.frames.capture_codec.encode_frame` would have written; a test
holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from trueup.frames.capture_codec import (
    BODY_CODES,
    HEADER,
    KIND_CODES,
    LARGEST,
    SHADOW,
    VERSION,
)
from trueup.records.capture import Body, FrameKind

_SERVED = KIND_CODES[FrameKind.SERVED]
_CODES = BODY_CODES
_pack = HEADER.pack


class ServedEncoder:
    """Encodes ``served`` frames of one model, version, signature, alias, arm and shadow flag.

    :param inputs: names of the signature's inputs.
    """

    def __init__(
        self,
        *,
        model: str,
        version: int,
        signature: str,
        inputs: Sequence[str] = (),
        alias: str = "",
        arm: str = "",
        shadow: bool = False,
        sample_rate: float = 1.0,
    ) -> None:
        self.inputs = tuple(inputs)
        self._flags = SHADOW if shadow else 0
        said: dict[str, str | int | float] = {"m": model, "v": version, "s": 200}
        for key, value in (("sig", signature), ("alias", alias), ("arm", arm)):
            if value:
                said[key] = value
        if sample_rate != 1.0:
            said["sr"] = sample_rate
        self._words = orjson.dumps(said)

    def encode(
        self,
        request: bytes,
        response: bytes,
        rows: int,
        arrival_us: int,
        latency_us: int,
        request_id: str = "",
        event_us: int | None = None,
        *,
        request_bytes: int | None = None,
        body: Body = Body.PREDICT,
    ) -> bytes:
        """The payload of one attempt, with parameters as :class:`CaptureFrame` has them.

        :param request_bytes: length of the body as sent, where ``request`` is not that.
        """
        words = self._words
        if request_id or event_us is not None:
            words = self._more_words(request_id, event_us)
        sent = len(request)
        return b"".join((
            _pack(
                VERSION, _SERVED, _CODES[body], self._flags,
                len(words), sent, len(response), rows,
                sent if request_bytes is None else request_bytes,
                latency_us if latency_us <= LARGEST else LARGEST, arrival_us,
            ),
            words, request, response,
        ))  # fmt: skip

    def _more_words(self, request_id: str, event_us: int | None) -> bytes:
        words = self._words[:-1]
        if request_id:
            words += b',"id":' + orjson.dumps(request_id)
        if event_us is not None:
            words += b',"et":%d' % event_us
        return words + b"}"
