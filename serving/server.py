"""The application behind the connections: what each request is, who may ask, who answers.

Everything here runs on the event loop's thread and returns at once; lanes, the scribe and the
housekeeping do what takes time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from trueup.serving.attempt import Attempt, Outcome, id_header
from trueup.serving.client_words import without_paths
from trueup.serving.early_requests import EarlyRequests
from trueup.serving.event_time import moment_us
from trueup.serving.fleet import NotServed
from trueup.serving.http_message import (
    CLIENT_CLOSED_REQUEST,
    Reply,
    error_reply,
    internal_error,
)
from trueup.serving.json_read import InvalidRequest, parse_json, read_predict
from trueup.serving.large_bodies import LARGE, LargeBodies, Read, result_of
from trueup.serving.rest_bodies import unimplemented
from trueup.serving.routes import NOT_YET, Route, What
from trueup.serving.row_limit import most_rows
from trueup.serving.scribe import Scribe, Written

if TYPE_CHECKING:
    from trueup.serving.fleet import Fleet
    from trueup.serving.http_message import Request
    from trueup.serving.json_read import Instances
    from trueup.serving.version_lane import VersionLane

REQUEST_ID = "x-request-id"
EVENT_TIME = "x-event-time"
LONGEST_REQUEST_ID = 200


class Server:
    """Answers requests from what is loaded.

    :param fleet: gives the view of what is loaded at this moment.
    :param early: lets requests wait for models that are being loaded.
    :param large: reads bodies that would hold up the event loop.
    :param timeout_s: how long a request may wait for its answer.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        scribe: Scribe,
        early: EarlyRequests,
        large: LargeBodies,
        timeout_s: float,
        max_json_depth: int,
        max_rows: int,
        pages: Mapping[What, Callable[[Request, Route], None]],
    ) -> None:
        self.requests = 0
        self._fleet = fleet
        self._scribe = scribe
        self._early = early
        self._large = large
        self._timeout_s = timeout_s
        self._max_json_depth = max_json_depth
        self._max_rows = max_rows
        self._pages = pages

    def handle(self, request: Request) -> None:
        """Answer a complete request, now or later."""
        self.requests += 1
        where: Route = request.context  # the gate has put it there (trueup.serving.access)
        if where.what is What.PREDICT:
            self._predict(request, where)
        elif where.what in NOT_YET:
            self.answer(request, unimplemented(where.what.value))
        else:
            self._pages[where.what](request, where)

    def answer(self, request: Request, reply: Reply) -> None:
        request.reply(
            reply.status, reply.body, content_type=reply.content_type, headers=reply.headers
        )

    def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Send answers that a lane or the scribe has ready."""
        for outcome in outcomes:
            outcome.request.reply(outcome.status, outcome.body, headers=outcome.headers)

    def end_overdue(self, lanes: Sequence[VersionLane], now_s: float) -> None:
        """Answer 504 to what has waited too long; clients that left need no answer."""
        for lane in lanes:
            for attempt in lane.expired(now_s):
                if attempt.request.gone:
                    lane.counts.cancelled += 1
                    self.deliver([Outcome(attempt.request, CLIENT_CLOSED_REQUEST, b"")])
                    continue
                self._refuse(lane, attempt.request, 504, self._too_late(), alias=attempt.alias)

    def admit_early(self, now_s: float) -> None:
        """Answer what had come before the models were loaded, or has waited too long for them."""
        admitted, late, why = self._early.due(now_s)
        for request in late:
            sentence = f"not ready: {without_paths(why)}"
            self.answer(request, error_reply(499 if request.gone else 503, sentence))
        for request, where in admitted:
            self._predict(request, where)

    def _predict(self, request: Request, where: Route) -> None:
        if len(request.body) > LARGE:
            self._predict_large(request, where)
            return
        alias = where.alias or ""
        document = None
        try:
            # Syntax comes before the model, as in TensorFlow Serving.
            document = parse_json(request.body, max_depth=self._max_json_depth)
            problem = None
        except InvalidRequest as error:
            problem = error
        found = self._fleet.resolve(where.model, where.version, where.alias)
        if isinstance(found, NotServed):
            if problem is None and self._early.take(request, where):
                return
            status, message = (400, str(problem)) if problem else (found.status, found.message)
            self.answer(request, error_reply(status, message))
            return
        lane: VersionLane = found.lane
        try:
            if problem is not None:
                raise problem
            instances = read_predict(
                document, lane.signatures, optional=lane.optional, max_rows=self._max_rows
            )
            attempt = self._attempt(request, instances, alias, request.arrival_s + self._timeout_s)
        except InvalidRequest as error:
            self._refuse(
                lane, request, error.status, str(error), alias=alias, rows=rows_in(document),
                too_many=most_rows(document) > self._max_rows,
            )  # fmt: skip
            return
        self._submit(lane, attempt, where)

    def _attempt(
        self, request: Request, instances: Instances, alias: str, deadline_s: float
    ) -> Attempt:
        """:raises InvalidRequest: for what is in the headers."""
        headers = request.headers
        return Attempt(
            request,
            instances,
            instances.rows,
            checked_request_id(headers[REQUEST_ID]) if REQUEST_ID in headers else "",
            alias,
            checked_event_time(headers[EVENT_TIME]) if EVENT_TIME in headers else None,
            deadline_s,
        )

    def _submit(self, lane: VersionLane, attempt: Attempt, where: Route) -> None:
        if not lane.submit(attempt):
            self.answer(attempt.request, error_reply(
                503, f"model {where.model} is overloaded: {lane.waiting_rows} rows wait already"
            ))  # fmt: skip

    def _predict_large(self, request: Request, where: Route) -> None:
        """As :meth:`_predict`, but the body is read in another thread. The version is resolved when
        it comes back, in the same turn as it is submitted: it may have been swapped meanwhile."""
        deadline_s = request.arrival_s + self._timeout_s

        def come_back(done: Future[Read]) -> None:
            read = result_of(done, request)
            if read is None:
                self.answer(request, internal_error())
            elif request.gone:
                self.answer(request, Reply(CLIENT_CLOSED_REQUEST, b""))
            else:
                self._submit_large(request, where, read, deadline_s)

        self._large.run(lambda: self._large.read(request, where, deadline_s), come_back)

    def _submit_large(self, request: Request, where: Route, read: Read, deadline_s: float) -> None:
        alias, problem = where.alias or "", read.problem
        found = self._fleet.resolve(where.model, where.version, where.alias)
        if isinstance(found, NotServed):
            if problem is None and self._early.take(request, where):
                return
            status, message = found.status, found.message
            if problem is not None:
                status, message = problem.status, str(problem)
            self.answer(request, error_reply(status, message))
            return
        lane: VersionLane = found.lane
        if read.late:
            self._refuse(lane, request, 504, self._too_late(), alias=alias)
            return
        if read.lane is not lane and (problem is None or read.lane is not None):
            self._predict_large(request, where)  # read by the signatures of another version
            return
        try:
            if problem is not None or read.instances is None:
                raise problem or InvalidRequest("the body could not be read")
            attempt = self._attempt(request, read.instances, alias, deadline_s)
        except InvalidRequest as error:
            self._refuse(
                lane, request, error.status, str(error), alias=alias, rows=read.rows,
                too_many=read.too_many,
            )  # fmt: skip
            return
        self._submit(lane, attempt, where)

    def _too_late(self) -> str:
        return f"no answer within {self._timeout_s:g} seconds: the queue is too long"

    def _refuse(
        self,
        lane: VersionLane,
        request: Request,
        status: int,
        message: str,
        *,
        alias: str = "",
        rows: int = 0,
        too_many: bool = False,
    ) -> None:
        """Capture what was wrong with a request, then answer it."""
        lane.model_counts.refused(status)
        request_id = request.headers.get(REQUEST_ID, "")[:LONGEST_REQUEST_ID]

        def payload() -> bytes | None:
            return lane.recorder.refused(
                request, status, message, request_id=request_id, alias=alias, rows=rows,
                omit_body=too_many,
            )  # fmt: skip

        outcome = Outcome(request, status, error_reply(status, message).body, id_header(request_id))
        if len(request.body) <= LARGE:
            self._written_down(outcome, payload())
            return

        def come_back(done: Future[bytes | None]) -> None:
            if done.cancelled() or done.exception() is not None:
                result_of(done, request)
                self.answer(request, internal_error())
            else:
                self._written_down(outcome, done.result())

        self._large.run(payload, come_back)  # what is written down of a body is read from it

    def _written_down(self, outcome: Outcome, payload: bytes | None) -> None:
        """Answer what was refused once it is in the capture, if it is to be there."""
        request = outcome.request
        if payload is None:
            self.deliver([outcome])
        elif not self._scribe.submit(Written(outcome, [payload])):
            self.answer(request, error_reply(503, "too many requests wait to be written down"))


def rows_in(document: Any) -> int:
    """How many instances a refused document has, as far as that can be told.

    >>> rows_in({"instances": [{}, {}]}), rows_in([])
    (2, 0)
    """
    instances = document.get("instances") if isinstance(document, dict) else None
    return len(instances) if isinstance(instances, list) else 0


def checked_request_id(text: str) -> str:
    """A client's request id, if it can be kept.

    :raises InvalidRequest: it is too long or has control characters in it.
    """
    if len(text) > LONGEST_REQUEST_ID or not text.isprintable():
        raise InvalidRequest(
            f"X-Request-Id must be at most {LONGEST_REQUEST_ID} printable characters"
        )
    return text


def checked_event_time(text: str) -> int:
    """Microseconds since 1970 of an ``X-Event-Time`` header.

    :raises InvalidRequest: it is no time.
    """
    found = moment_us(text)
    if found is None:
        raise InvalidRequest(
            f"X-Event-Time {text[:60]!r} is no time: write 2013-07-01T12:00:00Z, or seconds since "
            "1970"
        )
    return found
