"""``trueup serve``: binds the port, starts the workers, starts anew those that die.

It imports no TensorFlow and answers no request. The listening socket is its own and is given to
each worker, so that a worker's death loses only the connections that it had. A pipe tells workers
that their supervisor is gone, however it ended: they drain and end by themselves.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic

from trueup.config.settings import StoreSettings
from trueup.serving.listen import is_loopback
from trueup.store.engine import reading
from trueup.store.schema import open_store
from trueup.store.tokens import list_tokens

_log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0
#: A worker that lived this long has recovered: its next start comes without a pause again.
_HEALTHY_S = 30.0
#: Beyond the time to drain: sealing, and what TensorFlow takes to end.
_ENDING_S = 15.0


@dataclass
class _Worker:
    index: int
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    pause_s: float = _FIRST_PAUSE_S
    due_s: float = field(default=0.0)


class Supervisor:
    """Keeps ``count`` workers running until told to stop.

    :param listening: bound and listening; every worker accepts from it.
    :param arguments: for each worker, besides what the supervisor adds.
    """

    def __init__(
        self, listening: socket.socket, count: int, arguments: Sequence[str], *, drain_s: float
    ) -> None:
        self._listening = listening
        self._arguments = list(arguments)
        self._drain_s = drain_s
        self._workers = [_Worker(index) for index in range(count)]
        self._lifeline, self._held = os.pipe()

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; returns 0 when all workers ended well after that.

        Signals are waited for and not handled, so that nothing happens in between two lines.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            while True:
                now = monotonic()
                self._start_due(now)
                due = min((w.due_s for w in self._workers if w.process is None), default=now + 60)
                got = signal.sigtimedwait(_SIGNALS, max(0.01, due - now))
                if got is not None and got.si_signo != signal.SIGCHLD:
                    return self._stop(signal.Signals(got.si_signo).name)
                self._note_ended(monotonic())
        finally:
            for worker in self._workers:
                if worker.process is not None and worker.process.poll() is None:
                    worker.process.kill()
                    worker.process.wait()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            os.close(self._held)
            os.close(self._lifeline)

    def _start_due(self, now: float) -> None:
        for worker in self._workers:
            if worker.process is None and worker.due_s <= now:
                worker.process = self._start(worker.index)
                worker.started_s = now

    def _start(self, index: int) -> subprocess.Popen[bytes]:
        fds = (self._listening.fileno(), self._lifeline)
        return subprocess.Popen(
            [
                sys.executable, "-m", "trueup.serving.worker", "--index", str(index),
                "--socket", str(fds[0]), "--lifeline", str(fds[1]), *self._arguments,
            ],
            pass_fds=fds, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def _note_ended(self, now: float) -> None:
        for worker in self._workers:
            if worker.process is None or worker.process.poll() is None:
                continue
            healthy = now - worker.started_s >= _HEALTHY_S
            worker.pause_s = (
                _FIRST_PAUSE_S if healthy else min(2 * worker.pause_s, _LONGEST_PAUSE_S)
            )
            worker.due_s = now + worker.pause_s
            _log.error(
                "worker %d ended with %s; it starts anew in %.1f s",
                worker.index, worker.process.returncode, worker.pause_s,
            )  # fmt: skip
            worker.process = None

    def _stop(self, why: str) -> int:
        _log.info("%s: draining", why)
        running = [w.process for w in self._workers if w.process is not None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        limit = monotonic() + self._drain_s + _ENDING_S
        failed = False
        for process in running:
            try:
                failed |= process.wait(max(0.1, limit - monotonic())) != 0
            except subprocess.TimeoutExpired:
                _log.error("a worker did not end in time and is killed")
                process.kill()
                process.wait()
                failed = True
        return int(failed)


def clear_metrics(folder: Path) -> None:
    """Remove the numbers of workers of an earlier server."""
    for path in folder.glob("worker-*.json"):
        path.unlink(missing_ok=True)


def usable_tokens(store: StoreSettings, host: str) -> int:
    """How many tokens could let somebody in; not looked up where none are needed.

    :raises StoreError: the store does not answer.
    """
    if is_loopback(host):
        return 0
    engine = open_store(store)
    now = datetime.now(timezone.utc)
    with reading(engine) as connection:
        found = sum(token.usable(now) for token in list_tokens(connection))
    engine.dispose()
    return found
