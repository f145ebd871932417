"""Answers that need no lane: status, metadata, health, metrics, and rows and labels sent to us."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from trueup.serving.attempt import Outcome
from trueup.serving.client_words import without_paths
from trueup.serving.fleet import Fleet, NotServed
from trueup.serving.http_message import Reply, error_reply
from trueup.serving.metrics import CONTENT_TYPE, MetricsFolder, exposition
from trueup.serving.rest_bodies import (
    Code,
    VersionStatus,
    metadata_body,
    servable_not_found,
    status_body,
)
from trueup.serving.routes import Route, What
from trueup.serving.scribe import Scribe, Written

if TYPE_CHECKING:
    from trueup.serving.http_message import Request

_log = logging.getLogger(__name__)

Page = Callable[["Request", Route], None]

TEXT = "text/plain; charset=utf-8"

#: Parses a body sent to us: the answer, the frames that must be written before it, their rows.
Intake = Callable[["Request"], tuple[Reply, list[bytes], int]]


class Pages:
    """
    :param values: this worker's numbers, fresh.
    :param not_ready: why predictions cannot be answered yet; empty when they can.
    """

    def __init__(
        self,
        fleet: Fleet,
        scribe: Scribe,
        metrics: MetricsFolder,
        *,
        values: Callable[[], Mapping[str, Any]],
        not_ready: Callable[[], str],
        intakes: Mapping[What, Intake],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._fleet = fleet
        self._scribe = scribe
        self._metrics = metrics
        self._values = values
        self._not_ready = not_ready
        self._intakes = intakes
        self._loop = loop
        self._reading = ThreadPoolExecutor(1, "intake")

    def table(self) -> dict[What, Page]:
        found: dict[What, Page] = {
            What.STATUS: self._status,
            What.METADATA: self._metadata,
            What.LIVE: self._live,
            What.READY: self._ready,
            What.METRICS: self._numbers,
        }
        return found | dict.fromkeys(self._intakes, self._take_in)

    def _status(self, request: Request, where: Route) -> None:
        found = self._fleet.statuses(where.model, where.version, where.alias)
        if isinstance(found, NotServed):
            _send(request, error_reply(found.status, found.message))
            return
        rows = [
            VersionStatus(
                each.version,
                each.state.value,
                Code[each.error_code],
                without_paths(each.error_message),
            )
            for each in found
        ]
        _send(request, Reply(200, status_body(rows)))

    def _metadata(self, request: Request, where: Route) -> None:
        found = self._fleet.resolve(where.model, where.version, where.alias)
        if isinstance(found, NotServed):
            reply = (
                error_reply(found.status, found.message)
                if where.alias
                else servable_not_found(where.model, where.version)
            )
            _send(request, reply)
            return
        body = metadata_body(where.model, found.version, found.loaded.metadata)
        _send(request, Reply(200, body))

    def _live(self, request: Request, where: Route) -> None:
        request.reply(200, b"ok\n", content_type=TEXT)

    def _ready(self, request: Request, where: Route) -> None:
        problem = without_paths(self._not_ready())
        request.reply(503 if problem else 200, f"{problem or 'ok'}\n".encode(), content_type=TEXT)

    def _numbers(self, request: Request, where: Route) -> None:
        body = exposition(self._metrics.all(self._values()))
        request.reply(200, body, content_type=CONTENT_TYPE)

    def _take_in(self, request: Request, where: Route) -> None:
        """Parsed in a thread: a large body takes a second, and other requests must not wait."""
        work = self._reading.submit(self._intakes[where.what], request)
        work.add_done_callback(
            lambda done: self._loop.call_soon_threadsafe(self._taken, request, done)
        )

    def _taken(self, request: Request, done: Future[tuple[Reply, list[bytes], int]]) -> None:
        if request.gone:
            request.reply(499, b"")
            return
        if done.exception() is not None:
            _log.error("reading %s failed", request.path, exc_info=done.exception())
            _send(request, error_reply(500, "the body could not be read; the server's log has why"))
            return
        reply, payloads, rows = done.result()
        if not payloads:
            _send(request, reply)
            return
        dropped = error_reply(503, "the capture is full, and nothing of this was written down")
        written = Written(
            Outcome(request, reply.status, reply.body),
            payloads,
            rows,
            Outcome(request, 503, dropped.body),
        )
        if not self._scribe.submit(written):
            _send(request, error_reply(503, "too many requests wait to be written down"))


def _send(request: Request, reply: Reply) -> None:
    request.reply(reply.status, reply.body, content_type=reply.content_type, headers=reply.headers)
