"""Everything is killed at random while clients ask: each answered attempt is captured once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.serving.conftest import LONG_S, QUIET, Server, Site, until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

KILLS_OF_WORKERS = 30
KILLS_OF_COMPACTORS = 75
CLIENTS = 4


class Clients:
    """Ask as fast as they are answered, each request under a name of its own."""

    def __init__(self, server: Server) -> None:
        self.answered: list[str] = []
        self.refused: list[str] = []
        self.unanswered = 0
        self.other: Counter[int] = Counter()
        self._url = server.url + "/v1/models/m:predict"
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, client: int) -> None:
        count = 0
        with httpx.Client(timeout=LONG_S) as http:
            while not self._stop.is_set():
                count += 1
                name = f"c{client}-{count}"
                wrong = count % 10 == 0
                rows = [{"x": "wrong" if wrong else float(count), "name": name}] * (1 + count % 3)
                try:
                    answer = http.post(
                        self._url, json={"instances": rows}, headers={"X-Request-Id": name}
                    )
                except httpx.TransportError:
                    self.unanswered += 1
                    time.sleep(0.01)  # a server that is gone is not asked as fast as can be
                    continue
                if answer.status_code == (400 if wrong else 200):
                    (self.refused if wrong else self.answered).append(name)
                else:
                    self.other[answer.status_code] += 1

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(LONG_S)


def compactor(site: Site) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "trueup.cli.main", "compact", "--json"],
        cwd=site.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, **QUIET},
    )  # fmt: skip


def alive(server: Server) -> list[int]:
    """Workers that have loaded their models: killing one that only starts shows nothing."""
    found = []
    for pid in server.workers():
        with suppress(OSError):
            if "lane" in "".join(
                (task / "comm").read_text() for task in Path(f"/proc/{pid}/task").iterdir()
            ) or len(list(Path(f"/proc/{pid}/task").iterdir())) > 6:  # fmt: skip
                found.append(pid)
    return found


def test_kill_minus_nine_loses_and_doubles_nothing(site: Site) -> None:
    chance = random.Random(20130701)
    site.configure('[capture]\nsegment_age = "1s"\n')
    site.add(1)
    server = site.serve_ready("--workers", "2")
    clients = Clients(server)
    killed = Counter[str]()
    compacting = compactor(site)
    due = time.monotonic()
    while killed["worker"] < KILLS_OF_WORKERS or killed["compactor"] < KILLS_OF_COMPACTORS:
        if compacting.poll() is None and chance.random() < 0.5:
            compacting.kill()
            killed["compactor"] += 1
        if compacting.poll() is not None:
            compacting.wait()
            compacting = compactor(site)
        if killed["worker"] < KILLS_OF_WORKERS and time.monotonic() >= due:
            running = alive(server)
            if running:
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(running), signal.SIGKILL)
                    killed["worker"] += 1
                due = time.monotonic() + chance.uniform(0.5, 4.0)
        time.sleep(chance.uniform(0.2, 1.6))
    until("a worker after the last kill", server.ready)
    clients.stop()
    compacting.wait(LONG_S)
    assert server.stop() == 0
    until("an empty spool", lambda: not site.compact()["failed"] and not
          [*site.spool.glob("*.open"), *site.spool.glob("*.sealed")])  # fmt: skip

    rows = site.captured()
    assert len({row["row_id"] for row in rows}) == len(rows)
    seen = Counter(row["request_id"] for row in rows if row["status"] == 200)
    expected = {name: 1 + int(name.partition("-")[2]) % 3 for name in clients.answered}
    lost = {name for name in expected if seen[name] != expected[name]}
    assert not lost, f"{len(lost)} of {len(expected)} answered attempts are not there once"
    refusals = Counter(row["request_id"] for row in rows if row["status"] == 400)
    assert all(refusals[name] for name in clients.refused)
    assert len(clients.answered) > 1000
    assert clients.other.keys() <= {503, 404}  # while models are loaded anew
