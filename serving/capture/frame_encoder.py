"""Frames of answered predictions, quickly: what is the same for all of them is encoded once.

The bytes decode to what :func:`trueup.frames.capture_codec.encode_frame` would have written; a test
holds the two together.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import orjson

from trueup.frames.capture_codec import VERSION
from trueup.records.capture import Body

_HEADER = struct.Struct("<BBBBIII")
_SERVED = 1
_BODIES = {Body.PREDICT: 1, Body.ROWS: 2, Body.OMITTED: 3}


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
        self._flags = 1 if shadow else 0
        said: dict[str, str | int | float] = {"m": model, "v": version, "s": 200}
        for key, value in (("sig", signature), ("alias", alias), ("arm", arm)):
            if value:
                said[key] = value
        if sample_rate != 1.0:
            said["sr"] = sample_rate
        self._constant = orjson.dumps(said)[:-1]

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
        words = b'%b,"t":%d,"n":%d,"b":%d,"l":%d' % (
            self._constant,
            arrival_us,
            rows,
            len(request) if request_bytes is None else request_bytes,
            latency_us,
        )
        if request_id:
            words += b',"id":' + orjson.dumps(request_id)
        if event_us is not None:
            words += b',"et":%d' % event_us
        words += b"}"
        header = _HEADER.pack(
            VERSION,
            _SERVED,
            _BODIES[body],
            self._flags,
            len(words),
            len(request),
            len(response),
        )
        return b"".join((header, words, request, response))
