"""Large bodies are read beside the event loop: others are answered meanwhile, and nothing of what
holds for small ones is lost on the way."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import orjson
import pytest

from tests.serving.conftest import until
from tests.serving.in_process import LONG_S, Columns, InProcess, serving
from trueup.records.capture import Body, FrameKind
from trueup.serving.large_bodies import LARGE, LargeBodies

ROWS = 20_000


def large(rows: int = ROWS, **more: Any) -> bytes:
    body = orjson.dumps({"instances": [{"x": n, "name": f"n{n:09}"} for n in range(rows)], **more})
    assert len(body) > LARGE
    return body


class Gate:
    """Stops the thread that reads large bodies, before it reads one."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        read = LargeBodies.read

        def gated(*arguments: Any) -> Any:
            self.entered.release()
            assert self.open.wait(LONG_S)
            return read(*arguments)

        patch.setattr(LargeBodies, "read", gated)

    def wait(self) -> None:
        assert self.entered.acquire(timeout=LONG_S)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    found = Gate(monkeypatch)
    yield found
    found.open.set()


def in_background(call: Callable[[], Any]) -> Callable[[], Any]:
    """Starts it; the result waits for its end."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()

    def result() -> Any:
        thread.join(LONG_S)
        assert found, "no answer"
        return found[0]

    return result


def test_others_are_answered_while_a_large_body_is_read(tmp_path: Path, gate: Gate) -> None:
    with serving(tmp_path) as server:
        answer = in_background(lambda: server.post(large(), **{"X-Request-Id": "big"}))
        gate.wait()
        assert server.post(b'{"instances": [{"x": 1}]}').json() == {"predictions": [2.0]}
        assert server.state.pending >= LARGE
        gate.open.set()
        found = answer()
        assert found.status_code == 200
        assert found.headers["X-Request-Id"] == "big"
        assert found.json()["predictions"] == [2.0 * n for n in range(ROWS)]
        assert server.state.pending == 0
    frames = {frame.request_id: frame for frame in server.captured()}
    assert frames["big"].rows == ROWS
    assert frames["big"].request == large()


def test_pipelined_requests_keep_their_order(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        where = urlsplit(server.url)
        with socket.create_connection((where.hostname, where.port), timeout=LONG_S) as client:
            sent = b""
            for body in (large(), b'{"instances": [{"x": 7}]}', large(ROWS + 1)):
                sent += b"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\n"
                sent += b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            threading.Thread(target=client.sendall, args=(sent,), daemon=True).start()
            stream = client.makefile("rb")
            counts = []
            for _ in range(3):
                size = 0
                while line := stream.readline().strip():
                    if line.startswith(b"Content-Length: "):
                        size = int(line.split()[1])
                counts.append(len(orjson.loads(stream.read(size))["predictions"]))
    assert counts == [ROWS, 1, ROWS + 1]


def test_refusals_are_told_and_written_down(tmp_path: Path) -> None:
    cases: dict[str, tuple[bytes, int, str, Body]] = {
        "syntax": (large()[:-1] + b"x", 400, "JSON Parse error", Body.OMITTED),
        "signature": (large(signature_name="none"), 400, "none", Body.PREDICT),
        "value": (large().replace(b'"x":7,', b'"x":"seven",'), 400, "x", Body.PREDICT),
        "rows": (large(ROWS + 2), 413, f"{ROWS + 2} rows, and {ROWS + 1}", Body.OMITTED),
    }
    with serving(tmp_path, max_rows=ROWS + 1) as server:
        for name, (body, status, words, _) in cases.items():
            answer = server.post(body, **{"X-Request-Id": name})
            assert (answer.status_code, words in answer.json()["error"]) == (status, True), name
        answer = server.post(large(), path="/v1/models/other:predict")
        assert (answer.status_code, "Latest(other)" in answer.text) == (404, True)
        assert server.state.pending == 0
    frames = {frame.request_id: frame for frame in server.captured()}
    assert frames.keys() == cases.keys()
    for name, (body, status, _, kept) in cases.items():
        frame = frames[name]
        assert (frame.kind, frame.status, frame.body) == (FrameKind.REFUSED, status, kept), name
        assert frame.request_bytes == len(body)


def test_a_version_that_is_swapped_meanwhile_answers_with_its_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, swapped = threading.Semaphore(0), threading.Event()
    read = LargeBodies.read

    def late(*arguments: Any) -> Any:
        found = read(*arguments)
        entered.release()
        assert swapped.wait(LONG_S)
        return found

    monkeypatch.setattr(LargeBodies, "read", late)
    with serving(tmp_path) as server:
        answer = in_background(lambda: server.post(large()))
        assert entered.acquire(timeout=LONG_S)
        server.on_loop(lambda: server.show(server.version(2)))
        assert server.lanes[0].close(LONG_S)  # as the loader does it
        swapped.set()
        assert answer().status_code == 200
    (frame,) = server.captured()
    assert frame.version == 2


def test_a_client_that_left_costs_no_reading_and_gives_its_bytes_back(
    tmp_path: Path, gate: Gate
) -> None:
    calls: list[int] = []

    def model(columns: Columns) -> dict[str, Any]:
        calls.append(len(columns["x"]))
        return {"y": np.zeros(len(columns["x"]), np.float32)}

    with serving(tmp_path, model=model) as server:
        body = large()
        where = urlsplit(server.url)
        client = socket.create_connection((where.hostname, where.port), timeout=LONG_S)
        head = (
            b"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        )
        client.sendall(head % len(body) + body)
        gate.wait()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        until("it is seen", lambda: not server.state.connections)
        assert server.state.pending >= len(body)
        gate.open.set()
        until("its bytes come back", lambda: server.state.pending == 0)
        assert calls == []


def test_one_that_waited_too_long_is_told_so(tmp_path: Path, gate: Gate) -> None:
    with serving(tmp_path, timeout_s=0.01) as server:
        first = in_background(lambda: server.post(large(), **{"X-Request-Id": "late"}))
        gate.wait()
        end = time.monotonic() + 0.02
        until("the time-out has passed", lambda: time.monotonic() > end)
        gate.open.set()
        answer = first()
        assert (answer.status_code, "no answer within" in answer.text) == (504, True)
    (frame,) = server.captured()
    assert (frame.status, frame.request_id) == (504, "late")


def test_what_is_being_read_is_answered_before_a_server_ends(tmp_path: Path, gate: Gate) -> None:
    answer: Callable[[], Any] = dict

    def ended(server: InProcess) -> bool:
        until("it drains", lambda: server.state.draining)
        gate.open.set()
        return True

    with serving(tmp_path) as server:
        answer = in_background(lambda: server.post(large()))
        gate.wait()
        ending = in_background(lambda: ended(server))
    assert ending()
    found: httpx.Response = answer()
    assert (found.status_code, found.headers["Connection"]) == (200, "close")


def test_a_failure_that_nobody_expects_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(LargeBodies, "read", failing)
    with serving(tmp_path) as server:
        assert server.post(large()).status_code == 500
        assert server.post(b'{"instances": [{"x": 1}]}').status_code == 200
        assert server.state.pending == 0
