"""Answers that need no lane: status, metadata, health, metrics, and rows and labels sent to us."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from trueup.serving.attempt import Outcome
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

Page = Callable[["Request", Route], None]

TEXT = "text/plain; charset=utf-8"

#: Parses a body sent to us: the answer, and the frames that must be written before it.
Intake = Callable[["Request"], tuple[Reply, list[bytes]]]


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
    ) -> None:
        self._fleet = fleet
        self._scribe = scribe
        self._metrics = metrics
        self._values = values
        self._not_ready = not_ready
        self._intakes = intakes

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
            VersionStatus(each.version, each.state.value, Code[each.error_code], each.error_message)
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
        problem = self._not_ready()
        request.reply(503 if problem else 200, f"{problem or 'ok'}\n".encode(), content_type=TEXT)

    def _numbers(self, request: Request, where: Route) -> None:
        body = exposition(self._metrics.all(self._values()))
        request.reply(200, body, content_type=CONTENT_TYPE)

    def _take_in(self, request: Request, where: Route) -> None:
        reply, payloads = self._intakes[where.what](request)
        if not payloads:
            _send(request, reply)
        elif not self._scribe.submit(Written(Outcome(request, reply.status, reply.body), payloads)):
            _send(request, error_reply(503, "too many requests wait to be written down"))


def _send(request: Request, reply: Reply) -> None:
    request.reply(reply.status, reply.body, content_type=reply.content_type, headers=reply.headers)
