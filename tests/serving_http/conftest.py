"""A real HTTP server on loopback in a thread of this process, and clients on raw sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvloop

from trueup.serving.http_connection import HttpConnection
from trueup.serving.http_message import Reply, Request
from trueup.serving.http_state import Limits, ServerState
from trueup.serving.listen import accept_on, bind

PATIENCE_S = 30.0


def until(condition: Callable[[], Any], what: str = "") -> None:
    """Wait for a condition, with a deadline."""
    end = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        pause.wait(0.005)


class Answer(NamedTuple):
    """What a client read."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The message of a reply that has nothing but it."""
        assert self.headers["content-type"] == "application/json"
        assert list(self.json) == ["error"]
        return str(self.json["error"])


class Client:
    """A raw connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        self.socket = connection
        self.rest = b""

    def send(self, data: bytes) -> Client:
        self.socket.sendall(data)
        return self

    def ask(self, data: bytes) -> Answer:
        return self.send(data).read()

    def read(self, *, head_only: bool = False) -> Answer:
        """The next reply, by its Content-Length."""
        while b"\r\n\r\n" not in self.rest:
            self._more()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        size = 0 if head_only else int(headers.get("content-length", "0"))
        while len(self.rest) < size:
            self._more()
        body, self.rest = self.rest[:size], self.rest[size:]
        return Answer(int(first.split()[1]), headers, body)

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        assert data, f"the server closed within a reply: {self.rest[:200]!r}"
        self.rest += data

    def ended(self) -> bool:
        """Whether the server closes now, with nothing more said. Waits for it."""
        try:
            return self.rest == b"" and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.socket.close()


@dataclass
class Server:
    """A server with an application for tests: ``/echo`` and what else :meth:`app` knows."""

    kind: str
    limits: Limits
    accept: Callable[[Request], Reply | None] | None = None
    tls: ssl.SSLContext | None = None
    held: list[Request] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def app(self, request: Request) -> None:
        self.seen.append(request.path)
        if request.path == "/hold":
            self.held.append(request)
        elif request.path == "/boom":
            raise RuntimeError("boom")
        elif request.path == "/big":
            request.reply(200, bytes(int(request.query)), content_type="text/plain")
        elif request.path == "/later":
            self.loop.call_later(0.002, self.echo, request)
        else:
            self.echo(request)

    def echo(self, request: Request) -> None:
        said = {
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "headers": request.headers,
            "body": request.body[:1000].decode("latin-1"),
            "size": len(request.body),
        }
        request.reply(200, json.dumps(said).encode(), headers=(("X-Echo", "yes"),))

    def start(self) -> None:
        started = threading.Event()

        def run() -> None:
            self.loop = uvloop.new_event_loop() if self.kind == "uvloop" else _plain_loop()
            self.loop.run_until_complete(self._open())
            started.set()
            self.loop.run_forever()
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert started.wait(PATIENCE_S)

    async def _open(self) -> None:
        self.state = ServerState(self.limits, self.loop)
        listener = bind("127.0.0.1", 0)
        self.port: int = listener.getsockname()[1]
        self.server = await accept_on(
            listener,
            lambda: HttpConnection(self.app, self.limits, self.state, self.accept),
            tls=self.tls,
            limits=self.limits,
        )

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """On the loop's thread."""

        async def run() -> Any:
            return function(*arguments)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE_S)

    def drained(self, timeout: float) -> bool:
        coroutine = self.state.drained(timeout)
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE_S)

    def stop(self) -> None:
        if not self.thread.is_alive():
            return
        self.call(self.server.close)
        self.call(self.state.close)
        until(lambda: not self.state.connections, "connections to be aborted")
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()

    def connect(self, *, receive_buffer: int | None = None) -> Client:
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(PATIENCE_S)
        connection.connect(("127.0.0.1", self.port))
        return Client(connection)

    def settled(self) -> bool:
        """Whether nothing is counted as waiting."""
        return self.state.pending == 0


def _plain_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop()


Serve = Callable[..., Server]


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Starts servers on a loop of the ``kind``, and stops them."""
    servers: list[Server] = []

    def start(
        kind: str = "uvloop", *, accept: Any = None, tls: Any = None, **limits: Any
    ) -> Server:
        server = Server(kind, Limits(**limits), accept, tls)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
        assert server.state.pending == 0 or server.held, "bytes are counted that nobody holds"


@pytest.fixture(params=["uvloop", "asyncio"])
def server(request: pytest.FixtureRequest, serve: Serve) -> Server:
    """With the limits of the defaults, on both loops."""
    return serve(request.param)


@pytest.fixture
def wait_until() -> Callable[..., None]:
    return until


@pytest.fixture(scope="session")
def pem_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost, signed by itself, and its key."""
    import subprocess

    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "server.crt", folder / "server.key"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key
