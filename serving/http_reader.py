"""From the bytes of a connection to requests: the callbacks of llhttp, and the limits of a message.

llhttp (through httptools) parses; here is what it does not do: sizes of heads, bodies and of what
is around chunks, bytes held by all connections, and going on behind an offer of another protocol.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, cast

import httptools

from trueup.serving.http_head import SINGLE, head_problem, too_large, too_many_bytes
from trueup.serving.http_message import Connection, Reply, Request, error_reply, internal_error
from trueup.serving.http_state import Limits, ServerState

logger = logging.getLogger(__name__)

Accept = Callable[[Request], Reply | None]

#: Counted for a pipelined request that waits, besides its body.
_WAITING_COST = 1 << 10

#: A refused request's body up to here is read and thrown away, and the connection lives on.
_SMALL_BODY = 64 << 10


class _StopParsing(Exception):
    """Out of a callback of the parser: what follows must not be read."""


class RequestReader:
    """Of one connection.

    :ivar ready: complete requests, in order; the connection takes them out.
    :ivar last: nothing more may be parsed.
    :ivar tail: the error that ends the connection, behind the replies to what is ready.
    :ivar building: the request whose body is being received.
    :ivar continue_due: its client waits for ``100 Continue``.
    """

    __slots__ = (
        "_accept", "_body", "_connection", "_headers", "_limits", "_parser", "_size", "_state",
        "_target", "_unused_wire", "_upgrade", "_wire", "building", "continue_due", "last", "peer",
        "ready", "tail",
    )  # fmt: skip

    def __init__(
        self, connection: Connection, limits: Limits, state: ServerState, accept: Accept | None
    ) -> None:
        self._connection = connection
        self._limits = limits
        self._state = state
        self._accept = accept
        self._parser: Any = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: bytes | bytearray = b""
        self._size = 0
        self._wire = 0  # bytes since the last complete request
        self._unused_wire = 0  # bytes of chunk extensions and trailers since the last of the body
        self._upgrade = False
        self.peer = ""
        self.building: Request | None = None
        self.continue_due = False
        self.ready: list[Request] = []
        self.last = False
        self.tail: Reply | None = None

    @property
    def in_head(self) -> bool:
        """Whether a part of a request's head has come."""
        return self._wire > 0 or self._target != b""

    def fail(self, reply: Reply) -> None:
        """End the connection with ``reply``, after the replies before it."""
        self.last = True
        self.tail = reply

    def drop(self) -> None:
        """Count no more what will not be answered, and read nothing more."""
        self.last = True
        for request in self.ready:
            self._state.pending -= request.cost
        self.ready.clear()
        if self.building is not None:
            self._state.pending -= self.building.cost
            self.building = None
        self._body = b""
        self._headers = {}

    def release(self) -> None:
        """Of the parser, which holds this object."""
        self.drop()
        self._parser = None

    def parse(self, data: bytes | memoryview) -> None:
        self._wire += len(data)
        size = self._size
        while True:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = memoryview(data)[upgrade.args[0] :]
                self._resume()
            except httptools.HttpParserCallbackError as error:
                if not self.last:  # no _StopParsing: what the ``accept`` hook raised
                    logger.error("the head of a request", exc_info=error.__context__)
                    self.fail(internal_error())
                return
            except httptools.HttpParserError as error:
                if not self.last:
                    self.fail(error_reply(400, f"Malformed HTTP: {error}"))
                return
        if self.building is None:
            if self._wire > self._limits.max_header:
                self.fail(self._head_too_large())
        elif self._size > size:
            self._unused_wire = 0
        else:
            self._unused_wire += len(data)
            if self._unused_wire > self._limits.max_header:
                self.fail(error_reply(400, "Too many bytes around the chunks of the body"))

    def _resume(self) -> None:
        """Another protocol was offered and is not taken (RFC 9110, section 7.8): the parser stops
        behind the head, and a new one is told where it is."""
        self._upgrade = False
        request = cast(Request, self.building)
        self._parser = httptools.HttpRequestParser(self)
        if "transfer-encoding" in request.headers:
            framing = b"Transfer-Encoding: chunked"
        else:
            framing = b"Content-Length: " + request.headers.get("content-length", "0").encode()
        self._parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n")

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.building is not None:
            return  # a trailer
        key = _names.get(name) or _lower(name)
        text = value.decode("latin-1").rstrip()
        headers = self._headers
        if key in headers:
            if key in SINGLE:
                self._stop(error_reply(400, f"Header {key} is given twice"))
            text = f"{headers[key]}, {text}"
        headers[key] = text

    def on_headers_complete(self) -> None:
        if self.building is not None:
            return  # by _resume
        parser = self._parser
        headers, target = self._headers, self._target
        self._headers, self._target = {}, b""
        method = parser.get_method().decode()
        self.building = request = Request(self._connection, method, target, headers, self.peer)
        keep_alive = request.keep_alive = parser.should_keep_alive()
        # A parser that keeps a connection without being asked to has seen HTTP/1.1.
        sure = keep_alive and "connection" not in headers
        version = "1.1" if sure else parser.get_http_version()
        problem = head_problem(request, version, self._limits)
        if self._wire > self._limits.max_header and problem is None:
            size = len(target) + sum(len(name) + len(headers[name]) + 4 for name in headers)
            problem = self._head_too_large() if size > self._limits.max_header else None
        if problem is not None:
            self._stop(problem)
        self._upgrade = "upgrade" in headers and parser.should_upgrade()
        body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        waits = body and "expect" in headers and version == "1.1"
        if self._accept is not None:
            request.refusal = refusal = self._accept(request)
            if refusal is not None and body:
                length = int(headers.get("content-length", _SMALL_BODY + 1))
                if waits or length > _SMALL_BODY:
                    self._stop(refusal)
        self.continue_due = waits

    def on_body(self, data: bytes) -> None:
        request = cast(Request, self.building)
        if request.refusal is not None:
            return
        self._size += len(data)
        request.cost += len(data)
        self._state.pending += len(data)
        if self._size > self._limits.max_body:
            self._stop(too_large(self._limits))
        self._check_pending()
        if not self._body:
            self._body = data
        elif isinstance(self._body, bytearray):
            self._body += data
        else:
            self._body = bytearray(self._body) + data

    def on_message_complete(self) -> None:
        request = self.building
        if self._upgrade or request is None:
            return  # _resume comes before the body
        body = self._body
        request.body = body if isinstance(body, bytes) else bytes(body)
        request.arrival_us = time.time_ns() // 1000
        request.arrival_s = time.monotonic()
        self.building = None
        self._body = b""
        self._size = self._wire = self._unused_wire = 0
        self.continue_due = False
        if self.ready:
            request.cost += _WAITING_COST
            self._state.pending += _WAITING_COST
        self.ready.append(request)
        if not request.keep_alive:
            self.last = True
        elif request.cost >= _WAITING_COST:
            self._check_pending()

    def _check_pending(self) -> None:
        if self._state.pending > self._limits.max_pending:
            self._stop(too_many_bytes())

    def _head_too_large(self) -> Reply:
        return error_reply(
            431,
            f"The request's head has more than {self._limits.max_header} bytes "
            "(setting serving.max_header)",
        )

    def _stop(self, reply: Reply) -> None:
        """As :meth:`fail`, out of a callback of the parser."""
        self.fail(reply)
        raise _StopParsing


_names: dict[bytes, str] = {}


def _lower(name: bytes) -> str:
    """A header's name in lower case; those that clients commonly send are kept."""
    found = name.decode("latin-1").lower()
    if len(name) <= 64 and len(_names) < 512:
        _names[name] = found
    return found
