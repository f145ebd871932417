"""Real servers: a store, a registry with versions, worker processes, requests over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

LONG_S = 120.0
HERE = Path(__file__).parent
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def until(what: str, condition: Callable[[], Any], limit_s: float = LONG_S) -> Any:
    """Wait until ``condition`` gives something true, and return that."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {limit_s:g} s")


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``1``, ``2``, ``3``: versions of one model (saved_models.py)."""
    folder = tmp_path_factory.mktemp("saved_models")
    subprocess.run(
        [sys.executable, str(HERE / "saved_models.py"), str(folder)],
        check=True, timeout=LONG_S, env={**os.environ, **QUIET},
    )  # fmt: skip
    return folder


@dataclass
class Server:
    """``trueup serve`` as a process."""

    process: subprocess.Popen[bytes]
    log: Path
    url: str

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=LONG_S)

    def predict(
        self, *instances: dict[str, Any], path: str = "/v1/models/m:predict", **headers: str
    ) -> httpx.Response:
        return httpx.post(
            self.url + path, json={"instances": list(instances)}, headers=headers, timeout=LONG_S
        )

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def workers(self) -> list[int]:
        """Process ids of the worker processes."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in path.read_text().split()]

    def version(self) -> int:
        """Which version answers."""
        answer = self.predict({"x": 0.0, "name": "a"})
        return int(answer.json()["predictions"][0]["score"] // 1000)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LONG_S)


@dataclass
class Site:
    """A folder with a configuration, where ``trueup`` is run."""

    folder: Path
    models: Path
    servers: list[Server] = field(default_factory=list)

    def configure(self, text: str) -> None:
        (self.folder / "trueup.toml").write_text(text)

    def trueup(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "trueup.cli.main", *arguments],
            cwd=self.folder, capture_output=True, text=True, timeout=LONG_S, check=False,
            env={**os.environ, **QUIET},
        )  # fmt: skip
        assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def add(self, version: int, *arguments: str) -> None:
        """Import version ``version`` of the model and make it live."""
        self.trueup("import", "m", "--saved-model", str(self.models / str(version)), "--promote",
                    *arguments)  # fmt: skip

    def serve(self, *arguments: str) -> Server:
        log = self.folder / f"serve-{len(self.servers)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "trueup.cli.main", "serve", "--rest-port", "0", *arguments],
                cwd=self.folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                env={**os.environ, **QUIET},
            )  # fmt: skip
        server = Server(process, log, "")
        self.servers.append(server)
        found = until(
            "the server's address",
            lambda: re.search(r"https?://\S+", log.read_text()) or process.poll() is not None,
        )
        assert not isinstance(found, bool), log.read_text()
        server.url = found[0]
        return server

    def serve_ready(self, *arguments: str) -> Server:
        server = self.serve(*arguments)
        until("readiness", lambda: server.ready() or server.process.poll() is not None)
        assert server.process.poll() is None, server.log.read_text()
        return server

    @property
    def spool(self) -> Path:
        return self.folder / ".trueup" / "spool"

    def compact(self) -> dict[str, Any]:
        return dict(json.loads(self.trueup("compact", "--json")))

    def captured(self, model: str = "m") -> list[dict[str, Any]]:
        """All rows of the capture."""
        told = self.trueup("capture", model, "--format", "jsonl")
        return [json.loads(line) for line in told.splitlines()]


@pytest.fixture
def site(tmp_path: Path, saved_models: Path) -> Iterator[Site]:
    found = Site(tmp_path, saved_models)
    found.configure("")
    yield found
    for server in found.servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(LONG_S)
