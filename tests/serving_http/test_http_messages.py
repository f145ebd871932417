"""Requests in every form that HTTP allows are understood and answered, on both event loops."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest

GET = b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"


def post(body: bytes, *headers: bytes, path: bytes = b"/echo") -> bytes:
    lines = [b"Host: a", b"Content-Length: %d" % len(body), *headers]
    return b"POST " + path + b" HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + body


def test_a_request_and_its_reply(server: Any) -> None:
    answer = server.connect().ask(
        b"POST /a%20b/%E2%82%AC?x=%31&y HTTP/1.1\r\nHost: a\r\nX-Many: 1\r\nX-MANY:  2 \r\n"
        b"Content-Length: 4\r\n\r\nbody"
    )
    assert answer.status == 200
    said = answer.json
    assert said["method"] == "POST"
    assert said["path"] == "/a b/€"
    assert said["query"] == "x=%31&y"
    assert said["body"] == "body"
    assert said["headers"] == {"host": "a", "x-many": "1, 2", "content-length": "4"}
    assert answer.headers["x-echo"] == "yes"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["date"].endswith("GMT")
    assert "connection" not in answer.headers


def test_a_connection_is_kept_for_further_requests(server: Any) -> None:
    client = server.connect()
    for number in range(50):
        assert client.ask(post(b"%d" % number)).json["body"] == str(number)
    assert server.state.accepted == 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_requests_may_come_in_pieces(server: Any, size: int) -> None:
    client = server.connect()
    whole = post(b"0123456789" * 3, b"X-Header: value") + GET
    for at in range(0, len(whole), size):
        client.send(whole[at : at + size])
    assert client.read().json["body"] == "0123456789" * 3
    assert client.read().json["method"] == "GET"


@pytest.mark.parametrize("path", [b"/echo", b"/later"])
def test_pipelined_requests_are_answered_in_order(server: Any, path: bytes) -> None:
    client = server.connect()
    count = 300
    client.send(b"".join(post(b"%d" % i, path=path) for i in range(count)))
    assert [client.read().json["body"] for _ in range(count)] == [str(i) for i in range(count)]


def test_pipelined_requests_wait_while_one_is_in_flight(
    server: Any, wait_until: Callable[..., None]
) -> None:
    client = server.connect()
    client.send(post(b"first", path=b"/hold"))
    wait_until(lambda: server.held)
    client.send(post(b"second", path=b"/hold") + post(b"third"))
    wait_until(lambda: server.state.pending > len(b"first"))
    assert server.seen == ["/hold"]
    server.call(server.held[0].reply, 200, b"one")
    wait_until(lambda: len(server.held) == 2)
    server.call(server.held[1].reply, 201, b"two")
    assert [client.read()[::2] for _ in range(2)] == [(200, b"one"), (201, b"two")]
    assert client.read().json["body"] == "third"
    wait_until(server.settled)


def test_a_large_body_arrives_whole(server: Any) -> None:
    body = bytes(range(256)) * 40_000
    client = server.connect()
    assert client.ask(post(body)).json["size"] == len(body)
    assert client.ask(post(b"small")).json["body"] == "small"


@pytest.mark.parametrize("trailer", [b"", b"X-Trailer: 1\r\nHost: b\r\n"])
def test_chunked_bodies(server: Any, trailer: bytes) -> None:
    client = server.connect()
    chunks = b"5;ext=1\r\nhello\r\n1\r\n \r\nA\r\n0123456789\r\n0\r\n" + trailer + b"\r\n"
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
    for _ in range(2):
        said = client.ask(head + chunks).json
        assert said["body"] == "hello 0123456789"
        assert said["headers"] == {"host": "a", "transfer-encoding": "Chunked"}


def test_a_client_that_waits_is_told_to_continue(server: Any) -> None:
    client = server.connect()
    head, _, body = post(b"body", b"Expect: 100-Continue").partition(b"\r\n\r\n")
    for _ in range(2):
        assert client.ask(head + b"\r\n\r\n") == (100, {}, b"")
        assert client.ask(body).json["body"] == "body"


def test_continue_comes_after_the_reply_before_it(server: Any) -> None:
    client = server.connect()
    head, _, body = post(b"body", b"Expect: 100-continue").partition(b"\r\n\r\n")
    client.send(post(b"first", path=b"/later") + head + b"\r\n\r\n")
    assert client.read().json["body"] == "first"
    assert client.read().status == 100
    assert client.ask(body).json["body"] == "body"


def test_head_is_answered_without_a_body(server: Any) -> None:
    client = server.connect()
    client.send(b"HEAD /echo HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
    answer = client.read(head_only=True)
    assert answer.status == 200
    assert int(answer.headers["content-length"]) > 0
    assert client.read().json["method"] == "GET"


def test_http_1_0_closes_unless_asked_not_to(server: Any) -> None:
    client = server.connect()
    answer = client.ask(b"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert answer.headers["connection"] == "keep-alive"
    answer = client.ask(b"GET /echo HTTP/1.0\r\n\r\n")
    assert answer.status == 200
    assert answer.headers["connection"] == "close"
    assert client.ended()


def test_connection_close_is_obeyed(server: Any) -> None:
    client = server.connect()
    answer = client.ask(b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET)
    assert answer.headers["connection"] == "close"
    assert client.ended()
    assert server.seen == ["/echo"]


def test_a_target_may_be_a_whole_url(server: Any) -> None:
    said = server.connect().ask(b"GET http://b:80/x?y=1 HTTP/1.1\r\nHost: a\r\n\r\n").json
    assert (said["path"], said["query"], said["headers"]["host"]) == ("/x", "y=1", "b:80")
    assert server.connect().ask(b"GET http://b HTTP/1.1\r\nHost: a\r\n\r\n").json["path"] == "/"


@pytest.mark.parametrize("chunked", [False, True])
def test_an_offer_of_another_protocol_is_not_taken(server: Any, chunked: bool) -> None:
    """Java's client offers HTTP/2 with every first request, also with one that has a body."""
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAEAAEAA")
    whole = post(b'{"a":1}', *offer)
    if chunked:
        whole = whole.replace(b"Content-Length: 7", b"Transfer-Encoding: chunked")
        whole = whole.replace(b'{"a":1}', b'7\r\n{"a":1}\r\n0\r\n\r\n')
    client = server.connect()
    client.send(whole + GET.replace(b"\r\n\r\n", b"\r\n" + b"\r\n".join(offer) + b"\r\n\r\n") + GET)
    assert client.read().json["body"] == '{"a":1}'
    assert [client.read().json["method"] for _ in range(2)] == ["GET", "GET"]
    for at in range(len(whole)):
        client.send(whole[at : at + 1])
    assert client.read().json["body"] == '{"a":1}'


@pytest.mark.parametrize("size", [0, 10, 5_000_000])
@pytest.mark.parametrize("encoding", [b"gzip", b"GZIP", b"x-gzip", b"deflate", b"identity"])
def test_packed_bodies_are_unpacked(server: Any, encoding: bytes, size: int) -> None:
    plain = b"[1, 2]" * (size // 6)
    packers: dict[bytes, Callable[[bytes], bytes]] = {b"deflate": zlib.compress, b"identity": bytes}
    packed = packers.get(encoding, gzip.compress)(plain)
    client = server.connect()
    for _ in range(2):
        answer = client.ask(post(packed, b"Content-Encoding: " + encoding))
        assert answer.json["size"] == len(plain)


def test_a_gzip_body_may_be_of_several_members(server: Any) -> None:
    packed = b"".join(gzip.compress(part) for part in (b"[1,", b"", b"2]"))
    answer = server.connect().ask(post(packed, b"Content-Encoding: gzip"))
    assert answer.json["body"] == "[1,2]"


def test_what_the_application_raises_is_an_internal_error(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client = server.connect()
    answer = client.ask(GET.replace(b"/echo", b"/boom"))
    assert (answer.status, answer.error) == (500, "Internal error; the server's log has it")
    assert "RuntimeError: boom" in caplog.text
    assert client.ask(GET).status == 200


def test_a_request_is_answered_once(server: Any, wait_until: Callable[..., None]) -> None:
    client = server.connect().send(GET.replace(b"/echo", b"/hold"))
    wait_until(lambda: server.held)
    held = server.held[0]
    with pytest.raises(ValueError, match="line end"):
        server.call(lambda: held.reply(200, b"", headers=[("X", "a\r\nSet-Cookie: b")]))
    server.call(held.reply, 200, json.dumps([1]).encode())
    with pytest.raises(RuntimeError, match="answered before"):
        server.call(held.reply, 200, b"")
    assert client.read().json == [1]
    assert 0 < held.arrival_s
    assert 1_600_000_000_000_000 < held.arrival_us
    assert held.peer == "127.0.0.1"
