"""A disk that is really full, under each policy: a small file system of its own as the spool."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.serving.conftest import LONG_S, Server, Site, until
from tests.serving.soak_clients import (
    Load,
    assert_captured_once,
    captured_rows,
    in_thread,
    metric,
    rows_of,
)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

DISK = 6 << 20
FILLING = "x" * 10_000
BLOCK_S = 4.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "trueup-test", str(folder)],
        check=False, capture_output=True,
    ).returncode  # fmt: skip
    if not mounted:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def served_from(site: Site, disk: Path, policy: str) -> Server:
    site.configure(
        f'spool_dir = "{disk}/spool"\n[capture]\nwhen_full = "{policy}"\nmin_free = "16KiB"\n'
        f'block_timeout = "{BLOCK_S:g}s"\nsegment_age = "1s"\n'
    )
    site.add(1)
    return site.serve_ready()


def fill(disk: Path) -> Path:
    """Take all that is left of the disk."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    return path


def compact_until(site: Site, condition: Callable[[], bool]) -> None:
    """Let the compactor make room until that shows; nobody has to tell the server."""

    def shown() -> bool:
        site.compact()
        return condition()

    until("going on by itself", shown)


def compacted(site: Site, disk: Path) -> None:
    spool = disk / "spool"

    def empty() -> bool:
        assert not site.compact()["failed"]
        return not [*spool.glob("*.open"), *spool.glob("*.sealed")]

    until("an empty spool", empty)


def test_reject_answers_503_at_once_and_recovers(site: Site, small_disk: Path) -> None:
    server = served_from(site, small_disk, "reject")
    load = Load(server, filling=FILLING)
    load.more(50, status=503)
    assert metric(server, "trueup_capture_full") == 1
    before = load.statuses[200]
    compact_until(site, lambda: load.statuses[200] > before + 50)
    load.stop()
    assert load.failures == []
    assert load.statuses.keys() == {200, 503}
    compacted(site, small_disk)

    filler = fill(small_disk)  # by others, this time
    refused = server.predict({"x": 0.0, "name": "a"}, **{"X-Request-Id": "refused-0"})
    assert refused.status_code == 503
    assert "the capture has no room" in refused.json()["error"]
    assert str(small_disk) not in refused.text
    assert str(small_disk) in server.log.read_text()
    filler.unlink()
    until("an answer", lambda: server.predict({"x": 0.0, "name": "a"}).status_code == 200)
    assert metric(server, "trueup_capture_rejected_frames_total") > load.statuses[503]
    assert server.stop() == 0
    compacted(site, small_disk)
    assert_captured_once(site, load.names(200))
    assert not captured_rows(site).keys() & {"refused-0", *load.names(503)}


def test_block_waits_for_room(site: Site, small_disk: Path) -> None:
    server = served_from(site, small_disk, "block")
    filler = fill(small_disk)
    began = time.monotonic()
    headers = {"X-Request-Id": "late-0"}
    assert server.predict({"x": 0.0, "name": "a"}, **headers).status_code == 503
    assert time.monotonic() - began >= BLOCK_S

    def ask() -> httpx.Response:
        return server.predict({"x": 0.0, "name": "a"}, **{"X-Request-Id": "patient-0"})

    asked = metric(server, "trueup_predict_requests_total")
    thread, found = in_thread(ask)
    until("the model's answer", lambda: metric(server, "trueup_predict_requests_total") > asked)
    filler.unlink()
    thread.join(LONG_S)
    assert found[0].status_code == 200

    load = Load(server, filling=FILLING)
    until("a full disk", lambda: metric(server, "trueup_capture_full") == 1)
    until("a refusal", lambda: load.statuses[503])
    before = load.statuses[200]
    compact_until(site, lambda: load.statuses[200] > before + 50)
    load.stop()
    assert load.failures == []
    assert load.statuses.keys() == {200, 503}
    assert server.stop() == 0
    compacted(site, small_disk)
    assert_captured_once(site, ["patient-0", *load.names(200)])
    assert not captured_rows(site).keys() & {"late-0", *load.names(503)}


def test_drop_answers_all_and_counts_what_is_missing(site: Site, small_disk: Path) -> None:
    server = served_from(site, small_disk, "drop")

    def frames(which: str = "") -> float:
        return metric(server, f"trueup_capture_{which}frames_total")

    load = Load(server, filling=FILLING)
    until("drops", lambda: frames("dropped_") > 100)
    before = frames()
    compact_until(site, lambda: frames() > before + 50)
    load.stop()
    assert load.failures == []
    assert load.statuses.keys() == {200}
    dropped = frames("dropped_")
    compacted(site, small_disk)

    filler = fill(small_disk)  # by others, this time
    missing = server.predict({"x": 0.0, "name": "a"}, **{"X-Request-Id": "missing-0"})
    assert missing.status_code == 200
    assert frames("dropped_") == dropped + 1
    filler.unlink()
    written = frames()

    def captured_again() -> bool:
        assert server.predict({"x": 0.0, "name": "a"}).status_code == 200
        return frames() > written

    until("captures again", captured_again)
    assert server.stop() == 0
    compacted(site, small_disk)
    seen = captured_rows(site)
    answered = load.names(200)
    assert all(seen[name] in (0, rows_of(name)) for name in answered)
    assert sum(seen[name] > 0 for name in answered) + dropped == len(answered)
    assert "missing-0" not in seen
