"""Who reads the capture while others erase, drop and put together reads on."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.capture.conftest import NOW, Lab, frame, us
from trueup.errors import StoreError
from trueup.monitor.capture.consolidate import consolidate
from trueup.monitor.capture.orphans import GRACE
from trueup.monitor.capture.read import read_capture
from trueup.monitor.capture.retention import retention
from trueup.store.blobs import BlobRoot

DAY = timedelta(days=1)
PEOPLE, DAYS, PER_DAY, SECONDS = 40, 10, 24, 25.0

START = """
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from trueup.config.load import load
from trueup.errors import ConflictError
from trueup.store.blobs import BlobRoot
from trueup.store.schema import open_store
settings = load(Path(sys.argv[1]))
engine, blobs = open_store(settings.store), BlobRoot(settings.blob_root)
now = datetime.fromisoformat(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
"""
WORK = {
    "forget": """
from trueup.monitor.capture.forget import Decision, forget
from trueup.monitor.capture.forget_match import Person
for number in range(0, 40, 2):
    who = Person({"who": f"p{number}"}, {"who": f"p{number}"})
    try:
        forget(settings, engine, blobs, "flights", who, Decision("t", "r", b"k"), now=now)
    except ConflictError:
        pass
""",
    "consolidate": """
from trueup.monitor.capture.consolidate import consolidate
for number in range(40):
    consolidate(settings, engine, blobs, "flights", now + timedelta(hours=3 * number), most=16)
""",
    "retention": """
from trueup.monitor.capture.retention import retention
for number in range(0, 4 * 24, 2):
    retention(settings, engine, blobs, now + timedelta(days=80, hours=number))
""",
}


def start(lab: Lab, work: str) -> subprocess.Popen[bytes]:
    config = lab.folder / "trueup.toml"
    url = lab.settings.store.url.get_secret_value()
    config.write_text(
        f'blob_root = "{lab.settings.blob_root}"\nspool_dir = "{lab.settings.spool_dir}"\n'
        f'[store]\nurl = "{url}"\n'
    )
    return subprocess.Popen(
        [sys.executable, "-c", START + WORK[work], str(config), NOW.isoformat()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def fill(lab: Lab) -> None:
    for day in range(DAYS):
        for part in range(PER_DAY):
            at = NOW - day * DAY - timedelta(minutes=part)
            rows = [{"who": f"p{number}", "x": 1.0} for number in range(part % 4, PEOPLE, 4)]
            lab.segment([frame(rows, event_us=us(at))])
    lab.compact()


@pytest.mark.chaos
@pytest.mark.parametrize("memory", [False, True], ids=["disk", "slow"])
def test_reading_goes_on(any_lab: Lab, memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that nobody erases and that are young enough are read each time, each once."""
    lab = any_lab
    fill(lab)
    kept_days = [NOW - day * DAY for day in range(3)]
    sure = {
        (day, f"p{number}") for day in range(3) for number in range(1, PEOPLE, 2)
    }  # fmt: skip
    if memory:  # as with an object store: a file that is open does not stay
        monkeypatch.setattr(BlobRoot, "is_local", property(lambda self: False))
    children = [start(lab, work) for work in WORK]
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
    deadline, reads = time.monotonic() + SECONDS, 0
    while time.monotonic() < deadline:
        running = any(child.poll() is None for child in children)
        found = read_capture(lab.engine, lab.blobs, "flights")
        seen: list[str] = []
        there: set[tuple[int, str]] = set()
        for batch in found.batches():
            table = batch.to_pylist()
            seen += [row["row_id"] for row in table]
            for row in table:
                for day, at in enumerate(kept_days):
                    if at - timedelta(hours=1) < row["event_time"] <= at:
                        there.add((day, row["in.who"]))
        assert len(seen) == len(set(seen))
        assert sure <= there
        reads += 1
        if not running:
            break
    for child in children:
        assert child.wait(60) == 0
        assert child.stdout is not None and child.stdin is not None
        child.stdout.close()
        child.stdin.close()
    assert reads >= 3
    left = lab.rows()
    assert set(left.column("in.who").to_pylist()) == {f"p{n}" for n in range(1, PEOPLE, 2)}


def test_a_day_is_read_from_its_own_files(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(lab)
    opened: list[str] = []
    real = BlobRoot.reading

    def noted(self: BlobRoot, name: str) -> Any:
        opened.append(name)
        return real(self, name)

    monkeypatch.setattr(BlobRoot, "reading", noted)
    found = read_capture(lab.engine, lab.blobs, "flights", NOW - 4 * DAY - DAY / 2, NOW - 3.5 * DAY)
    assert sum(batch.num_rows for batch in found.batches()) == PER_DAY * PEOPLE // 4
    assert len(opened) == found.files == PER_DAY


def test_rows_past_their_time_are_left_out(lab: Lab) -> None:
    for day in (80, 1):
        lab.segment([frame([{"x": 1.0}], event_us=us(NOW - day * DAY))])
    lab.compact()
    found = read_capture(lab.engine, lab.blobs, "flights")
    retention(lab.settings, lab.engine, lab.blobs, NOW + 20 * DAY)
    assert sum(batch.num_rows for batch in found.batches()) == 1


def test_a_file_that_should_be_there_is_a_failure(lab: Lab) -> None:
    lab.segment([frame([{"x": 1.0}])])
    lab.compact()
    (entry,) = lab.manifest()
    Path(entry.uri).unlink()
    with pytest.raises(StoreError, match="in the manifest"):
        list(read_capture(lab.engine, lab.blobs, "flights").batches())


def test_who_reads_for_more_than_a_day_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from trueup.monitor.capture.consolidate import drop_retired

    for minute in range(20):
        lab.segment([frame([{"x": float(minute)}])])
    lab.compact()
    found = read_capture(lab.engine, lab.blobs, "flights")
    consolidate(lab.settings, lab.engine, lab.blobs, "flights", NOW + DAY / 8)
    drop_retired(lab.engine, lab.blobs, NOW + 3 * DAY)
    old = replace(found._moved, looked_at=found._moved.looked_at - GRACE - timedelta(minutes=1))
    with pytest.raises(StoreError, match="read again"):
        list(replace(found, _moved=old).batches())
