"""SIGTERM in the middle of everything: what came in is answered, and the capture is sealed."""

from __future__ import annotations

import signal

import pytest

from tests.serving.conftest import LONG_S, Site
from tests.serving.soak_clients import Load, assert_captured_once, compact_all

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_under_load_answers_what_came_in_and_seals(site: Site, workers: str) -> None:
    site.add(1)
    server = site.serve_ready("--workers", workers)
    keeping = Load(server, clients=4, prefix="k")
    coming = Load(server, clients=2, anew=True, prefix="n")
    keeping.more(200)
    coming.more(100)
    server.process.send_signal(signal.SIGTERM)
    keeping.join()  # each client ends when it is refused a connection
    coming.join()
    assert server.process.wait(LONG_S) == 0

    assert keeping.failures + coming.failures == []
    assert keeping.statuses.keys() | coming.statuses.keys() == {200}
    assert not list(site.spool.glob("*.open"))
    assert list(site.spool.glob("*.sealed"))
    compact_all(site)
    assert_captured_once(site, keeping.names(200) + coming.names(200))
