"""A prediction server in a thread of this process, whose model is a function: all parts but
TensorFlow, the store and the process itself are the real ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import uvloop

from trueup.config.serving import CaptureSettings, ModelCaptureSettings
from trueup.frames.capture_codec import decode_frame
from trueup.frames.reader import FrameReader
from trueup.frames.segment_files import sealed_segments
from trueup.records.capture import CaptureFrame
from trueup.records.input_spec import InputSpec, Kind, Variable
from trueup.records.registry import VersionRecord
from trueup.serving.access import Access, gate
from trueup.serving.attempt import Outcome
from trueup.serving.capture.policy import CapturePolicy
from trueup.serving.capture.writer import CaptureWriter
from trueup.serving.early_requests import EarlyRequests
from trueup.serving.fleet import Fleet, FleetView, ModelView, ServedVersion
from trueup.serving.http_connection import HttpConnection
from trueup.serving.http_state import Limits, ServerState
from trueup.serving.intake import intakes
from trueup.serving.lane import Lane
from trueup.serving.large_bodies import LargeBodies
from trueup.serving.listen import accept_on, bind
from trueup.serving.metrics import MetricsFolder, ModelCounts
from trueup.serving.pages import Pages
from trueup.serving.predictor import Predictor
from trueup.serving.recorder import Recorder
from trueup.serving.scribe import Scribe
from trueup.serving.server import Server
from trueup.serving.signature import Signature, TensorSpec
from trueup.serving.version_lane import VersionLane

LONG_S = 30.0
SPEC = InputSpec(
    variables=(
        Variable(name="x", dtype="float32", kind=Kind.NUMERIC, optional=True),
        Variable(name="name", dtype="string", kind=Kind.CATEGORICAL, optional=True),
    )
)
_INPUTS = {
    "name": TensorSpec("name", "name:0", "string", (None,)),
    "x": TensorSpec("x", "x:0", "float32", (None,)),
}
SIGNATURE = Signature(
    "serving_default", "predict", _INPUTS, {"y": TensorSpec("y", "y:0", "float32", (None,))}
)

Columns = Mapping[str, Any]


def doubled(columns: Columns) -> dict[str, Any]:
    return {"y": np.nan_to_num(columns["x"]) * 2}


class InProcess:
    """The server; everything but ``ask`` and ``post`` is for its own thread.

    :ivar view: changed by :meth:`show`.
    """

    def __init__(
        self,
        spool: Path,
        *,
        model: Callable[[Columns], dict[str, Any]] = doubled,
        max_rows: int = 100_000,
        timeout_s: float = LONG_S,
        capture: CaptureSettings | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.spool = spool
        self.writer = CaptureWriter(spool, capture or CaptureSettings(min_free=0))
        self.fleet = Fleet()
        self.loop = uvloop.new_event_loop()
        self.limits = limits or Limits()
        self.lanes: list[VersionLane] = []
        self._model = model
        self._options = {"max_rows": max_rows, "timeout_s": timeout_s}
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(LONG_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        listening = bind("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.state = ServerState(self.limits, self.loop)
        self.scribe = Scribe(self.writer, self.deliver)
        self.policy = CapturePolicy("m", ModelCaptureSettings(), SPEC, bytes(32))
        timeout_s: float = self._options["timeout_s"]
        self.large = LargeBodies(
            self.loop, self.fleet, max_depth=64, max_rows=int(self._options["max_rows"])
        )
        self.server = Server(
            fleet=self.fleet,
            scribe=self.scribe,
            early=EarlyRequests(lambda: "", timeout_s),
            large=self.large,
            timeout_s=timeout_s,
            max_json_depth=64,
            max_rows=int(self._options["max_rows"]),
            pages=Pages(
                self.fleet,
                self.scribe,
                MetricsFolder(self.spool / ".metrics", 0),
                values=dict,
                not_ready=lambda: "",
                intakes=intakes(lambda name: self.policy, int(self._options["max_rows"])),
                loop=self.loop,
            ).table(),
        )
        self.show(self.version(1))
        accept = gate(Access(required=False, listens_on="127.0.0.1", allowed_hosts=()))
        server = await accept_on(
            listening,
            lambda: HttpConnection(self.server.handle, self.limits, self.state, accept),
            tls=None,
            limits=self.limits,
        )
        self._ready.set()
        await self._stop.wait()
        server.close()
        self.state.drain()
        await self.state.drained(LONG_S)
        self.state.close()

    def version(self, number: int) -> ServedVersion:
        """A new version of the model."""
        loaded: Any = SimpleNamespace(
            signatures={SIGNATURE.name: SIGNATURE},
            run=lambda name, columns: self._model(columns),
            metadata={},
        )
        recorder = Recorder("m", number, self.policy, self.writer, SPEC)
        counts = ModelCounts()
        predictor = Predictor(loaded, recorder, counts, self.deliver)
        lane = Lane(
            f"m/{number}", predictor.run, max_batch_rows=512, max_queue_rows=8192,
            wake_later=self.loop.call_soon, left=predictor.leave,
        )  # fmt: skip
        version_lane = VersionLane("m", number, loaded, lane, recorder, counts, SPEC)
        self.lanes.append(version_lane)
        record = VersionRecord(
            model="m", version=number, artifact_uri="", manifest_sha256=str(number)
        )
        return ServedVersion("m", number, loaded, version_lane, SPEC, frozenset(), record)

    def show(self, version: ServedVersion) -> None:
        """Serve ``version`` and no other."""
        view = ModelView.of([version])
        assert view is not None
        self.fleet.show(FleetView({"m": view}))

    def deliver(self, outcomes: list[Outcome]) -> None:
        self.loop.call_soon_threadsafe(self.server.deliver, outcomes)

    def post(self, body: bytes, path: str = "/v1/models/m:predict", **headers: str) -> Any:
        return httpx.post(self.url + path, content=body, headers=headers, timeout=LONG_S)

    def get(self, path: str, **headers: str) -> Any:
        return httpx.get(self.url + path, headers=headers, timeout=LONG_S)

    def on_loop(self, work: Callable[[], Any]) -> Any:
        """What ``work`` gives in the loop's thread."""

        async def called() -> Any:
            return work()

        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(LONG_S)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(LONG_S)
        assert not self._thread.is_alive()
        self.large.close()
        for lane in self.lanes:
            assert lane.close(LONG_S)
        assert self.scribe.close(LONG_S)
        self.writer.close()

    def captured(self) -> list[CaptureFrame]:
        """All frames, once the server was stopped."""
        return [
            decode_frame(payload)
            for segment in sealed_segments(self.spool)
            for payload in FrameReader(segment.path)
        ]


@contextmanager
def serving(spool: Path, **options: Any) -> Iterator[InProcess]:
    server = InProcess(spool, **options)
    try:
        yield server
    finally:
        server.stop()
