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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic

from trueup.config.settings import StoreSettings
from trueup.errors import BadInputError, StoreError
from trueup.serving.listen import is_loopback, refuse_newcomers
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
    :param ended: called with the index of a worker that has ended.
    """

    def __init__(
        self,
        listening: socket.socket,
        count: int,
        arguments: Sequence[str],
        *,
        drain_s: float,
        ended: Callable[[int], object] = lambda worker: None,
    ) -> None:
        self._listening = listening
        self._arguments = list(arguments)
        self._drain_s = drain_s
        self._ended = ended
        self._stop_began_s = 0.0
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

    def left_to_drain_s(self) -> float:
        """What stopping has left of the time to drain."""
        return max(0.0, self._stop_began_s + self._drain_s - monotonic())

    def _start_due(self, now: float) -> None:
        for worker in self._workers:
            if worker.process is None and worker.due_s <= now:
                # The first one accepts at once, so that /livez answers; later ones when it helps.
                late = len(self._workers) > 1 and (worker.index > 0 or worker.started_s > 0)
                worker.started_s = now
                try:
                    worker.process = self._start(worker.index, ["--late"] if late else [])
                except OSError as error:  # no memory, too many processes: the others go on
                    self._put_off(worker, now)
                    _log.error(
                        "worker %d cannot be started (%s); it is tried again in %.1f s",
                        worker.index, error.strerror, worker.pause_s,
                    )  # fmt: skip

    def _start(self, index: int, more: Sequence[str]) -> subprocess.Popen[bytes]:
        fds = (self._listening.fileno(), self._lifeline)
        return subprocess.Popen(
            [
                sys.executable, "-m", "trueup.serving.worker", "--index", str(index),
                "--socket", str(fds[0]), "--lifeline", str(fds[1]), *self._arguments, *more,
            ],
            pass_fds=fds, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def _note_ended(self, now: float) -> None:
        for worker in self._workers:
            if worker.process is None or worker.process.poll() is None:
                continue
            self._put_off(worker, now)
            _log.error(
                "worker %d ended with %s; it starts anew in %.1f s",
                worker.index, worker.process.returncode, worker.pause_s,
            )  # fmt: skip
            worker.process = None
            self._ended(worker.index)

    def _put_off(self, worker: _Worker, now: float) -> None:
        healthy = now - worker.started_s >= _HEALTHY_S
        worker.pause_s = _FIRST_PAUSE_S if healthy else min(2 * worker.pause_s, _LONGEST_PAUSE_S)
        worker.due_s = now + worker.pause_s

    def _stop(self, why: str) -> int:
        _log.info("%s: draining", why)
        self._stop_began_s = monotonic()
        refuse_newcomers(self._listening)
        self._listening.close()  # else the port would seem open while the workers drain
        running = [w.process for w in self._workers if w.process is not None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        limit = self._stop_began_s + self._drain_s + _ENDING_S
        failed = False
        for process in running:
            try:
                # One that has not begun yet ends by the signal itself, and had no request.
                code = process.wait(max(0.1, limit - monotonic()))
                failed |= code not in (0, -signal.SIGTERM)
            except subprocess.TimeoutExpired:
                _log.error("a worker did not end in time and is killed")
                process.kill()
                process.wait()
                failed = True
        return int(failed)


def check_spool(spool_dir: Path) -> None:
    """Make the spool, where there is none.

    :raises BadInputError: no worker could write there.
    """
    try:
        spool_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=spool_dir):
            pass
    except OSError as error:
        raise BadInputError(
            f"spool_dir = {spool_dir} cannot be written: {error.strerror}",
            remedy="set spool_dir to a folder on a local disk that this user may write",
        ) from error


def check_store(store: StoreSettings, host: str) -> int:
    """Bring the store to this release's tables; how many tokens could let somebody in (not counted
    on loopback, where none are needed).

    :raises StoreVersionError: it is of a newer release.
    :raises StoreError: it does not answer, and tokens are needed. On loopback a server starts
        without it, by what it knew of the registry.
    """
    try:
        engine = open_store(store)
    except StoreError as error:
        if not is_loopback(host):
            raise
        _log.warning("%s", error)
        return 0
    try:
        if is_loopback(host):
            return 0
        now = datetime.now(timezone.utc)
        with reading(engine) as connection:
            return sum(token.usable(now) for token in list_tokens(connection))
    finally:
        engine.dispose()
