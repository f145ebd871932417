"""Requests whose clients left give back what they held, also when they waited in a lane."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from trueup.serving.attempt import Attempt, Outcome
from trueup.serving.http_connection import HttpConnection
from trueup.serving.http_message import Request
from trueup.serving.http_state import Limits, ServerState
from trueup.serving.lane import Lane
from trueup.serving.predictor import Predictor

LONG_S = 20.0


def test_bytes_of_a_client_that_left_its_place_in_a_queue_are_given_back() -> None:
    assert asyncio.run(_pending_after()) == 0


async def _pending_after() -> int:
    loop = asyncio.get_running_loop()
    state = ServerState(Limits(), loop)
    ended = asyncio.Event()

    def deliver(outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            outcome.request.reply(outcome.status, outcome.body)
        ended.set()

    def hand_over(outcomes: list[Outcome]) -> None:
        loop.call_soon_threadsafe(deliver, outcomes)

    nothing: Any = None
    predictor = Predictor(nothing, nothing, nothing, hand_over)
    later: list[Any] = []
    lane = Lane(
        "m/1", predictor.run, max_batch_rows=8, max_queue_rows=8,
        wake_later=later.append, left=predictor.leave,
    )  # fmt: skip

    def app(request: Request) -> None:
        instances: Any = SimpleNamespace(rows=1, key="a")
        assert lane.submit(
            Attempt(request, instances, instances.rows, "", "", None, request.arrival_s + LONG_S)
        )

    server = await loop.create_server(lambda: HttpConnection(app, Limits(), state), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    head = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
    client.sendall(head + b"x" * 5000)
    while not later:
        await asyncio.sleep(0)
    assert state.pending >= 5000
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()  # a reset: nobody listens any more
    while state.connections:
        await asyncio.sleep(0)
    later.pop()()  # the lane wakes only now
    await asyncio.wait_for(ended.wait(), LONG_S)
    assert await loop.run_in_executor(None, lane.close, LONG_S)
    server.close()
    pending = state.pending
    state.close()
    return pending
