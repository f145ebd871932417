"""What the connections of one process share: limits, bytes being held, the clock of time-outs.

Time-outs cost a request nothing: a connection keeps the time at which its patience ends, and one
sweep a second looks at all connections.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from dataclasses import dataclass
from email.utils import formatdate
from typing import Protocol

from trueup.config.serving import ServingSettings

#: No time-out.
NEVER = math.inf

_SWEEP_S = 1.0

#: A client that has just got an answer may have sent its next request already: a connection that
#: was in use this recently is not idle when the server is to stop.
_RECENT_S = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """Of connections; sizes in bytes, times in seconds."""

    max_body: int = 32 << 20
    max_header: int = 32 << 10
    max_connections: int = 10_000
    max_pending: int = 256 << 20
    head_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 120.0

    @classmethod
    def of(cls, settings: ServingSettings) -> Limits:
        return cls(
            max_body=settings.max_body,
            max_header=settings.max_header,
            max_connections=settings.max_connections,
            max_pending=settings.max_pending,
            head_timeout_s=settings.head_timeout.total_seconds(),
            body_timeout_s=settings.body_timeout.total_seconds(),
            idle_timeout_s=settings.idle_timeout.total_seconds(),
        )


class Swept(Protocol):
    """A connection, as the sweep sees it."""

    deadline: float

    def on_deadline(self, now: float) -> None: ...
    def on_drain(self, unused_since: float) -> bool: ...
    def abort(self) -> None: ...


class ServerState:
    """Of one process. Everything here happens on the event loop's thread.

    :ivar pending: bytes of requests that are being received or were not answered yet.
    :ivar draining: replies end their connections; set by :meth:`drain`.
    :ivar replies: all of them, by status: of the application, and those that connections give by
        themselves (malformed, too large, too slow, too many). Also 499: the client had left.
    :ivar accepted: connections since the start.
    :ivar now: ``time.monotonic()``, at most one sweep old.
    """

    __slots__ = (
        "_sweep",
        "_sweep_s",
        "_waiters",
        "accepted",
        "connections",
        "date",
        "draining",
        "limits",
        "loop",
        "now",
        "pending",
        "replies",
    )

    def __init__(self, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self.limits = limits
        self.connections: set[Swept] = set()
        self.pending = 0
        self.draining = False
        self.accepted = 0
        self.replies: Counter[int] = Counter()
        self.loop = loop
        self._waiters: list[asyncio.Future[None]] = []
        shortest = min(limits.head_timeout_s, limits.body_timeout_s, limits.idle_timeout_s)
        self._sweep_s = min(_SWEEP_S, max(shortest / 4, 0.01))
        self._sweep: asyncio.TimerHandle | None = None
        self._tick()

    def close(self) -> None:
        """Stop the sweep, and end what connections there still are."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self.abort()

    def abort(self) -> None:
        """End all connections without an answer."""
        for connection in tuple(self.connections):
            connection.abort()

    def _tick(self) -> None:
        self.now = now = time.monotonic()
        self.date = b"Date: %b\r\n" % formatdate(usegmt=True).encode()
        for connection in [c for c in self.connections if c.deadline <= now]:
            connection.on_deadline(now)
        self._sweep = self.loop.call_later(self._sweep_s, self._tick)

    # --- stopping

    def drain(self) -> None:
        """Let each connection end: at once where it is idle, else with its next reply.

        A connection that was in use just now is kept for half a second more, for the request that
        its client may be sending already: it would else be lost on its way.
        """
        if self.draining:
            return
        self.draining = True
        # What has arrived is read first: by the next round of the loop.
        self.loop.call_soon(self.loop.call_soon, self._end_idle)

    def _end_idle(self) -> None:
        # A connection's deadline was reckoned from ``now``, which may be a sweep old.
        unused_since = time.monotonic() - _RECENT_S - self._sweep_s
        kept = [c for c in tuple(self.connections) if not c.on_drain(unused_since)]
        if kept:
            self.loop.call_later(_RECENT_S / 5, self._end_idle)

    async def drained(self, timeout: float) -> bool:
        """Wait until no connection is left; whether that was so within ``timeout`` seconds."""
        if not self.connections:
            return True
        waiter: asyncio.Future[None] = self.loop.create_future()
        self._waiters.append(waiter)
        try:
            await asyncio.wait_for(waiter, timeout)
        except asyncio.TimeoutError:
            return not self.connections
        finally:
            self._waiters.remove(waiter)
        return True

    def forget(self, connection: Swept) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if not self.connections:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
