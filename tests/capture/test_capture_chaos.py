"""Compactors killed at random moments, several at a time, over many segments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.capture.conftest import Lab
from tests.capture.test_capture_windows import HOUR, check_windows, some_frames
from trueup.monitor.capture.orphans import collect_orphans
from trueup.monitor.capture.parquet_file import PREFIX, blob_name
from trueup.records.keys import WindowKey
from trueup.store.engine import reading
from trueup.store.tables import segments

SEGMENTS, FRAMES, SECONDS = 60, 150, 60.0
MOST_KILLS = 40

# What the command does, again and again, without the time that it takes to start.
CHILD = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from trueup.config.load import load
from trueup.monitor.capture.compact import compact_once
from trueup.store.blobs import BlobRoot
from trueup.store.schema import open_store
settings = load(Path(sys.argv[1]))
engine, blobs = open_store(settings.store), BlobRoot(settings.blob_root)
now = datetime.fromisoformat(sys.argv[2])
print("ready", flush=True)
while True:
    compact_once(settings, engine, blobs, now, most=2)
"""


def start(lab: Lab) -> subprocess.Popen[bytes]:
    config = lab.folder / "trueup.toml"
    url = lab.settings.store.url.get_secret_value()
    config.write_text(
        f'blob_root = "{lab.settings.blob_root}"\nspool_dir = "{lab.settings.spool_dir}"\n'
        f'[store]\nurl = "{url}"\n'
    )
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(config), lab.now.isoformat()],
        stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def kill(child: subprocess.Popen[bytes]) -> None:
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


@pytest.mark.chaos
def test_killed_at_random_every_row_is_there_once(any_lab: Lab, trained: Any) -> None:
    lab, rng = any_lab, random.Random(11)
    edges = trained.profile.edges
    lab.declare(edges.spec)
    lab.baseline(edges, trained.profile)
    expected: set[tuple[str, int, int]] = set()
    for _ in range(SEGMENTS):
        frames = some_frames(rng, FRAMES)
        segment = lab.segment(frames)
        expected |= {
            (segment, number, row) for number, each in enumerate(frames) for row in range(each.rows)
        }
    deadline, kills = time.monotonic() + SECONDS, 0
    while (
        time.monotonic() < deadline and kills < MOST_KILLS and any(lab.settings.spool_dir.iterdir())
    ):
        children = [start(lab) for _ in range(2)]
        for child in children:
            assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        with suppress(subprocess.TimeoutExpired):  # the moment of death is what is random here
            children[0].wait(timeout=rng.uniform(0.0, 0.25))
        for child in children:
            kill(child)
            kills += 1
    assert kills >= 10

    report = lab.compact()
    assert not report.failed and not list(lab.settings.spool_dir.iterdir())
    rows = lab.rows()
    found = list(
        zip(*(rows.column(name).to_pylist() for name in ("segment", "frame", "row")), strict=True)
    )
    assert len(found) == len(expected) and set(found) == expected
    with reading(lab.engine) as connection:
        done = connection.scalar(
            select(func.count()).select_from(segments).where(segments.c.state == "compacted")
        )
    assert done == SEGMENTS
    first = WindowKey.containing(lab.now - timedelta(hours=6), HOUR).start
    check_windows(lab, edges, [first + number * HOUR for number in range(8)])

    later = datetime.now(timezone.utc) + timedelta(days=2)
    collect_orphans(lab.engine, lab.blobs, later)
    named = {blob_name(lab.blobs, entry.uri) for entry in lab.manifest()}
    assert set(lab.blobs.stale(PREFIX, later)) == named  # nor anything unfinished
