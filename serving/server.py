"""The application behind the connections: what each request is, who may ask, who answers.

Everything here runs on the event loop's thread and returns at once; lanes, the scribe and the
housekeeping do what takes time.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from time import monotonic
from typing import TYPE_CHECKING, Any

from trueup.errors import TrueupError
from trueup.serving.attempt import Attempt, Outcome
from trueup.serving.json_read import InvalidRequest, parse_json, read_predict
from trueup.serving.rest_bodies import error_body
from trueup.serving.routes import Action, Refusal, Route, route
from trueup.serving.scribe import Scribe, Written

if TYPE_CHECKING:
    from trueup.serving.access import Access
    from trueup.serving.fleet import Fleet
    from trueup.serving.http_message import Reply, Request
    from trueup.serving.version_lane import VersionLane

_log = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
EVENT_TIME = "x-event-time"
LONGEST_REQUEST_ID = 200

_ROUTES_KEPT = 4096


class Server:
    """Answers requests from what is loaded.

    :param fleet: gives the view of what is loaded at this moment.
    :param timeout_s: how long a request may wait for its answer.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        access: Access,
        scribe: Scribe,
        timeout_s: float,
        max_json_depth: int,
        pages: dict[Action, Callable[[Request, Route], None]],
    ) -> None:
        self.requests = 0
        self.replies: Counter[int] = Counter()
        self._fleet = fleet
        self._access = access
        self._scribe = scribe
        self._timeout_s = timeout_s
        self._max_json_depth = max_json_depth
        self._pages = pages
        self._routes: dict[tuple[str, str], Route | Refusal] = {}

    def accept(self, request: Request) -> Reply | None:
        """Refuse a request on its head alone: the host, the token."""
        return self._access.check(request, self.route_of(request))

    def route_of(self, request: Request) -> Route | Refusal:
        key = (request.method, request.path)
        found = self._routes.get(key)
        if found is None:
            found = route(*key)
            if len(self._routes) >= _ROUTES_KEPT:
                self._routes.clear()
            self._routes[key] = found
        return found

    def handle(self, request: Request) -> None:
        """Answer a complete request, now or later."""
        self.requests += 1
        where = self.route_of(request)
        try:
            if isinstance(where, Refusal):
                self.answer(request, where.status, error_body(where.message))
            elif where.action is Action.PREDICT:
                self._predict(request, where)
            else:
                self._pages[where.action](request, where)
        except Exception as error:  # noqa: BLE001  one request must not end the connection's loop
            _log.exception("%s %s failed", request.method, request.path)
            if not request.answered:
                self.answer(request, 500, error_body(f"unexpected {type(error).__name__}"))

    def answer(self, request: Request, status: int, body: bytes, request_id: str = "") -> None:
        self.replies[status] += 1
        if request_id:
            request.reply(status, body, headers=(("X-Request-Id", request_id),))
        else:
            request.reply(status, body)

    def deliver(self, outcomes: list[Outcome]) -> None:
        """Send answers that a lane or the scribe has ready."""
        for outcome in outcomes:
            self.answer(outcome.request, outcome.status, outcome.body, outcome.request_id)

    def end_overdue(self, lanes: list[VersionLane], now_s: float) -> None:
        """Answer 504 to what has waited too long; clients that left need no answer."""
        for lane in lanes:
            for attempt in lane.expired(now_s):
                if attempt.request.gone:
                    lane.counts.cancelled += 1
                    attempt.request.reply(499, b"")
                    continue
                message = f"no answer within {self._timeout_s:g} seconds: the queue is too long"
                self._refuse(lane, attempt.request, 504, message, attempt)

    def _predict(self, request: Request, where: Route) -> None:
        # Syntax comes before the model, as in TensorFlow Serving.
        try:
            document = parse_json(request.body, max_depth=self._max_json_depth)
        except InvalidRequest as error:
            found = self._fleet.resolve(where.model, where.version, where.alias)
            lane = getattr(found, "lane", None)
            self._refuse(lane, request, 400, str(error), None, alias=where.alias or "")
            return
        found = self._fleet.resolve(where.model, where.version, where.alias)
        lane = getattr(found, "lane", None)
        if lane is None:
            self.answer(request, found.status, error_body(found.message))
            return
        request_id = request.headers.get(REQUEST_ID, "")
        try:
            attempt = Attempt(
                request,
                read_predict(document, lane.signatures, optional=lane.optional),
                checked_request_id(request_id) if request_id else "",
                where.alias or "",
                event_time_us(request.headers[EVENT_TIME])
                if EVENT_TIME in request.headers
                else None,
                request.arrival_s + self._timeout_s,
            )
        except InvalidRequest as error:
            self._refuse(lane, request, 400, str(error), None, alias=where.alias or "",
                         document=document)  # fmt: skip
            return
        if not lane.submit(attempt):
            self.answer(request, 503, error_body(
                f"model {where.model} is overloaded: {lane.waiting_rows} rows wait already"
            ))  # fmt: skip

    def _refuse(
        self,
        lane: VersionLane | None,
        request: Request,
        status: int,
        message: str,
        attempt: Attempt | None,
        *,
        alias: str = "",
        document: Any = None,
    ) -> None:
        """Capture what was wrong with a request, then answer it."""
        request_id = request.headers.get(REQUEST_ID, "")[:LONGEST_REQUEST_ID]
        body = error_body(message)
        if lane is None:
            self.answer(request, status, body)
            return
        lane.model_counts.refused(status)
        latency_us = int((monotonic() - request.arrival_s) * 1e6)
        try:
            if attempt is not None:
                payload = lane.recorder.refused(attempt, status, message, latency_us)
            else:
                payload = lane.recorder.refused_request(
                    request, status, message, latency_us,
                    request_id=request_id, alias=alias, document=document,
                )  # fmt: skip
        except TrueupError as error:
            self.answer(request, 500, error_body(str(error)))
            return
        outcome = Outcome(request, status, body, request_id)
        if payload is None:
            self.deliver([outcome])
        elif not self._scribe.submit(Written(outcome, [payload])):
            self.answer(request, 503, error_body("too many requests wait to be written down"))


def checked_request_id(text: str) -> str:
    """A client's request id, if it can be kept.

    :raises InvalidRequest: it is too long or has control characters in it.
    """
    if len(text) > LONGEST_REQUEST_ID or not text.isprintable():
        raise InvalidRequest(
            f"X-Request-Id must be at most {LONGEST_REQUEST_ID} printable characters"
        )
    return text


def event_time_us(text: str) -> int:
    """Microseconds since 1970 of an ``X-Event-Time`` header: ISO 8601, or seconds since 1970.

    :raises InvalidRequest: it is neither.

    >>> event_time_us("2013-07-01T00:00:00Z"), event_time_us("1372636800.5")
    (1372636800000000, 1372636800500000)
    """
    try:
        seconds = float(text)
        if abs(seconds) < 1e11:
            return round(seconds * 1e6)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise InvalidRequest(
            f"X-Event-Time {text[:60]!r} is no time: write 2013-07-01T12:00:00Z, or seconds since "
            "1970"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return round(moment.timestamp() * 1e6)
