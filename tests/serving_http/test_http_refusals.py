"""What HTTP does not allow, or our limits do not, is refused in words, and nothing is smuggled."""

from __future__ import annotations

import gzip
import socket
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trueup.serving.http_message import Reply, Request, error_reply

GET = b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"


def head(*lines: bytes, first: bytes = b"POST /echo HTTP/1.1") -> bytes:
    return b"\r\n".join((first, b"Host: a", *lines)) + b"\r\n\r\n"


MALFORMED = {
    "garbage": b"\x00\x01\x02\r\n\r\n",
    "a TLS hello": bytes.fromhex("16030100c8010000c403036a") + bytes(40),
    "an unknown method": head(first=b"BREW /echo HTTP/1.1"),
    "a method in lower case": head(first=b"get /echo HTTP/1.1"),
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2.0": head(first=b"GET /echo HTTP/2.0"),
    "HTTP/0.9": b"GET /echo HTTP/0.9\r\n\r\n",
    "no version": b"GET /echo\r\n\r\n",
    "a space in the target": head(first=b"GET /e cho HTTP/1.1"),
    "no host": b"GET /echo HTTP/1.1\r\n\r\n",
    "two hosts": head(b"Host: b"),
    "a target of no path": head(first=b"GET echo HTTP/1.1"),
    "a target of another scheme": head(first=b"GET ftp://a/ HTTP/1.1"),
    "a tunnel": head(first=b"CONNECT a:80 HTTP/1.1"),
    "a header without a name": head(b": x"),
    "a header without a colon": head(b"X"),
    "a space before the colon": head(b"X : y"),
    "a folded header": head(b"X: y", b" z"),
    "a NUL in a header": head(b"X: \x00"),
    "a CR in a header": head(b"X: a\rb"),
}

SMUGGLING = {
    "CL.TE": head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "TE.CL": head(b"Transfer-Encoding: chunked", b"Content-Length: 3") + b"0\r\n\r\n",
    "two lengths": head(b"Content-Length: 0", b"Content-Length: 5"),
    "two equal lengths": head(b"Content-Length: 0", b"Content-Length: 0"),
    "a list of lengths": head(b"Content-Length: 0, 5"),
    "a signed length": head(b"Content-Length: +0"),
    "a negative length": head(b"Content-Length: -1"),
    "a length in hex": head(b"Content-Length: 0x0"),
    "a length with an underscore": head(b"Content-Length: 0_0"),
    "an empty length": head(b"Content-Length: "),
    "an endless length": head(b"Content-Length: " + b"9" * 30),
    "a length that is too long to count": head(b"Content-Length: " + b"0" * 5000 + b"1"),
    "a length behind a space": head(b"Content-Length : 0"),
    "two encodings": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    "an encoding behind another": head(b"Transfer-Encoding: gzip, chunked"),
    "chunked twice": head(b"Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n",
    "an unknown encoding": head(b"Transfer-Encoding: xchunked"),
    "an encoding with a tab": head(b"Transfer-Encoding:\tchunked\x0b"),
    "identity": head(b"Transfer-Encoding: identity"),
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no chunk size": head(b"Transfer-Encoding: chunked") + b"\r\n\r\n",
    "a chunk size that is none": head(b"Transfer-Encoding: chunked") + b"xyz\r\n",
    "a chunk size that overflows": head(b"Transfer-Encoding: chunked") + b"f" * 17 + b"\r\n",
    "a negative chunk size": head(b"Transfer-Encoding: chunked") + b"-1\r\n",
    "a chunk that is longer than said": head(b"Transfer-Encoding: chunked") + b"1\r\nab\r\n",
    "a chunk that ends in a bare LF": head(b"Transfer-Encoding: chunked") + b"1\r\na\n0\r\n\r\n",
    "a space behind a chunk size": head(b"Transfer-Encoding: chunked") + b"0 \r\n\r\n",
}


@pytest.mark.parametrize("name", sorted(MALFORMED | SMUGGLING))
def test_malformed_requests_end_the_connection(server: Any, name: str) -> None:
    client = server.connect()
    answer = client.ask((MALFORMED | SMUGGLING)[name] + HIDDEN)
    assert answer.status == 400
    assert answer.error
    assert answer.headers["connection"] == "close"
    client.socket.shutdown(socket.SHUT_WR)
    assert client.ended()
    assert server.seen == []
    assert server.state.replies == {400: 1}


def test_the_requests_before_a_malformed_one_are_answered(server: Any) -> None:
    client = server.connect()
    client.send(GET.replace(b"/echo", b"/later") * 3 + b"\x00" + HIDDEN)
    assert [client.read().status for _ in range(4)] == [200, 200, 200, 400]
    assert "/hidden" not in server.seen


@pytest.mark.parametrize(
    ("line", "status"),
    [(b"Content-Encoding: br", 415), (b"Content-Encoding: gzip, gzip", 415), (b"Expect: x", 417)],
)
def test_what_is_not_spoken_here_is_named(server: Any, line: bytes, status: int) -> None:
    answer = server.connect().ask(head(b"Content-Length: 1", line) + b"x")
    assert answer.status == status
    assert line.split(b":")[0].decode() in answer.error


@pytest.mark.parametrize("extra", [b"", b"Expect: 100-continue\r\n"])
def test_a_body_that_is_declared_too_large_is_not_read(serve: Any, extra: bytes) -> None:
    server = serve(max_body=1000)
    client = server.connect()
    answer = client.ask(b"POST / HTTP/1.1\r\nHost: a\r\n%bContent-Length: 1001\r\n\r\n" % extra)
    assert answer.status == 413
    assert "serving.max_body" in answer.error
    assert server.connect().ask(head(b"Content-Length: 1000") + b"x" * 1000).status == 200


def test_a_chunked_body_is_refused_where_it_becomes_too_large(serve: Any) -> None:
    server = serve(max_body=1000)
    chunked = head(b"Transfer-Encoding: chunked") + b"3e8\r\n" + b"x" * 1000 + b"\r\n"
    assert server.connect().ask(chunked + b"0\r\n\r\n").status == 200
    assert server.connect().ask(chunked + b"1\r\nx\r\n0\r\n\r\n").status == 413


@pytest.mark.parametrize("pieces", [1, 100])
def test_heads_are_bounded(serve: Any, pieces: int) -> None:
    server = serve(max_header=2000)
    small, large = head(b"X: " + b"y" * 1900), head(b"X: " + b"y" * 2000)
    assert server.connect().ask(small).status == 200
    client = server.connect()
    for at in range(0, len(large), len(large) // pieces):
        try:
            client.send(large[at : at + len(large) // pieces])
        except OSError:
            break
    answer = client.read()
    assert answer.status == 431
    assert "serving.max_header" in answer.error


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /" + b"x" * 100,
        head(b"X: y")[:-2],
        head(b"Transfer-Encoding: chunked") + b"1;",
        head(b"Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\nX: ",
    ],
    ids=["target", "headers", "chunk extension", "trailer"],
)
def test_nothing_may_go_on_without_an_end(serve: Any, beginning: bytes) -> None:
    server = serve(max_header=2000)
    client = server.connect().send(beginning)
    for _ in range(100):
        try:
            client.send(b"x" * 1000)
        except OSError:
            break
    assert client.read().status in (400, 431)
    assert server.seen == []


@pytest.mark.parametrize("wrap", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
@pytest.mark.parametrize("size", [300_000, 200_000_000])
def test_a_bomb_is_refused(serve: Any, wrap: Callable[[bytes], bytes], size: int) -> None:
    server = serve(max_body=290_000)
    packed = wrap(bytes(size))
    assert len(packed) < 290_000
    name = b"gzip" if wrap is gzip.compress else b"deflate"
    lines = (b"Content-Encoding: " + name, b"Content-Length: %d" % len(packed))
    client = server.connect()
    answer = client.ask(head(*lines) + packed)
    assert answer.status == 413
    assert "unpacked" in answer.error
    assert client.ask(GET).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"no gzip at all",
        gzip.compress(b"x" * 1000)[:-1],
        gzip.compress(b"x" * 1000)[:-8] + bytes(8),
        gzip.compress(b"x" * 1000) + b"more",
        gzip.compress(b"") * 2000,
    ],
    ids=["none", "cut", "checksum", "behind", "members"],
)
def test_damaged_gzip_is_refused(server: Any, body: bytes) -> None:
    client = server.connect()
    lines = (b"Content-Encoding: gzip", b"Content-Length: %d" % len(body))
    answer = client.ask(head(*lines) + body)
    assert answer.status == 400
    assert "gzip" in answer.error
    assert client.ask(GET).status == 200


def test_bytes_that_wait_are_bounded(serve: Any, wait_until: Callable[..., None]) -> None:
    server = serve(max_pending=100_000, max_body=80_000)
    half = head(b"Content-Length: 80000") + b"x" * 60_000
    first = server.connect().send(half)
    wait_until(lambda: server.state.pending == 60_000)
    second = server.connect().ask(half)
    assert second.status == 503
    assert "serving.max_pending" in second.error
    assert first.ask(b"x" * 20_000).status == 200
    wait_until(server.settled)
    assert server.connect().ask(half + b"x" * 20_000).status == 200


def test_unpacked_bytes_that_wait_are_bounded_too(
    serve: Any, wait_until: Callable[..., None]
) -> None:
    server = serve(max_pending=100_000, max_body=80_000)
    packed = gzip.compress(bytes(70_000))
    lines = (b"Content-Encoding: gzip", b"Content-Length: %d" % len(packed))
    echo = head(*lines) + packed
    server.connect().send(echo.replace(b"/echo", b"/hold"))
    wait_until(lambda: server.held)
    assert server.state.pending == 70_000
    client = server.connect()
    refused = client.ask(echo)
    assert refused.status == 503
    assert "serving.max_pending" in refused.error
    assert refused.headers["connection"] == "close"
    assert client.ended()
    assert server.state.pending == 70_000
    server.call(server.held[0].reply, 200, b"")
    wait_until(server.settled)
    assert server.connect().ask(echo).status == 200


def test_pipelined_requests_count_as_waiting(serve: Any, wait_until: Callable[..., None]) -> None:
    server = serve(max_pending=50_000)
    client = server.connect().send(GET.replace(b"/echo", b"/hold"))
    wait_until(lambda: server.held)
    client.send(b"GET /x HTTP/1.1\r\nHost:\r\n\r\n" * 1000)
    wait_until(lambda: server.state.pending > 8000)
    server.call(server.held[0].reply, 200, b"")
    assert client.read().status == 200
    last = client.read()
    while last.status == 200:
        last = client.read()
    assert last.status == 503


def test_connections_are_bounded(serve: Any, wait_until: Callable[..., None]) -> None:
    server = serve(max_connections=3)
    clients = [server.connect() for _ in range(3)]
    assert [client.ask(GET).status for client in clients] == [200] * 3
    more = server.connect()
    answer = more.read()
    assert answer.status == 503
    assert "serving.max_connections" in answer.error
    more.close()
    clients.pop().close()
    wait_until(lambda: len(server.state.connections) == 2)
    assert server.connect().ask(GET).status == 200


def refuse_x(request: Request) -> Reply | None:
    """A hook as access control is one."""
    if request.path == "/raise":
        raise RuntimeError("boom")
    if request.path == "/x":
        return error_reply(401, "no", [("WWW-Authenticate", "Bearer")])
    return None


def test_a_hook_refuses_by_the_head(serve: Any) -> None:
    server = serve(accept=refuse_x)
    client = server.connect()
    for body in (b"", b"x" * 100):
        client.send(GET.replace(b"/echo", b"/later"))
        lines = b"Content-Length: %d" % len(body)
        client.send(head(lines, first=b"POST /x HTTP/1.1") + body + GET)
        assert client.read().status == 200
        refused = client.read()
        assert (refused.status, refused.error) == (401, "no")
        assert refused.headers["www-authenticate"] == "Bearer"
        assert client.read().json["path"] == "/echo"
    assert "/x" not in server.seen
    assert server.state.replies == {200: 4, 401: 2}


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length: 10000000",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 1\r\nExpect: 100-continue",
    ],
)
def test_a_refused_body_that_is_large_is_not_waited_for(serve: Any, line: bytes) -> None:
    client = serve(accept=refuse_x).connect()
    answer = client.ask(head(line, first=b"POST /x HTTP/1.1"))
    assert answer.status == 401
    assert answer.headers["connection"] == "close"


def test_a_hook_that_fails_refuses(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = serve(accept=refuse_x)
    answer = server.connect().ask(head(first=b"GET /raise HTTP/1.1"))
    assert answer.status == 500
    assert "RuntimeError: boom" in caplog.text
    assert server.seen == []


SOUND = [
    GET,
    head(b"Content-Length: 5") + b"hello",
    head(b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
    head(b"Content-Encoding: gzip", b"Content-Length: 25") + gzip.compress(b"hello", mtime=0),
    head(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 5") + b"hello",
    head(b"Expect: 100-continue", b"Content-Length: 5") + b"hello",
]

mutations = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "repeat", "insert"]),
        st.integers(0, 400),
        st.binary(min_size=1, max_size=6)
        | st.sampled_from([b"\r\n", b"\r\n\r\n", b"\n", b":", b" ", b"0\r\n", b"chunked", b"\xff"]),
    ),
    max_size=6,
)


def mutated(whole: bytes, steps: list[tuple[str, int, bytes]]) -> bytes:
    for how, where, what in steps:
        at = where % (len(whole) + 1)
        if how == "flip":
            whole = whole[:at] + what + whole[at + len(what) :]
        elif how == "cut":
            whole = whole[:at] + whole[at + len(what) :]
        elif how == "repeat":
            whole = whole[:at] + whole
        else:
            whole = whole[:at] + what + whole[at:]
    return whole


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["uvloop", "asyncio"])
def test_mutated_requests_neither_crash_nor_hang(serve: Any, kind: str) -> None:
    """Each is answered in words or waited for, and the connection ends when the client has."""
    server = serve(kind, max_header=4096, max_body=1 << 16)
    known = {200, 400, 408, 413, 415, 417, 431}

    @settings(
        max_examples=1500,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.tuples(st.sampled_from(SOUND), mutations), min_size=1, max_size=3))
    def check(parts: list[tuple[bytes, list[tuple[str, int, bytes]]]]) -> None:
        client = server.connect()
        client.send(b"".join(mutated(whole, steps) for whole, steps in parts))
        client.socket.shutdown(socket.SHUT_WR)
        said = client.rest
        while data := client.socket.recv(1 << 16):
            said += data
        client.close()
        client.rest = said
        while client.rest:
            answer = client.read(head_only=False)
            assert answer.status in (known | {100}), said

    check()
    assert server.connect().ask(GET).status == 200
    assert server.state.pending == 0
