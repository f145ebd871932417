"""One connection of the HTTP server: HTTP/1.1 and 1.0 on an event loop (uvloop, or asyncio's own).

llhttp (through httptools) parses; this class frames, limits and times. One request is in flight at
a time: what a client sends meanwhile waits unparsed, and after the first of it no more is read. So
pipelined requests are answered in order, and reading still goes on for those who do not pipeline,
which is how a client that left is seen.

An error of the protocol ends the connection: its reply is written after those of the requests
before it, and what the client still sends is thrown away for some seconds, for a socket closed
with bytes unread is reset, and the client would not see why.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import cast

from trueup.serving.http_body import ENCODINGS, INLINE_BYTES, unpack, unpacking_thread
from trueup.serving.http_head import too_many_bytes
from trueup.serving.http_message import (
    CLIENT_CLOSED_REQUEST,
    CLOSE,
    KEEP_ALIVE,
    Headers,
    Reply,
    Request,
    error_reply,
    head_of,
    internal_error,
)
from trueup.serving.http_reader import Accept, RequestReader
from trueup.serving.http_state import NEVER, Limits, ServerState

logger = logging.getLogger(__name__)

App = Callable[[Request], None]

#: Parsed at once: bounds how many pipelined requests there can be before reading stops.
_STEP = 8 << 10

#: Replies up to here are copied behind their head: one write.
_SMALL_REPLY = 64 << 10

_LINGER_S = 3.0

#: The end of input means that the client left, unless it comes right behind a request: some
#: clients close their sending half when they have sent what they had.
_HALF_CLOSE_S = 0.1

#: Connections beyond the limit that are still told so (503).
_TOLD_SO = 100

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# What a connection waits for; its deadline depends on it.
_IDLE, _HEAD, _BODY, _APP, _READER, _END = range(6)


class HttpConnection(asyncio.Protocol):
    """See the module.

    :param app: called on the loop's thread with each complete request; it must call
        ``request.reply`` once, then or later. What it raises is answered with 500.
    :param accept: called with a request's head before its body is read; a reply refuses it.
    """

    __slots__ = (
        "_app", "_backlog", "_backlog_at", "_current", "_eof", "_full", "_limits", "_paused",
        "_phase", "_reader", "_running", "_state", "_transport", "deadline",
    )  # fmt: skip

    def __init__(
        self, app: App, limits: Limits, state: ServerState, accept: Accept | None = None
    ) -> None:
        self._app = app
        self._limits = limits
        self._state = state
        self._reader = RequestReader(self, limits, state, accept)
        self._transport: asyncio.Transport | None = None
        self.deadline = NEVER
        self._phase = _IDLE
        self._current: Request | None = None  # in flight
        self._backlog: bytes | None = None  # not parsed yet
        self._backlog_at = 0
        self._paused = False
        self._running = False
        self._full = False  # the client takes no more of the replies
        self._eof = False

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._reader.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        state = self._state
        state.accepted += 1
        state.connections.add(self)
        self.deadline = state.now + (1.0 if state.draining else self._limits.idle_timeout_s)
        excess = len(state.connections) - self._limits.max_connections
        if excess > _TOLD_SO:
            self._transport.abort()
        elif excess > 0:
            self._reader.fail(
                error_reply(503, "Too many connections (setting serving.max_connections)")
            )
            self._run()

    def data_received(self, data: bytes) -> None:
        if self._reader.last:
            return
        if self._backlog is not None:
            self._state.pending += len(data)
            self._backlog += data
        elif self._phase >= _APP or len(data) > _STEP:
            self._state.pending += len(data)
            self._backlog = data
            self._run()
        else:
            self._reader.parse(data)
            self._run()

    def eof_received(self) -> bool:
        self._eof = True
        current = self._current
        if current is not None:
            if time.monotonic() - current.arrival_s > _HALF_CLOSE_S:
                current.gone = True
        elif self._phase != _READER:
            return False
        return self._transport is not None and not self._transport.get_extra_info("ssl_object")

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._phase = _END
        if self._current is not None:
            self._current.gone = True
        self._forget_backlog()
        self._reader.release()
        self._state.forget(self)

    def pause_writing(self) -> None:
        self._full = True
        self._run()

    def resume_writing(self) -> None:
        self._full = False
        self._run()

    # --- the state's side

    def on_deadline(self, now: float) -> None:
        if self._phase in (_READER, _END):
            self.abort()
            return
        if self._phase != _IDLE:
            what = "head" if self._phase == _HEAD else "body"
            self._reader.fail(error_reply(408, f"The request's {what} did not come in time"))
        self._reader.last = True
        self._run()

    def on_drain(self, unused_since: float) -> bool:
        if self._phase == _IDLE:
            if self.deadline - self._limits.idle_timeout_s > unused_since:
                return False
            self._reader.last = True
            self._run()
        return True

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- answering

    def _run(self) -> None:
        """Do what can be done now: start what is complete, parse what waits, or wait."""
        if self._running or self._phase == _END:
            return
        self._running = True
        reader = self._reader
        try:
            while self._current is None and not self._full and self._phase != _END:
                if reader.ready:
                    self._start(reader.ready.pop(0))
                elif reader.last:
                    self._end()
                elif self._backlog is not None:
                    self._parse_backlog()
                elif self._eof:
                    self._end()
                else:
                    self._wait()
                    break
        finally:
            self._running = False
        if self._full and self._current is None and self._phase < _READER:
            self._phase = _READER
            self.deadline = time.monotonic() + self._limits.body_timeout_s
        if self._paused != (self._backlog is not None):
            self._turn_reading()

    def _turn_reading(self) -> None:
        """Off while something waits to be parsed, else on."""
        transport = self._transport
        self._paused = self._backlog is not None
        if transport is None or transport.is_closing():
            return
        if self._paused:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _wait(self) -> None:
        """For the client."""
        if self._reader.building is not None:
            if self._reader.continue_due and self._transport is not None:
                self._reader.continue_due = False
                self._transport.write(_CONTINUE)
            if self._phase != _BODY:
                self._phase = _BODY
                self.deadline = time.monotonic() + self._limits.body_timeout_s
        elif self._reader.in_head:
            if self._phase != _HEAD:
                self._phase = _HEAD
                self.deadline = time.monotonic() + self._limits.head_timeout_s
        else:
            self._phase = _IDLE
            self.deadline = self._state.now + self._limits.idle_timeout_s

    def _parse_backlog(self) -> None:
        data = cast(bytes, self._backlog)
        step = memoryview(data)[self._backlog_at : self._backlog_at + _STEP]
        self._backlog_at += len(step)
        self._state.pending -= len(step)
        if self._backlog_at == len(data):
            self._forget_backlog()
        self._reader.parse(step)

    def _start(self, request: Request) -> None:
        self._current = request
        self._phase = _APP
        self.deadline = NEVER
        if request.refusal is not None:
            status, body, headers, content_type = request.refusal
            request.reply(status, body, content_type=content_type, headers=headers)
        elif request.body and "content-encoding" in request.headers:
            self._unpack(request)
        else:
            self._ask(request)

    def _ask(self, request: Request) -> None:
        try:
            self._app(request)
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            if not request.answered:
                request.reply(*internal_error()[:2])

    def _unpack(self, request: Request) -> None:
        encoding = request.headers["content-encoding"].lower()
        limit = self._limits.max_body
        if encoding not in ENCODINGS:
            self._ask(request)
            return
        if len(request.body) <= INLINE_BYTES:
            found = unpack(request.body, encoding, min(limit, INLINE_BYTES))
            if isinstance(found, bytes) or found.status != 413 or limit <= INLINE_BYTES:
                self._unpacked(request, found)
                return
        loop = self._state.loop
        work = loop.run_in_executor(unpacking_thread(), unpack, request.body, encoding, limit)

        def done(result: asyncio.Future[bytes | Reply]) -> None:
            error = None if result.cancelled() else result.exception()
            if error is not None:
                logger.error("%s %s: unpacking", request.method, request.path, exc_info=error)
            failed = result.cancelled() or error is not None
            self._unpacked(request, internal_error() if failed else result.result())

        work.add_done_callback(done)

    def _unpacked(self, request: Request, found: bytes | Reply) -> None:
        if isinstance(found, bytes):
            more = len(found) - len(request.body)
            if self._state.pending + more > self._limits.max_pending:  # as for a body as sent
                request.keep_alive = False
                found = too_many_bytes()
        if isinstance(found, bytes):
            request.cost += more
            self._state.pending += more
            request.body = found
            if request.gone:
                request.reply(CLIENT_CLOSED_REQUEST, b"")
            else:
                self._ask(request)
        else:
            request.reply(found.status, found.body, headers=found.headers)

    def send(
        self, request: Request, status: int, body: bytes, content_type: str, headers: Headers
    ) -> None:
        """Write the reply of the request in flight: :meth:`Request.reply`."""
        state = self._state
        keep_alive = request.keep_alive and not (
            state.draining and not self._reader.ready and self._backlog is None
        )
        ending = b""
        if not keep_alive:
            ending = CLOSE
        elif "connection" in request.headers:
            ending = KEEP_ALIVE
        head = head_of(status, len(body), content_type, headers, state.date, ending)
        request.connection = None
        state.replies[status] += 1
        self._current = None
        state.pending -= request.cost
        transport = self._transport
        if transport is None:
            return
        if request.method == "HEAD" or not body:
            transport.write(head)
        elif len(body) <= _SMALL_REPLY:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        if not keep_alive:
            self._reader.last = True
        self._run()

    # --- the end

    def _end(self) -> None:
        """Close, when all that may be answered was: with an error's reply, where there is one."""
        transport = self._transport
        tail = self._reader.tail
        self._phase = _END
        self._forget_backlog()
        self._reader.drop()
        if transport is None:
            return
        now = time.monotonic()
        if tail is None or transport.is_closing():
            self.deadline = now + self._limits.body_timeout_s  # for the replies to be taken
            transport.close()
            return
        self._state.replies[tail.status] += 1
        date = self._state.date
        size = len(tail.body)
        transport.write(
            head_of(tail.status, size, tail.content_type, tail.headers, date, CLOSE) + tail.body
        )
        self.deadline = now + _LINGER_S
        if self._eof:
            transport.close()
        elif transport.can_write_eof():
            transport.write_eof()

    def _forget_backlog(self) -> None:
        if self._backlog is not None:
            self._state.pending -= len(self._backlog) - self._backlog_at
            self._backlog = None
            self._backlog_at = 0
