"""A thread that writes frames of requests which no lane will answer, then hands out the answers.

Refused requests, logged rows and labels go this way, so that a full disk (``when_full = "block"``)
never blocks the event loop.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from trueup.errors import TrueupError
from trueup.serving.attempt import Outcome
from trueup.serving.client_words import for_clients
from trueup.serving.http_message import error_reply

_log = logging.getLogger(__name__)

MOST_WAITING = 1024
"""Requests; past it they get 503."""


class Appends(Protocol):
    """The capture (:class:`trueup.serving.capture.writer.CaptureWriter`)."""

    def append(self, payloads: Sequence[bytes], *, rows: int = 0) -> tuple[str, int] | None: ...


@dataclass(slots=True, eq=False)
class Written:
    """An answer that waits for its frames.

    :param rows: in the payloads; for the counts.
    :param dropped: the answer where the frames were dropped instead of written.
    """

    outcome: Outcome
    payloads: Sequence[bytes]
    rows: int = 0
    dropped: Outcome | None = None


class Scribe:
    """Appends frames in batches and delivers the outcomes behind them, in order."""

    def __init__(self, capture: Appends, deliver: Callable[[list[Outcome]], None]) -> None:
        self._capture = capture
        self._deliver = deliver
        self._waiting: deque[Written] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="scribe", daemon=True)
        self._thread.start()

    def submit(self, written: Written) -> bool:
        """Queue it; ``False`` where too many wait already."""
        with self._wake:
            if self._closing or len(self._waiting) >= MOST_WAITING:
                return False
            self._waiting.append(written)
            self._wake.notify()
        return True

    def close(self, timeout_s: float) -> bool:
        """Write what waits and end; whether it did in time."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._waiting:
                    if self._closing:
                        return
                    self._wake.wait()
                batch = list(self._waiting)
                self._waiting.clear()
            outcomes: list[Outcome] = []
            try:
                self._write(batch, outcomes)
            except Exception:  # noqa: BLE001  clients wait for an answer
                _log.exception("frames of %d requests could not be written", len(batch))
                body = error_reply(500, "the capture failed unexpectedly").body
                outcomes = [Outcome(each.outcome.request, 500, body) for each in batch]
            self._deliver(outcomes)

    def _write(self, batch: list[Written], outcomes: list[Outcome]) -> bool:
        """Whether there was room for all of ``batch``."""
        try:
            payloads = [payload for each in batch for payload in each.payloads]
            written = (
                self._capture.append(payloads, rows=sum(each.rows for each in batch)) is not None
                if payloads
                else True
            )
        except TrueupError as error:
            if len(batch) > 1:
                self._write_each(batch, outcomes)
            else:
                self._refuse(batch, error_reply(503, for_clients(error)).body, outcomes)
            return False
        outcomes += (
            each.outcome if written or each.dropped is None else each.dropped for each in batch
        )
        return True

    def _write_each(self, batch: list[Written], outcomes: list[Outcome]) -> None:
        """One that is too large for what is left of the disk must not refuse the others. Where one
        has no room, those that are larger have none either: under ``when_full = "block"`` each
        try takes as long as ``block_timeout``, and clients wait."""
        smallest_first = sorted(batch, key=lambda each: sum(map(len, each.payloads)))
        for place, each in enumerate(smallest_first):
            if not self._write([each], outcomes):
                self._refuse(smallest_first[place + 1 :], outcomes[-1].body, outcomes)
                return

    def _refuse(self, batch: list[Written], body: bytes, outcomes: list[Outcome]) -> None:
        outcomes += (Outcome(each.outcome.request, 503, body) for each in batch)
