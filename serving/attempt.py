"""One prediction attempt on its way through the server."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trueup.serving.http_message import Headers, Request
    from trueup.serving.json_read import Instances


class Fate(Enum):
    """Where an attempt is: exactly one party may move it on from ``WAITING``."""

    WAITING = 0
    RUNNING = 1
    ENDED = 2


@dataclass(slots=True, eq=False)
class Attempt:
    """A request that reached a model version.

    :param instances: its rows, as read from the body; ``rows`` is how many.
    :param request_id: the client's, or empty.
    :param alias: by which the client asked, or empty.
    :param event_us: event time from the header, microseconds since 1970.
    :param deadline_s: monotonic time after which nobody waits for the answer.
    """

    request: Request
    instances: Instances
    rows: int
    request_id: str
    alias: str
    event_us: int | None
    deadline_s: float
    fate: Fate = Fate.WAITING


@dataclass(slots=True, eq=False)
class Outcome:
    """What a request is answered with, once its frame is written.

    :param headers: sent back; :func:`id_header`, where there is an id.
    """

    request: Request
    status: int
    body: bytes
    headers: Headers = ()


def id_header(request_id: str) -> Headers:
    """What tells the client by which id labels find its rows.

    >>> id_header("visit-7"), id_header("")
    ((('X-Request-Id', 'visit-7'),), ())
    """
    return (("X-Request-Id", request_id),) if request_id else ()
