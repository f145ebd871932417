"""Bodies that are much too large, packed or not, against a real server: its memory is bounded, and
others are answered."""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving.conftest import Server, Site
from tests.serving.soak_clients import (
    Load,
    ask,
    assert_captured_once,
    compact_all,
    connect,
    metric,
)
from tests.serving.test_serve_soak_clients import large_chunked, large_declared

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

MAX_BODY = 16 << 20
MAX_PENDING = 64 << 20
BOMB = 200 << 20
#: By what is refused: what may wait, what is being unpacked, and some pieces while they are read.
MOST_MORE = MAX_PENDING + 2 * MAX_BODY + (160 << 20)
#: By what is answered: documents, tensors, answers and frames besides.
MOST_ANSWERED = 10 * MAX_PENDING
AT_ONCE = 12


def highest(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def packed(encoding: str, body: bytes) -> tuple[bytes, dict[str, str]]:
    pack: Callable[[bytes], bytes] = gzip.compress if encoding == "gzip" else zlib.compress
    return pack(body), {"Content-Encoding": encoding}


def many(server: Server, body: bytes, headers: dict[str, str]) -> Counter[int]:
    """The statuses of as many clients at once."""
    found: list[int] = []

    def client() -> None:
        connection = connect(server.url)
        try:
            found.append(ask(connection, body, headers=headers).status)
        except ConnectionError:  # cut off while it still sent
            found.append(0)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(found) == AT_ONCE
    return Counter(found)


def test_large_bodies_are_refused_in_bounded_memory(site: Site) -> None:
    site.configure(
        f"[serving]\nmax_body = {MAX_BODY}\nmax_pending = {MAX_PENDING}\n"
        "[models.m.variables.x]\noptional = true\n[models.m.variables.name]\noptional = true\n"
    )
    site.add(1)
    server = site.serve_ready()
    (worker,) = server.workers()
    load = Load(server, clients=1)
    load.more(50)
    before = highest(worker)

    assert large_declared(server) in (413, 0)  # 0: it was cut off while it still sent
    assert large_chunked(server) in (413, 0)
    for encoding in ("gzip", "deflate"):
        bomb, headers = packed(encoding, bytes(BOMB))
        assert many(server, bomb, headers) == {413: AT_ONCE}
    load.more(20)
    # Within the limit of bytes, but of five million rows.
    rows = b'{"instances": [%b]}' % b",".join([b"{}"] * (MAX_BODY // 3 - 10))
    assert many(server, rows, {}).keys() <= {413, 503, 0}
    assert 413 in many(server, *packed("gzip", rows))
    refused = highest(worker)
    assert refused - before < MOST_MORE, f"{before >> 20} MiB became {refused >> 20}"
    # Large, and right; many of them at once are more than may wait.
    fine = json.dumps({"instances": [{"x": 1.0, "name": "n" * 300}] * 40_000}).encode()
    assert len(fine) < MAX_BODY
    statuses = many(server, *packed("gzip", fine))
    assert statuses.keys() <= {200, 503}
    assert statuses[200]
    load.more(50, status=200)
    load.stop()

    after = highest(worker)
    assert after - before < MOST_ANSWERED, f"{before >> 20} MiB became {after >> 20}"
    assert load.failures == []
    assert load.statuses.keys() <= {200, 503}
    assert metric(server, "trueup_pending_bytes") < 10_000
    assert server.workers() == [worker]
    assert "Traceback" not in server.log.read_text()
    assert server.stop() == 0
    compact_all(site)
    assert_captured_once(site, load.names(200))
