"""What the capture holds: one frame per answered attempt, and frames of labels.

The bytes of a frame are :mod:`trueup.frames.capture_codec`'s; the Parquet form after compaction is
described in docs/capture.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class FrameKind(str, Enum):
    """What a frame of the capture is about.

    ``served``: an attempt that was answered with predictions. ``refused``: an attempt at a model
    that was answered with an error (what clients get wrong is skew as well). ``logged``: rows that
    were served elsewhere and sent to us. ``labels``: true outcomes.
    """

    SERVED = "served"
    REFUSED = "refused"
    LOGGED = "logged"
    LABELS = "labels"


class Body(str, Enum):
    """How the request's bytes are to be read.

    ``predict``: the body of a predict request as the client sent it (``instances`` or ``inputs``).
    ``rows``: a JSON array of one object per row, re-encoded by us (column policies, logged rows,
    labels). ``omitted``: it could not be parsed, or was not to be kept; only its length is known.
    """

    PREDICT = "predict"
    ROWS = "rows"
    OMITTED = "omitted"


@dataclass(frozen=True, slots=True)
class CaptureFrame:
    """One attempt, or one batch of logged rows or labels.

    :param model: the name in the request.
    :param version: that answered; 0 where none was reached.
    :param alias: by which the client asked for a version, else empty.
    :param arm: of a traffic split, else empty.
    :param shadow: mirrored to this version; its answer was never returned.
    :param signature: name of the model's signature that was called.
    :param request_id: the client's ``X-Request-Id``, not unique; empty where it gave none.
    :param arrival_us: when the request had arrived, microseconds since 1970 (UTC).
    :param event_us: event time from a header, likewise; ``None`` where none was given.
    :param status: the HTTP status of the answer.
    :param latency_us: from arrival until the answer was encoded, microseconds.
    :param rows: instances in the request (0 where it could not be read).
    :param sample_rate: the share of attempts that are kept, of which this is one.
    :param body: how to read ``request``.
    :param request_bytes: length of the body as sent.
    :param request: the body, as ``body`` says.
    :param response: the body of the answer to a ``served`` attempt; predictions of ``logged`` rows.
    :param error: what a refused attempt was told.
    """

    kind: FrameKind
    model: str
    version: int
    arrival_us: int
    status: int
    rows: int
    body: Body
    request: bytes
    request_bytes: int = 0
    response: bytes = b""
    request_id: str = ""
    signature: str = ""
    alias: str = ""
    arm: str = ""
    shadow: bool = False
    event_us: int | None = None
    latency_us: int = 0
    sample_rate: float = 1.0
    error: str = ""
