"""Large request bodies are read in a thread of their own, one at a time, so that the event loop
goes on: parsing 30 MB takes half a second. Small ones are read at once, by the loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from trueup.serving.fleet import Fleet, NotServed
from trueup.serving.json_parts import LARGE as LARGE
from trueup.serving.json_parts import parse_in_parts
from trueup.serving.json_read import (
    Instances,
    InvalidRequest,
    parse_json,
    read_predict,
)
from trueup.serving.row_limit import TooManyRows, most_rows

if TYPE_CHECKING:
    from trueup.serving.http_message import Request
    from trueup.serving.routes import Route

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class Read:
    """What came of a body.

    :param lane: whose signatures it was read by; ``None`` where no version was found.
    :param rows: of what is refused, as far as that can be told; ``too_many`` of them.
    :param late: nobody waits for it any more, and it was not read.
    """

    lane: Any = None
    instances: Instances | None = None
    problem: InvalidRequest | None = None
    rows: int = 0
    too_many: bool = False
    late: bool = False


class LargeBodies:
    """The thread, and what it does.

    :param loop: to which results come back.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fleet: Fleet,
        *,
        max_depth: int,
        max_rows: int,
    ) -> None:
        self._loop = loop
        self._fleet = fleet
        self._max_depth = max_depth
        self._max_rows = max_rows
        self._thread = ThreadPoolExecutor(1, "large bodies")

    def run(self, work: Callable[[], T], then: Callable[[Future[T]], None]) -> None:
        """Do ``work`` in the thread, then ``then`` on the event loop; both are always called unless
        the server ends before."""
        with suppress(RuntimeError):  # closed: the connections are ended, too
            self._thread.submit(work).add_done_callback(lambda done: self._come_back(then, done))

    def _come_back(self, then: Callable[[Future[T]], None], done: Future[T]) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(then, done)

    def read(self, request: Request, where: Route, deadline_s: float) -> Read:
        """Parse and read the body, for :meth:`run`. What does not depend on the version that it is
        read by says so by ``lane`` being ``None``."""
        if request.gone or deadline_s <= monotonic():
            return Read(late=True)
        read = Read()
        document = None
        try:
            document = self._parse(request.body)
            found = self._fleet.resolve(where.model, where.version, where.alias)
            if not isinstance(found, NotServed):
                read.lane = found.lane
                read.instances = read_predict(
                    document,
                    read.lane.signatures,
                    optional=read.lane.optional,
                    max_rows=self._max_rows,
                )
        except InvalidRequest as error:
            # Their frames hold the document, which is to be gone before the loop goes on.
            error.__traceback__ = error.__context__ = None
            read.problem = error
            instances = document.get("instances") if type(document) is dict else None
            read.rows = len(instances) if type(instances) is list else 0
            too_many = most_rows(document) > self._max_rows
            read.too_many = too_many or isinstance(error, TooManyRows)
        return read

    def _parse(self, body: bytes) -> Any:
        def parse(text: bytes) -> Any:
            return parse_json(text, max_depth=self._max_depth)

        def check(names: tuple[str, ...], items: int) -> None:
            if names == ("instances",) and items > self._max_rows:
                raise TooManyRows(items, self._max_rows)

        return parse_in_parts(body, parse, max_depth=self._max_depth, check=check)

    def close(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def result_of(done: Future[T], request: Request) -> T | None:
    """What came of :meth:`LargeBodies.run`; ``None``, and a line in the log, where it failed."""
    if done.cancelled():
        return None
    error = done.exception()
    if error is not None:
        _log.error("%s %s: reading a large body", request.method, request.path, exc_info=error)
        return None
    return done.result()
