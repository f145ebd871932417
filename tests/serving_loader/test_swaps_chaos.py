"""Fifty swaps under load: no failed request, no memory kept, whatever cannot be loaded refused."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.serving.conftest import LONG_S, Server, Site, saved_models, until  # noqa: F401
from trueup.config.load import load
from trueup.store.engine import writing
from trueup.store.promotion import promote
from trueup.store.registry import Author
from trueup.store.schema import open_store

pytestmark = [pytest.mark.heavy, pytest.mark.chaos]

SWAPS = 50
MOST_GROWTH = 1.1


@pytest.fixture
def served(tmp_path: Path, saved_models: Path) -> Iterator[Site]:  # noqa: F811
    found = Site(tmp_path, saved_models)
    found.configure('[serving]\npoll_interval = "0.1s"\n')
    yield found
    for server in found.servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(LONG_S)


class Load:
    """Clients that ask without a pause, and what they were told: status and version."""

    def __init__(self, server: Server, clients: int) -> None:
        self.told: Counter[tuple[int, int]] = Counter()
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(LONG_S)

    def _ask(self) -> None:
        told: Counter[tuple[int, int]] = Counter()
        with httpx.Client(timeout=LONG_S) as client:
            while not self._stop.is_set():
                answer = client.post(
                    self._server.url + "/v1/models/m:predict",
                    json={"instances": [{"x": 0.0, "name": "a"}]},
                )
                good = answer.status_code == 200
                score = answer.json()["predictions"][0]["score"] if good else 0
                told[answer.status_code, int(score // 1000)] += 1
        self.told.update(told)


def resident_bytes(server: Server) -> int:
    (worker,) = server.workers()
    pages = int(Path(f"/proc/{worker}/statm").read_text().split()[1])
    return pages * 4096


def states(server: Server) -> dict[str, str]:
    told = server.get("/v1/models/m").json()["model_version_status"]
    return {each["version"]: each["state"] for each in told}


def has_swapped(server: Server, version: int) -> bool:
    """Whether it answers, and the other one has left the memory."""
    return server.version() == version and states(server).get(str(3 - version)) == "END"


def test_fifty_swaps_under_load(served: Site) -> None:
    for version in (1, 2, 3):
        served.add(version, *(["--no-promote"] if version > 1 else []))
    damaged = next((served.folder / ".trueup/blobs/models/m/3").rglob("variables.data*"))
    data = damaged.read_bytes()
    damaged.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    server = served.serve_ready()
    engine = open_store(load(served.folder / "trueup.toml").store)

    def move(version: int) -> None:
        author = Author("test", "a swap", datetime.now(timezone.utc))
        with writing(engine) as connection:
            promote(connection, "m", version, author)

    after_fifth = 0
    with Load(server, clients=8) as load_of_clients:
        for swap in range(1, SWAPS + 1):
            if swap % 10 == 0:  # in between, one that cannot be
                move(3)
                until("a refusal", lambda: states(server).get("3") == "END")
            version = 1 + swap % 2
            move(version)
            until(f"swap {swap}", partial(has_swapped, server, version))
            if swap == 5:
                after_fifth = resident_bytes(server)
        after_last = resident_bytes(server)
    engine.dispose()
    statuses = {status for status, _ in load_of_clients.told}
    versions = {version for _, version in load_of_clients.told}
    assert statuses == {200}
    assert versions == {1, 2}
    assert sum(load_of_clients.told.values()) > 20 * SWAPS
    assert after_last <= MOST_GROWTH * after_fifth
    assert server.stop() == 0
    log = server.log.read_text()
    assert log.count("m version 3 is refused, and what is live stays") == 5
    assert "Traceback" not in log
    # All that was answered is in the capture, once.
    served.compact()
    rows = served.captured()
    asked = sum(load_of_clients.told.values())
    answered = [row for row in rows if row["status"] == 200]
    assert len(answered) >= asked
    assert len({json.dumps(row["row_id"]) for row in answered}) == len(answered)
