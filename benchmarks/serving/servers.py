"""The servers under test, each a group of processes on a port of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from environments import HERE, python_of

START_LIMIT_S = 120
STOP_LIMIT_S = 60
TRUEUP = ("-m", "trueup.cli.main")

#: One thread for TensorFlow's kernels, for everybody.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Server:
    """How to start one.

    :param environment: whose interpreter, see ``environments.py``.
    :param ready: path that answers 200 when predictions can be asked for.
    :param path: of predictions.
    """

    name: str
    environment: str
    arguments: tuple[str, ...]
    ready: str
    path: str
    folder: Path | None = None
    variables: dict[str, str] = field(default_factory=dict)


@dataclass
class Running:
    server: Server
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.server.path}"

    def tree(self) -> list[int]:
        """The process and its descendants."""
        return [self.process.pid, *_descendants(self.process.pid)]

    def cpu_s(self) -> float:
        """Processor seconds of all its processes so far."""
        ticks = 0
        for pid in self.tree():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        """Resident memory of all its processes together."""
        pages = 0
        for pid in self.tree():
            try:
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except OSError:
                continue
        return pages * os.sysconf("SC_PAGESIZE") / 1e6


def trueup(folder: Path, *, capture: bool, port: int) -> Server:
    """Ours, in a folder that has its configuration and its registry."""
    name = f"Trueup, capture {'on' if capture else 'off'}"
    return Server(
        name, "trueup", (*TRUEUP, "serve", "--rest-port", str(port)), "/readyz",
        "/v1/models/bench:predict", folder,
        {} if capture else {"TRUEUP_MODELS__bench__CAPTURE__ENABLED": "false"},
    )  # fmt: skip


def peers(model: Path, ports: Iterator[int]) -> list[tuple[Server, int]]:
    echo, fastapi, bentoml = next(ports), next(ports), next(ports)
    uvicorn = (
        "-m", "uvicorn", "--app-dir", str(HERE / "peers"), "--loop", "uvloop", "--http",
        "httptools", "--no-access-log", "--log-level", "error",
    )  # fmt: skip
    return [
        (
            Server("ASGI echo", "fastapi", (*uvicorn, "--port", str(echo), "echo_app:app"),
                   "/", "/"),
            echo,
        ),
        (
            Server("FastAPI", "fastapi", (*uvicorn, "--port", str(fastapi), "fastapi_app:app"),
                   "/ready", "/predict", None, {"MODEL": str(model)}),
            fastapi,
        ),
        (
            Server("BentoML", "bentoml",
                   ("-m", "bentoml", "serve", "bentoml_service:Scores", "--port", str(bentoml),
                    "--host", "127.0.0.1"),
                   "/readyz", "/predict", HERE / "peers",
                   {"MODEL": str(model), "BENTOML_DO_NOT_TRACK": "true"}),
            bentoml,
        ),
    ]  # fmt: skip


@contextmanager
def running(server: Server, port: int, logs: Path) -> Iterator[Running]:
    """The server, ready; all its processes are ended behind the block.

    :raises RuntimeError: it did not get ready; the message ends with its log.
    """
    log = logs / f"{server.name.replace(' ', '-').replace(',', '')}.log"
    python = (
        str(python_of(server.environment)) if server.environment != "trueup" else sys.executable
    )
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, *server.arguments], cwd=server.folder, stdout=output, stderr=output,
            stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, **QUIET, **server.variables},
        )  # fmt: skip
    found = Running(server, port, process, log)
    try:
        _wait_ready(found)
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_ready(found: Running) -> None:
    url = f"http://127.0.0.1:{found.port}{found.server.ready}"
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and found.process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.2)
    raise RuntimeError(f"{found.server.name} did not start:\n{found.log.read_text()[-3000:]}")


def _descendants(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except OSError:  # it has ended
        return []
    return children + [inner for child in children for inner in _descendants(child)]
