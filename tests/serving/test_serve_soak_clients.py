"""Clients that behave badly, while others only want their predictions."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from tests.serving.conftest import LONG_S, Server, Site, until
from tests.serving.soak_clients import (
    Load,
    assert_captured_once,
    compact_all,
    metric,
    predict_body,
    resident,
)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

IDLE = 2_000
LARGE = 100 << 20
MAX_BODY = 8 << 20
SLACK = 100 << 20
HEAD = "POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < IDLE + 500:
        pytest.skip(f"this machine allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, IDLE + 500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connected(server: Server) -> socket.socket:
    where = urlsplit(server.url)
    return socket.create_connection((where.hostname, where.port), timeout=LONG_S)


def status_of(connection: socket.socket) -> int:
    """Of the reply that comes; 0 when the connection ends without one."""
    data = b""
    with suppress(ConnectionError):
        while b"\r\n" not in data and (more := connection.recv(4096)):
            data += more
    return int(data.split()[1]) if data else 0


def vanish_in_mid_body(server: Server, count: int) -> None:
    for number in range(count):
        client = connected(server)
        body = predict_body(f"gone-{number}", 3)
        client.sendall(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-9])
        client.close()


def vanish_before_the_answer(server: Server, count: int) -> None:
    for number in range(count):
        client = connected(server)
        body = predict_body(f"left-{number}", 3)
        client.sendall(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        client.close()


def large_declared(server: Server) -> int:
    """A body whose head says that it is too large."""
    with connected(server) as client:
        client.sendall(f"{HEAD}Content-Length: {LARGE}\r\n\r\n".encode())
        with suppress(ConnectionError):
            for _ in range(LARGE >> 16):
                client.sendall(b" " * (1 << 16))
        return status_of(client)


def large_chunked(server: Server) -> int:
    """A body of which only reading it shows how large it is."""
    with connected(server) as client:
        client.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        with suppress(ConnectionError):
            for _ in range(LARGE >> 16):
                client.sendall(b"10000\r\n" + b" " * (1 << 16) + b"\r\n")
        return status_of(client)


def test_bad_clients_harm_no_others(site: Site, many_files: None) -> None:
    site.configure(f"[serving]\nmax_body = {MAX_BODY}\nhead_timeout = '3s'\nbody_timeout = '6s'\n")
    site.add(1)
    server = site.serve_ready()
    (worker,) = server.workers()
    load = Load(server, clients=2)
    load.more(300)
    before = resident(worker)
    idle = [connected(server) for _ in range(IDLE)]
    until("all of them", lambda: metric(server, "trueup_connections") >= IDLE)
    load.more(100)

    slow_head, slow_body, slow_but_fine = (connected(server) for _ in range(3))
    slow_head.sendall(b"POST /v1/mod")
    slow_body.sendall(f"{HEAD}Content-Length: 1000\r\n\r\n{{".encode())
    fine = predict_body("slow-0", 1)
    fine = f"{HEAD}X-Request-Id: slow-0\r\nContent-Length: {len(fine)}\r\n\r\n".encode() + fine
    end = time.monotonic() + 2
    for at in range(0, len(fine), 8):  # a few bytes at a time, as each other request comes back
        slow_but_fine.sendall(fine[at : at + 8])
        if time.monotonic() < end:
            load.more(2)
    assert status_of(slow_but_fine) == 200

    vanish_in_mid_body(server, 200)
    vanish_before_the_answer(server, 200)
    assert large_declared(server) in (413, 0)  # 0: it was cut off while it still sent
    assert large_chunked(server) in (413, 0)
    load.more(100)
    assert metric(server, "trueup_http_replies_total", status="413") >= 2
    assert status_of(slow_head) == 408
    assert status_of(slow_body) == 408
    until("nothing held", lambda: metric(server, "trueup_connections") <= IDLE + 10)
    until("no bytes held", lambda: metric(server, "trueup_pending_bytes") < 10_000)
    after = resident(worker)
    load.more(100)
    for client in idle[::100]:  # they were not forgotten
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status_of(client) == 200
    load.stop()
    for client in idle:
        client.close()

    assert load.failures == []
    assert load.statuses.keys() == {200}
    assert server.workers() == [worker]
    assert after - before < SLACK, f"{before >> 20} MiB became {after >> 20}"
    assert "Traceback" not in server.log.read_text()
    assert server.stop() == 0
    compact_all(site)
    assert_captured_once(site, ["slow-0", *load.names(200)])
