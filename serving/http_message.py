"""Requests and replies of the HTTP server, and the bytes of a reply's head.

A request is known by :class:`Request`, from its head on: the ``accept`` hook of a connection sees
it without a body. The application answers it once, by :meth:`Request.reply`, on the thread of the
event loop, whenever it wants.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

JSON = "application/json"

Pairs = Sequence[tuple[str, str]]
Headers = Pairs | bytes
"""Names and values; or whole lines, each with its end, which nobody looks at again."""

#: 499 is nginx's: the client went away before there was an answer. TensorFlow Serving uses it.
CLIENT_CLOSED_REQUEST = 499

STATUS_LINES: dict[int, bytes] = {
    **{s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus},
    CLIENT_CLOSED_REQUEST: b"HTTP/1.1 499 Client Closed Request\r\n",
}

CLOSE = b"Connection: close\r\n"
KEEP_ALIVE = b"Connection: keep-alive\r\n"

_CACHED_TARGET = 256  # bytes; longer ones are rare, and would make the cache large
_CACHED_TARGETS = 1024


class Reply(NamedTuple):
    """What is answered: also by hooks that answer before the application is asked."""

    status: int
    body: bytes
    headers: Pairs = ()
    content_type: str = JSON


class Connection(Protocol):
    """What a request needs of its connection."""

    def send(
        self, request: Request, status: int, body: bytes, content_type: str, headers: Headers
    ) -> None: ...


class Request:
    """One request. ``body`` is empty until it is complete, and already unpacked.

    :ivar target: as the client sent it; ``raw_path`` and ``query`` are its parts, ``path`` is
        ``raw_path`` with ``%XX`` decoded.
    :ivar headers: names in lower case; those that came twice are joined by ``", "``.
    :ivar arrival_us: wall clock when it was complete, in microseconds since 1970.
    :ivar arrival_s: ``time.monotonic()`` of the same moment.
    :ivar peer: the client's address.
    :ivar gone: the client has left: an answer would reach nobody.
    :ivar context: the application's own.
    """

    __slots__ = (
        "arrival_s",
        "arrival_us",
        "body",
        "connection",
        "context",
        "cost",
        "gone",
        "headers",
        "keep_alive",
        "method",
        "path",
        "peer",
        "query",
        "raw_path",
        "refusal",
        "target",
    )

    def __init__(
        self, connection: Connection, method: str, target: bytes, headers: dict[str, str], peer: str
    ) -> None:
        self.connection: Connection | None = connection
        self.method = method
        self.target = target
        self.raw_path, self.path, self.query = _parts.get(target) or _split(target)
        self.headers = headers
        self.peer = peer
        self.body = b""
        self.arrival_us = 0
        self.arrival_s = 0.0
        self.gone = False
        self.context: Any = None
        #: The connection's own: what may follow, bytes that it counts for, an answer known early.
        self.keep_alive = True
        self.cost = 0
        self.refusal: Reply | None = None

    def reply(
        self, status: int, body: bytes, *, content_type: str = JSON, headers: Headers = ()
    ) -> None:
        """Answer, on the event loop's thread, exactly once. Nobody may be there to hear it.

        :raises RuntimeError: it was answered before.
        :raises ValueError: a header has a line end in it; nothing was answered.
        """
        connection = self.connection
        if connection is None:
            raise RuntimeError(f"{self.method} {self.path} was answered before")
        connection.send(self, status, body, content_type, headers)

    def set_target(self, target: bytes) -> None:
        """Another target: the path that an absolute URL is of."""
        self.target = target
        self.raw_path, self.path, self.query = _split(target)

    @property
    def answered(self) -> bool:
        return self.connection is None


_parts: dict[bytes, tuple[str, str, str]] = {}


def _split(target: bytes) -> tuple[str, str, str]:
    """Raw path, decoded path and query; clients repeat a few targets, so they are kept."""
    whole, _, query = target.partition(b"#")[0].decode("latin-1").partition("?")
    parts = (whole, unquote(whole) if "%" in whole else whole, query)
    if len(target) <= _CACHED_TARGET:
        if len(_parts) >= _CACHED_TARGETS:
            _parts.clear()
        _parts[target] = parts
    return parts


def error_reply(status: int, message: str, headers: Pairs = ()) -> Reply:
    """An error as TensorFlow Serving writes it: ``{"error": message}``, indented by four."""
    body = json.dumps({"error": message}, indent=4, ensure_ascii=False)
    return Reply(status, body.encode("utf-8", "replace"), headers)


def internal_error() -> Reply:
    return error_reply(500, "Internal error; the server's log has it")


def head_of(
    status: int, size: int, content_type: str, headers: Headers, date: bytes, ending: bytes
) -> bytes:
    """The head of a reply, up to and with the empty line.

    :param size: of the body, in bytes; also for ``HEAD``, whose reply has none.
    :param date: the whole line, as it changes once a second only.
    :param ending: :data:`CLOSE`, :data:`KEEP_ALIVE` or nothing.
    :raises ValueError: a header has a line end in it.
    """
    more = headers if isinstance(headers, bytes) else header_lines(headers)
    return b"%b%d\r\n%b%b%b\r\n" % (_start(status, content_type), size, date, ending, more)


def header_lines(headers: Pairs) -> bytes:
    """``headers`` as lines.

    :raises ValueError: one has a line end in it.
    """
    more = b""
    for name, value in headers:
        line = f"{name}: {value}"
        if "\r" in line or "\n" in line or "\0" in line:
            raise ValueError(f"header {name!r} has a line end in it")
        more += line.encode("latin-1", "replace") + b"\r\n"
    return more


@lru_cache(maxsize=256)
def _start(status: int, content_type: str) -> bytes:
    """A head up to its length; there are few of them."""
    line = STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    return b"%bContent-Type: %b\r\nContent-Length: " % (line, content_type.encode("latin-1"))
