"""Clients that are slow, leave, crowd or flood harm neither the memory nor each other."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

GET = b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"
HOLD = GET.replace(b"/echo", b"/hold")
HALF = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf"


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.parametrize("kind", ["uvloop", "asyncio"])
@pytest.mark.parametrize("beginning", [b"GET /", b"GET /echo HTTP/1.1\r\nHo", GET[:-2] + b"X: "])
def test_a_slow_head_is_answered_with_408(serve: Any, kind: str, beginning: bytes) -> None:
    """However steadily its bytes drip (Slowloris)."""
    server = serve(kind, head_timeout_s=0.3)
    client = server.connect().send(beginning)
    client.socket.settimeout(0.02)
    for _ in range(1000):
        try:
            client.send(b"x")
            client.rest += client.socket.recv(100)
            break
        except TimeoutError:
            continue
    client.socket.settimeout(30)
    answer = client.read()
    assert (answer.status, answer.error) == (408, "The request's head did not come in time")
    assert server.seen == []
    assert server.connect().ask(GET).status == 200


def test_a_slow_body_is_answered_with_408(serve: Any) -> None:
    server = serve(body_timeout_s=0.3)
    client = server.connect()
    answer = client.ask(HALF)
    assert (answer.status, answer.error) == (408, "The request's body did not come in time")
    assert client.ended()
    assert server.state.pending == 0


def test_an_idle_connection_is_closed_in_silence(serve: Any) -> None:
    server = serve(idle_timeout_s=0.3)
    assert server.connect().ended()
    client = server.connect()
    assert client.ask(GET).status == 200
    assert client.ended()
    assert server.state.replies == {200: 1}


def test_the_application_may_take_its_time(serve: Any, wait_until: Callable[..., None]) -> None:
    server = serve(idle_timeout_s=0.2, head_timeout_s=0.2, body_timeout_s=0.2)
    client = server.connect().send(HOLD)
    for _ in range(3):  # each is closed when its time is up, so that three times have passed
        assert server.connect().ended()
    assert server.held[0].gone is False
    server.call(server.held[0].reply, 200, b"late")
    assert client.read().body == b"late"


@pytest.mark.parametrize("sent", [b"", GET[:10], HALF], ids=["nothing", "head", "body"])
def test_a_client_may_vanish(server: Any, wait_until: Callable[..., None], sent: bytes) -> None:
    client = server.connect().send(sent)
    wait_until(lambda: server.state.pending > 0 or sent != HALF)
    client.close()
    wait_until(lambda: not server.state.connections)
    assert server.state.pending == 0
    assert server.seen == []


def test_the_application_learns_that_the_client_left(
    server: Any, wait_until: Callable[..., None]
) -> None:
    leaving = server.connect().send(HOLD)
    wait_until(lambda: server.held)
    server.held[0].arrival_s -= 1.0  # not like one that closes its sending half at once
    leaving.close()
    wait_until(lambda: server.held[0].gone)
    server.call(server.held[0].reply, 200, b"")
    wait_until(lambda: not server.state.connections)


def test_a_reset_connection_is_gone(server: Any, wait_until: Callable[..., None]) -> None:
    client = server.connect().send(HOLD)
    wait_until(lambda: server.held)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
    client.close()
    wait_until(lambda: server.held[0].gone)
    wait_until(lambda: not server.state.connections)
    server.call(server.held[0].reply, 200, b"nobody hears it")
    assert server.state.pending == 0


@pytest.mark.parametrize("path", [b"/echo", b"/later", b"/hold"])
def test_a_client_that_has_said_all_is_answered(
    server: Any, wait_until: Callable[..., None], path: bytes
) -> None:
    """Closing the sending half is no leaving."""
    client = server.connect().send(GET.replace(b"/echo", path) + GET)
    client.socket.shutdown(socket.SHUT_WR)
    if path == b"/hold":
        wait_until(lambda: server.held)
        server.call(server.held[0].reply, 200, b"")
        assert server.held[0].gone is False
    assert [client.read().status for _ in range(2)] == [200, 200]
    assert client.ended()


def test_a_client_that_does_not_read_gets_no_further_reply(
    serve: Any, wait_until: Callable[..., None]
) -> None:
    """Its replies wait in a bounded buffer, and its requests unread in its own."""
    server = serve(body_timeout_s=0.5)
    size = 4 << 20
    client = server.connect(receive_buffer=4096)
    big = b"GET /big?%d HTTP/1.1\r\nHost: a\r\n\r\n" % size
    client.send(big * 100)
    wait_until(lambda: len(server.seen) > 0)
    assert server.connect().ask(GET).status == 200
    wait_until(lambda: not server.state.connections)  # it was waited for, and is aborted
    assert server.seen.count("/big") == 1


def test_a_slow_reader_gets_all(server: Any) -> None:
    client = server.connect(receive_buffer=4096)
    client.send(b"GET /big?3000000 HTTP/1.1\r\nHost: a\r\n\r\n" * 3 + GET)
    assert [len(client.read().body) for _ in range(3)] == [3_000_000] * 3
    assert client.read().status == 200


def declared() -> Iterator[bytes]:
    yield b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 104857600\r\n\r\n"
    yield from (bytes(1 << 20) for _ in range(100))


def chunked() -> Iterator[bytes]:
    yield b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield from (b"100000\r\n" + bytes(1 << 20) + b"\r\n" for _ in range(100))


@pytest.mark.parametrize("body", [declared, chunked])
def test_100_megabytes_are_refused_in_bounded_memory(
    server: Any, body: Callable[[], Iterator[bytes]]
) -> None:
    assert server.connect().ask(GET).status == 200
    before = resident_bytes()
    client = server.connect()
    for part in body():
        try:
            client.send(part)
        except OSError:  # it was told, and does not listen
            break
    answer = client.read()
    assert answer.status == 413
    # The limit of a body is 32 MiB; its buffer is one quarter larger at the most, and copied never.
    assert resident_bytes() - before < 60 << 20
    assert server.state.pending == 0
    assert server.connect().ask(GET).status == 200


@pytest.mark.heavy
def test_2000_idle_connections_cost_little(serve: Any, wait_until: Callable[..., None]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 4600
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip("this machine allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    server = serve()
    before = resident_bytes()
    clients = [server.connect() for _ in range(2000)]
    wait_until(lambda: len(server.state.connections) == 2000)
    for client in clients[::2]:  # half of them idle between two requests
        client.send(GET)
    assert all(client.read().status == 200 for client in clients[::2])
    assert resident_bytes() - before < 2000 * (20 << 10)  # both ends
    assert server.connect().ask(GET).status == 200
    for client in clients:
        client.close()
    wait_until(lambda: not server.state.connections)


@pytest.mark.parametrize("kind", ["uvloop", "asyncio"])
def test_draining_loses_no_request(serve: Any, wait_until: Callable[..., None], kind: str) -> None:
    """Each client asks on as long as it may: every request that it sends is answered."""
    server = serve(kind)
    answered: list[int] = []
    problems: list[str] = []

    def ask_on() -> None:
        client = server.connect()
        count = 0
        try:
            while True:
                answer = client.ask(GET.replace(b"/echo", b"/later"))
                assert answer.status == 200
                count += 1
                if answer.headers.get("connection") == "close":
                    break
            assert client.ended()
        except (OSError, AssertionError) as error:
            problems.append(repr(error))
        answered.append(count)

    threads = [threading.Thread(target=ask_on) for _ in range(16)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(server.seen) > 500)
    server.call(server.server.close)
    server.call(server.state.drain)
    assert server.drained(20)
    for thread in threads:
        thread.join(20)
    assert problems == []
    assert sum(answered) == len(server.seen)


def test_draining_ends_idle_connections_and_waits_for_the_others(
    serve: Any, wait_until: Callable[..., None]
) -> None:
    server = serve(idle_timeout_s=30.0)
    idle, busy, sending = (server.connect() for _ in range(3))
    busy.send(HOLD)
    sending.send(HALF)
    wait_until(lambda: server.held and server.state.pending)
    server.call(server.state.drain)
    assert idle.ended()
    assert server.drained(0.05) is False
    answer = sending.ask(b"x" * 996)
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    server.call(server.held[0].reply, 200, b"")
    assert busy.read().headers["connection"] == "close"
    assert server.drained(20) is True


def test_pipelined_requests_are_answered_in_draining(
    server: Any, wait_until: Callable[..., None]
) -> None:
    client = server.connect().send(HOLD)
    wait_until(lambda: server.held)
    client.send(GET * 3)
    wait_until(lambda: server.state.pending)
    server.call(server.state.drain)
    server.call(server.held[0].reply, 200, b"")
    closing = [client.read().headers.get("connection") for _ in range(4)]
    assert closing == [None, None, None, "close"]
    assert client.ended()


def test_abort_ends_what_does_not_end(server: Any, wait_until: Callable[..., None]) -> None:
    client = server.connect().send(HOLD)
    wait_until(lambda: server.held)
    server.call(server.state.drain)
    assert server.drained(0.05) is False
    server.call(server.state.abort)
    assert server.drained(20) is True
    assert client.ended()
    assert server.held[0].gone
