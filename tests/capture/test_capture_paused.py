"""Processes that are stopped between writing files and naming them, until these are collected."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.capture.conftest import NOW, Lab, frame
from trueup.frames.segment_files import sealed_path
from trueup.monitor.capture.consolidate import consolidate
from trueup.monitor.capture.forget import Decision, forget
from trueup.monitor.capture.forget_match import Person
from trueup.monitor.capture.labels_join import join_labels
from trueup.monitor.capture.labels_sink import label_sinks
from trueup.monitor.capture.orphans import collect_orphans
from trueup.monitor.capture.parquet_file import PREFIX, blob_name
from trueup.records.capture import Body, FrameKind

GRACE = timedelta(seconds=1)
LATER = NOW + timedelta(hours=3)

START = """
import os, signal, sys
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from trueup.config.load import load
from trueup.errors import ConflictError
from trueup.monitor.capture import orphans
from trueup.store import blobs as blob_module
from trueup.store.engine import writing
from trueup.store.schema import open_store

orphans.GRACE = timedelta(seconds=1)
state = {"files": 0, "stopped": False}
put = blob_module.BlobRoot.put_atomic

def counted(self, name, data):
    state["files"] += 1
    return put(self, name, data)

def stopped(engine):
    if state["files"] and not state["stopped"]:
        state["stopped"] = True
        os.kill(os.getpid(), signal.SIGSTOP)
    return writing(engine)

blob_module.BlobRoot.put_atomic = counted
for name in ("segment_rows", "labels_store", "ingest", "forget", "consolidate", "labels_send"):
    import_module("trueup.monitor.capture." + name).writing = stopped
settings = load(Path(sys.argv[1]))
engine, blobs = open_store(settings.store), blob_module.BlobRoot(settings.blob_root)
now = datetime.fromisoformat(sys.argv[2])
folder = Path(sys.argv[3])
"""
WORK = {
    "compaction": """
from trueup.monitor.capture.compact import compact_once
report = compact_once(settings, engine, blobs, now, most=1)
assert report.failed and not report.compacted, report
""",
    "consolidation": """
from trueup.monitor.capture.consolidate import consolidate
report = consolidate(settings, engine, blobs, "flights", now)
assert (report.replaced, report.changed) == (0, 1), report
""",
    "join": """
from trueup.monitor.capture.labels_join import join_labels
report = join_labels(engine, blobs, "flights", now=now, retention=timedelta(days=90))
assert report.labelled == 1, report  # it has begun anew by itself
""",
    "forget": """
from trueup.monitor.capture.forget import Decision, forget
from trueup.monitor.capture.forget_match import Person
who = Person({"who": "p3"}, {"who": "p3"})
report = forget(settings, engine, blobs, "flights", who, Decision("t", "r", b"k"), now=now)
assert report.rows == 1, report  # likewise
""",
    "ingest": """
from trueup.cli.main import main
assert main(["ingest", "flights", str(folder / "rows.jsonl"), "--config", sys.argv[1]]) != 0
""",
    "labels": """
from trueup.cli.main import main
assert main(["labels", "flights", str(folder / "labels.jsonl"), "--config", sys.argv[1]]) != 0
""",
}


def fill(lab: Lab) -> str:
    from trueup.records.input_spec import InputSpec, Variable

    lab.declare(
        InputSpec(
            variables=(
                Variable(name="x", dtype="float64", kind="numeric"),
                Variable(name="who", dtype="string", kind="categorical"),
            )
        )
    )
    segment = ""
    for number in range(20):
        segment = lab.segment(
            [frame([{"who": f"p{number}", "x": 1.0}, {"who": "all", "x": 2.0}])]
        )  # fmt: skip
    return segment


def again(lab: Lab, work: str, config: Path) -> None:
    """What the process should have done, done by one that is not stopped."""
    from trueup.cli.main import main

    if work == "compaction":
        assert lab.compact().compacted == 20
    elif work == "consolidation":
        merged = consolidate(lab.settings, lab.engine, lab.blobs, "flights", LATER)
        assert merged.replaced == 20
    elif work == "join":
        found = join_labels(
            lab.engine, lab.blobs, "flights", now=LATER, retention=timedelta(days=90)
        )
        assert found.labelled == 0
    elif work == "forget":
        who = Person({"who": "p3"}, {"who": "p3"})
        report = forget(
            lab.settings, lab.engine, lab.blobs, "flights", who, Decision("t", "r", b"k"), now=LATER
        )
        assert report.nothing
    else:
        named = "rows" if work == "ingest" else "labels"
        file = str(lab.folder / f"{named}.jsonl")
        assert main([work, "flights", file, "--config", str(config)]) == 0


@pytest.mark.heavy
@pytest.mark.parametrize("work", WORK)
def test_files_that_were_collected_meanwhile_are_not_named(any_lab: Lab, work: str) -> None:
    lab = any_lab
    segment = fill(lab)
    if work != "compaction":
        lab.compact()
    if work == "join":
        said = b'[{"id":"%s-0-1","label":1}]' % segment.encode()
        lab.segment([frame(said, kind=FrameKind.LABELS, body=Body.ROWS, rows=1)])
        lab.compact(labels=label_sinks(lab.settings, lab.engine, lab.blobs))
    (lab.folder / "rows.jsonl").write_text('{"x": 5.0, "who": "new"}\n' * 3)
    (lab.folder / "labels.jsonl").write_text(f'{{"id": "{segment}-0-1", "label": 1}}\n')
    before = named(lab)
    config = lab.folder / "trueup.toml"
    config.write_text(
        f'blob_root = "{lab.settings.blob_root}"\nspool_dir = "{lab.settings.spool_dir}"\n'
        f'[store]\nurl = "{lab.settings.store.url.get_secret_value()}"\n'
    )
    child = subprocess.Popen(
        [sys.executable, "-c", START + WORK[work], str(config), LATER.isoformat(), str(lab.folder)],
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), child.stderr and child.stderr.read()
        assert set(lab.blobs.list(PREFIX)) > before == named(lab)
        deadline = time.monotonic() + 30
        while set(lab.blobs.list(PREFIX)) != before:
            assert time.monotonic() < deadline
            collect_orphans(lab.engine, lab.blobs, datetime.now(timezone.utc), grace=GRACE)
            time.sleep(0.05)
        os.kill(child.pid, signal.SIGCONT)
        _, said = child.communicate(timeout=60)
        assert child.returncode == 0, said.decode()
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
    assert named(lab) == set(lab.blobs.list(PREFIX))
    again(lab, work, config)
    assert named(lab) == set(lab.blobs.list(PREFIX))
    rows = lab.rows().num_rows
    assert rows == {"forget": 39, "ingest": 43}.get(work, 40)
    assert not list(sealed_path(lab.settings.spool_dir, "0").parent.glob("*.sealed"))


def named(lab: Lab) -> set[str]:
    """Files of the manifest."""
    return {blob_name(lab.blobs, entry.uri) for entry in lab.manifest()}
