"""A ``trueup serve`` of its own for one version: its registry, spool and port are nobody else's."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic
from typing import Any

import orjson

from trueup.config.settings import Settings, StoreSettings
from trueup.errors import BadInputError
from trueup.lifeline import lifeline
from trueup.records.input_spec import InputSpec
from trueup.store.artifacts import publish
from trueup.store.blobs import BlobRoot
from trueup.store.engine import writing
from trueup.store.promotion import promote
from trueup.store.registry import INPUT_SPEC, Author, ensure_model, mark_ready, register_version
from trueup.store.schema import open_store

START_LIMIT_S = 180.0
_STOP_LIMIT_S = 30.0
_REQUEST_LIMIT_S = 60.0
_PAUSE_S = 0.1
_LISTENING = "Listening on http://127.0.0.1:"


@dataclass
class ReplayServer:
    """A server that runs.

    :param name: of the version in messages.
    """

    name: str
    model: str
    process: subprocess.Popen[str]
    log: Path
    port: int = 0
    _connection: http.client.HTTPConnection | None = field(default=None, repr=False)

    def wait_ready(self) -> None:
        """:raises BadInputError: it does not come up; with its last word."""
        deadline = monotonic() + START_LIMIT_S
        waiting = threading.Event()
        while monotonic() < deadline and self.process.poll() is None:
            if not self.port:
                self.port = _port_of(self.log)
            if self.port:
                try:
                    if self._ask("GET", "/readyz")[0] == 200:
                        return
                except (OSError, http.client.HTTPException):
                    self._drop()
            waiting.wait(_PAUSE_S)
        lines = self.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        raise BadInputError(f"a server with {self.name} did not come up: {lines[-1]}")

    def predict(self, body: bytes) -> tuple[int, Any]:
        """Status and JSON of the answer to a predict request.

        :raises OSError, http.client.HTTPException: no answer came.
        """
        try:
            status, answer = self._ask("POST", f"/v1/models/{self.model}:predict", body)
        except (OSError, http.client.HTTPException):
            self._drop()
            raise
        return status, orjson.loads(answer)

    def peak_memory_bytes(self) -> int | None:
        """The most memory that its processes had, each for itself, summed."""
        sizes = [_peak(pid) for pid in _tree(self.process.pid)]
        known = [size for size in sizes if size is not None]
        return sum(known) if known else None

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                "127.0.0.1", self.port, timeout=_REQUEST_LIMIT_S
            )
        self._connection.request(method, path, body)
        reply = self._connection.getresponse()
        return reply.status, reply.read()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        self._drop()
        self.process.terminate()
        try:
            self.process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()  # its workers have a lifeline of their own
            self.process.wait()


@contextmanager
def replay_server(
    settings: Settings, model: str, version: int, spec: InputSpec, saved_model: Path, folder: Path
) -> Iterator[ReplayServer]:
    """Start a server that has ``saved_model`` as ``version`` of ``model``, and end it behind the
    block. It may not be ready yet: :meth:`ReplayServer.wait_ready`.

    :param settings: whose limits of requests it has.
    :param folder: where all that it writes goes; made here.
    """
    folder.mkdir(parents=True)
    _register(model, version, spec, saved_model, folder)
    (folder / "trueup.toml").write_text(_configuration(settings))
    log = folder / "server.log"
    with lifeline() as descriptor, log.open("w") as output:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "trueup.cli.main", "serve", "--config",
                str(folder / "trueup.toml"), "--host", "127.0.0.1", "--rest-port", "0",
                "--workers", "1", "--lifeline", str(descriptor),
            ],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            text=True, pass_fds=[descriptor], env=_environment(),
        )  # fmt: skip
        server = ReplayServer(f"version {version}", model, process, log)
        try:
            yield server
        finally:
            server.close()


def _register(model: str, version: int, spec: InputSpec, saved_model: Path, folder: Path) -> None:
    author = Author("gate", "replay", datetime.now(timezone.utc))
    engine = open_store(StoreSettings(url=f"sqlite:///{folder / 'store.db'}"))
    try:
        with writing(engine) as connection:
            ensure_model(connection, model, author)
            number = register_version(connection, model, author)
        artifact = publish(BlobRoot(str(folder / "blobs")), saved_model, model, number)
        with writing(engine) as connection:
            mark_ready(
                connection, model, number, artifact_uri=artifact.artifact_uri,
                manifest_sha256=artifact.manifest_sha256,
                details={INPUT_SPEC: spec.model_dump(mode="json")},
            )  # fmt: skip
            promote(connection, model, number, author)
    finally:
        engine.dispose()


def _configuration(settings: Settings) -> str:
    serving = settings.serving
    return (
        'blob_root = "blobs"\nspool_dir = "spool"\n'
        '[store]\nurl = "sqlite:///store.db"\n'
        "[serving]\n"
        f"max_body = {serving.max_body}\n"
        f"max_json_depth = {serving.max_json_depth}\n"
        f"max_request_rows = {serving.max_request_rows}\n"
        f"max_batch_rows = {serving.max_batch_rows}\n"
        f"model_threads = {serving.model_threads}\n"
    )


def _environment() -> dict[str, str]:
    """Ours without ``TRUEUP_…``, which would lead to the real store."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TRUEUP_")}


def _port_of(log: Path) -> int:
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith(_LISTENING):
            return int(line.removeprefix(_LISTENING).split(" ")[0])
    return 0


def _tree(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except OSError:  # it has ended
        return []
    return [pid, *(inner for child in children for inner in _tree(child))]


def _peak(pid: int) -> int | None:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
