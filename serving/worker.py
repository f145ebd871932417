"""One server process: everything put together, started, and ended without losing a request.

``python -m trueup.serving.worker`` is what the supervisor starts; it is not for people.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic
from typing import Any

from trueup.config.load import load
from trueup.config.settings import Settings
from trueup.errors import TrueupError
from trueup.records.registry import ModelRecord, RegistrySnapshot, VersionRecord
from trueup.serving.access import Access, gate
from trueup.serving.attempt import Outcome
from trueup.serving.capture.writer import CaptureWriter
from trueup.serving.early_requests import EarlyRequests
from trueup.serving.fleet import Fleet
from trueup.serving.housekeeping import Housekeeping
from trueup.serving.http_connection import HttpConnection
from trueup.serving.http_state import Limits, ServerState
from trueup.serving.intake import intakes
from trueup.serving.lane import Lane
from trueup.serving.large_bodies import LargeBodies
from trueup.serving.late_store import LateStore
from trueup.serving.listen import (
    accept_on,
    allow_open_files,
    refuse_newcomers,
    tls_context,
    tokens_required,
)
from trueup.serving.loader import Loader
from trueup.serving.loading import freeze_heap
from trueup.serving.metrics import MetricsFolder, ModelCounts
from trueup.serving.pages import Pages
from trueup.serving.policies import Policies
from trueup.serving.predictor import Predictor
from trueup.serving.process import quiet_logs, recover, resident_bytes, summed, threads_of
from trueup.serving.recorder import Recorder
from trueup.serving.saved_model import LoadedModel, load_saved_model
from trueup.serving.scribe import Scribe
from trueup.serving.server import Server
from trueup.serving.snapshot import SnapshotFile
from trueup.serving.version_lane import VersionLane
from trueup.serving.warmup import warm
from trueup.store.artifact_cache import fetch_verified, prune
from trueup.store.blobs import BlobRoot
from trueup.store.capture_key import capture_key
from trueup.store.engine import open_engine, reading, shown
from trueup.store.registry import snapshot

_log = logging.getLogger(__name__)

METRICS_FOLDER = ".metrics"
CACHE_FOLDER = ".artifacts"
_TICK_S = 1.0
_TURN_LIMIT_S = 60.0
_LATE_LIMIT_S = 60.0
_LATE_LOOK_S = 0.05
#: For connections that had begun when the server was told to stop to be accepted.
_LAST_COMERS_S = 0.2
_LEAST_WAIT_S = 0.5
_HIDDEN = "not ready; the server's log says why"


class Worker:
    """All that one process has.

    :param listening: bound and listening; shared with the other workers.
    :param index: of this worker; 0 also recovers what dead servers left in the spool.
    :param metrics: name of the server's folder below :data:`METRICS_FOLDER`.
    :param late: others answer meanwhile: accept no connection before the models are loaded.
    """

    def __init__(
        self,
        settings: Settings,
        listening: socket.socket,
        index: int,
        *,
        metrics: str,
        late: bool = False,
    ) -> None:
        serving = settings.serving
        self._settings = settings
        self._listening = listening
        self._index = index
        self._late = late
        self._store = LateStore(settings.store)
        self._writer = CaptureWriter(settings.spool_dir, settings.capture)
        self._fleet = Fleet()
        self._loop = asyncio.get_running_loop()
        self._state = ServerState(Limits.of(serving), self._loop)
        self._scribe = Scribe(self._writer, self._deliver)
        self._access = Access(
            required=tokens_required(serving),
            listens_on=serving.host,
            allowed_hosts=serving.allowed_hosts,
        )
        self._metrics = MetricsFolder(settings.spool_dir / METRICS_FOLDER / metrics, index)
        self._housekeeping = Housekeeping(
            self._store.engine,
            self._metrics,
            process=f"server-{socket.gethostname()}-{os.getpid()}-{index}",
            interval_s=serving.poll_interval.total_seconds(),
            now=utc_now,
            values=self.values,
            told=self._access.refresh,
        )
        self._policies = Policies(settings)
        self._blobs = BlobRoot(settings.blob_root)
        self._cache = settings.spool_dir / CACHE_FOLDER
        pages = Pages(
            self._fleet,
            self._scribe,
            self._metrics,
            values=self.values,
            not_ready=self.not_ready,
            intakes=intakes(self._policies.of, serving.max_request_rows),
            loop=self._loop,
        )
        self._server = self._application(pages)
        self._loader = Loader(
            self._fleet,
            self,
            SnapshotFile(settings.spool_dir),
            store=shown(open_engine(settings.store.url.get_secret_value())),
            wait_s=serving.poll_interval.total_seconds(),
            drain_s=serving.drain_timeout.total_seconds(),
        )

    def _application(self, pages: Pages) -> Server:
        serving = self._settings.serving
        timeout_s = serving.request_timeout.total_seconds()
        self._early = EarlyRequests(lambda: self._loader.why_wait(), timeout_s)
        self._large = LargeBodies(
            self._loop,
            self._fleet,
            max_depth=serving.max_json_depth,
            max_rows=serving.max_request_rows,
        )
        return Server(
            fleet=self._fleet,
            scribe=self._scribe,
            early=self._early,
            large=self._large,
            timeout_s=timeout_s,
            max_json_depth=serving.max_json_depth,
            max_rows=serving.max_request_rows,
            pages=pages.table(),
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then answer what is under way and seal the capture."""
        if self._index == 0:  # beside the rest: what dead servers left may be gigabytes
            self._loop.run_in_executor(None, recover, self._settings.spool_dir)
        self._housekeeping.start()
        self._loader.start()
        limits, accept = self._state.limits, gate(self._access)
        if not allow_open_files(limits):
            _log.warning("the limit of open files is below serving.max_connections")
        if self._late:
            await self._loaded_or(stop)
        server = await accept_on(
            self._listening,
            lambda: HttpConnection(self._server.handle, limits, self._state, accept),
            tls=tls_context(self._settings.serving),
            limits=limits,
        )
        ticking = self._loop.create_task(self._tick())
        await stop.wait()
        refuse_newcomers(self._listening)
        await asyncio.sleep(_LAST_COMERS_S)
        drain_s = self._settings.serving.drain_timeout.total_seconds()
        limit = monotonic() + drain_s  # of all that follows; the supervisor waits no longer
        server.close()
        self._early.close()
        self._state.drain()
        if not await self._state.drained(drain_s):
            _log.warning("%d connections did not end in time", len(self._state.connections))
        ticking.cancel()
        await self._loop.run_in_executor(None, self._close, limit)
        self._state.close()

    async def _loaded_or(self, stop: asyncio.Event) -> None:
        """Wait for the models, or for ``stop``, but not for ever: the others may be gone, too."""
        limit_s = monotonic() + _LATE_LIMIT_S
        while self._loader.why_wait() and not stop.is_set() and monotonic() < limit_s:
            await asyncio.sleep(_LATE_LOOK_S)

    def _close(self, limit: float) -> None:
        """End the threads, what answers before what writes.

        :param limit: monotonic time; past it each gets a moment, so that the capture is sealed.
        """

        def left_s() -> float:
            return max(_LEAST_WAIT_S, limit - monotonic())

        self._loader.ask_to_stop()
        self._large.close()
        for held in self._fleet.held():
            held.lane.close(left_s())
        self._scribe.close(left_s())
        self._writer.close()
        if not self._loader.stop(left_s()):
            _log.warning("a model is still being loaded; its load is given up")
        self._housekeeping.stop(_TICK_S * 5)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._writer.tick()
            held = [each.lane for each in self._fleet.held()]
            self._server.end_overdue(held, monotonic())
            self._server.admit_early(monotonic())

    def _deliver(self, outcomes: list[Outcome]) -> None:
        self._loop.call_soon_threadsafe(self._server.deliver, outcomes)

    def not_ready(self) -> str:
        """Why this worker cannot predict yet, or not any more; empty when it can."""
        problem = "draining" if self._state.draining else self._loader.not_ready()
        # /readyz is for everyone, and sentences name paths and models.
        return _HIDDEN if problem and tokens_required(self._settings.serving) else problem

    def values(self) -> dict[str, Any]:
        """This worker's numbers, for ``/metrics`` and the heartbeat."""
        state = self._state
        return {
            "process": {
                "connections": len(state.connections),
                "pending_bytes": state.pending,
                "http_requests": self._server.requests,
                "store_reachable": int(self._housekeeping.store_reachable),
                "registry_age_s": self._loader.snapshot_age_s(),
                "resident_bytes": resident_bytes(),
            },
            "capture": asdict(self._writer.stats),
            "replies": {
                str(status): count for status, count in sorted(summed(state.replies).items())
            },
            "versions": [each.lane.values() for each in self._fleet.served()],
        }

    # --- the loader's port: called in its thread

    def prepare(self) -> None:
        # Else oneDNN's allocator keeps all that it ever had: two models, once they were swapped.
        # Measured with 171 MiB of variables: 875 MiB stay when all is closed; with this 517, where
        # 505 were before; calls take as long.
        os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
        import tensorflow  # noqa: F401

        freeze_heap()

    def take(self) -> RegistrySnapshot:
        with reading(self._store.engine()) as connection:
            found = snapshot(connection, utc_now())
        self._policies.learn(found, self._key)
        return found

    def fetch(self, record: VersionRecord) -> AbstractContextManager[Path]:
        return fetch_verified(
            self._blobs, record, self._cache, min_free=self._settings.capture.min_free
        )

    def load(self, folder: Path) -> LoadedModel:
        """Load and warm; what fails here is refused before any request sees it."""
        loaded = load_saved_model(folder, threads=threads_of(self._settings.serving))
        try:
            result = warm(loaded, folder, batch_sizes=(1, self._settings.serving.max_batch_rows))
        except BaseException:
            loaded.close()
            raise
        for note in result.notes:
            _log.info("%s", note)
        return loaded

    def lane(self, loaded: LoadedModel, record: VersionRecord, model: ModelRecord) -> VersionLane:
        serving = self._settings.serving
        policy = self._policies.make(record, self._key(model))
        recorder = Recorder(record.model, record.version, policy, self._writer, record.input_spec)
        counts = ModelCounts()
        predictor = Predictor(loaded, recorder, counts, self._deliver)
        lane = Lane(
            f"{record.model}/{record.version}",
            predictor.run,
            max_batch_rows=serving.max_batch_rows,
            max_queue_rows=serving.max_queue_rows,
            wake_later=self._loop.call_soon,
            left=predictor.leave,
        )
        return VersionLane(
            record.model, record.version, loaded, lane, recorder, counts, record.input_spec
        )

    def _key(self, model: ModelRecord) -> bytes:
        if model.capture_key:
            return bytes.fromhex(model.capture_key)
        return capture_key(self._store.engine(), model.name)

    def settle(self) -> None:
        """A request is resolved and submitted within one turn of the event loop."""
        turned = threading.Event()
        self._loop.call_soon_threadsafe(turned.set)
        turned.wait(_TURN_LIMIT_S)

    def forget(self, keep: set[str]) -> None:
        prune(self._cache, keep)


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


def main(arguments: list[str] | None = None) -> int:
    """The entry point of a worker process."""
    # The supervisor waits for signals with these blocked, and a child inherits that.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT))
    parser = argparse.ArgumentParser()
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--lifeline", type=int, required=True)
    parser.add_argument("--metrics", required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--host")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--late", action="store_true")
    asked = parser.parse_args(arguments)
    quiet_logs(asked.index)
    try:
        settings = load(asked.config)
        changes = {"host": asked.host, "workers": asked.workers}
        given = {name: value for name, value in changes.items() if value is not None}
        serving = settings.serving.model_copy(update=given)
        settings = settings.model_copy(update={"serving": serving})
        import uvloop

        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(_serve(settings, asked))
    except TrueupError as error:
        _log.error("%s", error)
        return error.exit_code


async def _serve(settings: Settings, asked: argparse.Namespace) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # Nothing is ever written to it: it becomes readable when the supervisor is gone.
    loop.add_reader(asked.lifeline, stop.set)
    listening = socket.socket(fileno=asked.socket)
    listening.setblocking(False)
    worker = Worker(settings, listening, asked.index, metrics=asked.metrics, late=asked.late)
    await worker.run(stop)
    loop.remove_reader(asked.lifeline)
    return 0


if __name__ == "__main__":
    sys.exit(main())
