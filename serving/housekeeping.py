"""What a worker does beside answering: its heartbeat, the tokens, its numbers for ``/metrics``.

A thread of its own, because the store and the disk may keep it waiting.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, delete

from trueup.errors import TrueupError
from trueup.serving.metrics import MetricsFolder
from trueup.store.engine import reading, writing
from trueup.store.tables import heartbeats
from trueup.store.tokens import Token, list_tokens
from trueup.store.updates import insert_if_absent, try_update

_log = logging.getLogger(__name__)

HEARTBEAT_EVERY = 5
"""Rounds: a heartbeat costs a transaction."""


class Housekeeping:
    """
    :param engine: gives the store's engine; raises while the store cannot be opened.
    :param values: this worker's numbers.
    :param told: is given the tokens whenever they were read.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        metrics: MetricsFolder,
        *,
        process: str,
        interval_s: float,
        now: Callable[[], datetime],
        values: Callable[[], Mapping[str, Any]],
        told: Callable[[Iterable[Token]], None],
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._process = process
        self._interval_s = interval_s
        self._now = now
        self._values = values
        self._told = told
        self._started_at = now()
        self._rounds = 0
        self._unwritten = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="housekeeping", daemon=True)
        self.store_reachable = False

    def start(self) -> None:
        """The first round runs here and now, so that the tokens are known before the first
        request."""
        self._round()
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End, and take the heartbeat's row away: this worker is not dead, it has gone."""
        self._stop.set()
        self._thread.join(timeout_s)
        try:
            with writing(self._engine()) as connection:
                connection.execute(delete(heartbeats).where(heartbeats.c.process == self._process))
        except TrueupError as error:
            _log.warning("the heartbeat's row stays: %s", error)

    def _work(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self._round()
            except Exception:  # noqa: BLE001  else no token would ever be revoked any more
                _log.exception("a round of housekeeping failed")

    def _round(self) -> None:
        values = self._values()
        try:
            self._metrics.write(values)
            self._unwritten = False
        except (TrueupError, OSError) as error:
            if not self._unwritten:  # once, and not each second of a full disk
                _log.warning("the numbers for /metrics cannot be written: %s", error)
            self._unwritten = True
        try:
            engine = self._engine()
            with reading(engine) as connection:
                self._told(list_tokens(connection))
            if self._rounds % HEARTBEAT_EVERY == 0:
                self._beat(engine, values)
            reachable = True
        except TrueupError as error:
            reachable = False
            if self.store_reachable or not self._rounds:
                _log.warning("the store is away; what is loaded goes on: %s", error)
        self._rounds += 1
        self.store_reachable = reachable

    def _beat(self, engine: Engine, values: Mapping[str, Any]) -> None:
        row = {
            "kind": "server",
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_at": self._started_at,
            "seen_at": self._now(),
            "details": dict(values),
        }
        with writing(engine) as connection:
            if not insert_if_absent(connection, heartbeats, {"process": self._process, **row}):
                try_update(connection, heartbeats, where={"process": self._process}, values=row)
