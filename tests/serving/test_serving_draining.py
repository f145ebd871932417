"""A version that was swapped out, but still has requests: their clients' time runs on."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from tests.serving.conftest import until
from tests.serving.in_process import LONG_S, Columns, InProcess, doubled, serving
from trueup.serving.fleet import FleetView, ModelView

BODY = b'{"instances": [{"x": 1}]}'


def swap(server: InProcess) -> None:
    """As the loader does it: another version is shown, and the old one takes nothing more."""
    old = server.fleet.served()
    view = ModelView.of([server.version(2)])
    assert view is not None
    server.fleet.show(FleetView({"m": view}, draining=tuple(old)))


def test_requests_of_a_draining_version_are_ended_in_time(tmp_path: Path) -> None:
    running, go_on = threading.Semaphore(0), threading.Event()

    def model(columns: Columns) -> dict[str, Any]:
        running.release()
        assert go_on.wait(LONG_S)
        return doubled(columns)

    statuses: list[int] = []
    with serving(tmp_path, model=model) as server:

        def ask() -> None:
            statuses.append(server.post(BODY).status_code)

        clients = [threading.Thread(target=ask) for _ in range(2)]
        clients[0].start()
        assert running.acquire(timeout=LONG_S)
        clients[1].start()  # waits behind it
        old = server.lanes[0]
        until("it waits", lambda: old.waiting_rows == 1)
        server.on_loop(lambda: swap(server))
        closing = threading.Thread(target=old.close, args=(LONG_S,))
        closing.start()

        def sweep(now_s: float) -> bool:
            held = [each.lane for each in server.fleet.held()]
            server.on_loop(lambda: server.server.end_overdue(held, now_s))
            return old.waiting_rows == 0

        assert server.fleet.served()[0].version == 2
        assert not sweep(time.monotonic())  # in time yet
        assert sweep(time.monotonic() + LONG_S)
        clients[1].join(LONG_S)
        assert statuses == [504]
        go_on.set()
        clients[0].join(LONG_S)
        assert statuses == [504, 200]
        closing.join(LONG_S)
        assert not closing.is_alive()
