"""Joining and erasing, killed at random moments: everything is there once, or not at all."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from trueup.monitor.capture.forget import Decision, forget
from trueup.monitor.capture.forget_match import person
from trueup.monitor.capture.ingest import policies_of
from trueup.monitor.capture.orphans import collect_orphans
from trueup.monitor.capture.parquet_file import PREFIX, blob_name
from trueup.monitor.capture.read import read_capture
from trueup.store.capture_key import capture_key
from trueup.store.engine import reading
from trueup.store.tables import manifest

NOON = datetime(2024, 3, 5, 12, tzinfo=timezone.utc)
SECONDS, KILLS = 70.0, 50

START = """
import sys
from datetime import datetime, timedelta
from pathlib import Path
from trueup.config.load import load
from trueup.errors import ConflictError
from trueup.monitor.capture.compact import compact_once
from trueup.monitor.capture.forget import Decision, forget
from trueup.monitor.capture.forget_match import person
from trueup.monitor.capture.ingest import policies_of
from trueup.monitor.capture.labels_join import join_labels
from trueup.monitor.capture.labels_sink import label_sinks
from trueup.store.blobs import BlobRoot
from trueup.store.schema import open_store
settings = load(Path(sys.argv[1]))
engine, blobs = open_store(settings.store), BlobRoot(settings.blob_root)
now = datetime.fromisoformat(sys.argv[2])
print("ready", flush=True)
while True:
    try:
"""
JOIN = """
        sinks = label_sinks(settings, engine, blobs)
        compact_once(settings, engine, blobs, now, labels=sinks, most=1)
        join_labels(engine, blobs, "shop", now=now, retention=timedelta(days=90))
    except ConflictError:
        pass
"""
FORGET = """
        for order in range(0, 40, 4):
            theirs = person({"order": str(order)}, (), policies_of(settings, engine, "shop", None))
            forget(settings, engine, blobs, "shop", theirs, Decision("t", "r", b"k"), now=now)
    except ConflictError:
        pass
"""


def start(world: Any, folder: Path, work: str) -> subprocess.Popen[bytes]:
    config = folder / "trueup.toml"
    url = world.settings.store.url.get_secret_value()
    config.write_text(
        f'blob_root = "{world.settings.blob_root}"\nspool_dir = "{world.spool}"\n'
        f'[store]\nurl = "{url}"\n'
    )
    return subprocess.Popen(
        [sys.executable, "-c", START + work, str(config), NOON.isoformat()],
        stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def killed_again_and_again(world: Any, folder: Path, work: str, feed: Any) -> int:
    """Two processes at a time, killed at random; ``feed`` is called between. How many were."""
    rng, deadline, kills = random.Random(5), time.monotonic() + SECONDS, 0
    while time.monotonic() < deadline and kills < KILLS:
        feed(kills)
        children = [start(world, folder, work) for _ in range(2)]
        for child in children:
            assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        with suppress(subprocess.TimeoutExpired):  # the moment of death is what is random here
            children[0].wait(timeout=rng.uniform(0.0, 0.4))
        for child in children:
            assert child.poll() is None, "it must not have failed by itself"
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            assert child.stdout is not None
            child.stdout.close()
            kills += 1
    return kills


def only_named_files_are_left(world: Any) -> None:
    later = datetime.now(timezone.utc) + timedelta(days=2)
    collect_orphans(world.engine, world.blobs, later)
    with reading(world.engine) as connection:
        uris = connection.scalars(select(manifest.c.uri)).all()
    named = {blob_name(world.blobs, uri) for uri in uris}
    assert set(world.blobs.stale(PREFIX, later)) == named


@pytest.mark.chaos
def test_killed_while_joining_every_label_is_with_its_rows(any_world: Any, tmp_path: Path) -> None:
    world, rng = any_world, random.Random(3)
    expected: dict[str, int | None] = {}
    pending: list[Any] = []

    def feed(kills: int) -> None:
        """A segment of rows, and one of labels of earlier, these or later rows."""
        name = f"visit{kills}"
        order = kills + 1000
        segment = world.segment([world.served([{"order": order, "price": 1.0}] * 5, name)])
        items = []
        for row in range(5):
            label = rng.randrange(100)
            kind = rng.randrange(3)
            if kind == 0:
                items.append({"id": f"{name}/{row}", "label": label})
            elif kind == 1:
                items.append({"id": f"{segment}-0-{row}", "label": label})
            expected[f"{segment}-0-{row}"] = label if kind < 2 else None
        single = world.segment([world.served([{"order": -order, "price": 1.0}])])
        items.append({"key": {"order": -order}, "label": 7})
        expected[f"{single}-0-0"] = 7
        pending.append(items)
        rng.shuffle(pending)
        if len(pending) > 3:
            world.segment([world.labels(pending.pop())])

    kills = killed_again_and_again(world, tmp_path, JOIN, feed)
    assert kills >= 10
    for items in pending:
        world.segment([world.labels(items)])
    world.compact()
    world.join()
    found = world.labelled(list(expected))
    got = dict(zip(expected, (row["label.bought"] for row in found), strict=True))
    assert got == expected
    assert world.join().waiting == 0
    only_named_files_are_left(world)


@pytest.mark.chaos
def test_killed_while_erasing_others_rows_are_there_once(any_world: Any, tmp_path: Path) -> None:
    world = any_world
    rows = 0

    def feed(kills: int) -> None:
        """More rows of everybody, and their labels."""
        nonlocal rows
        orders = [{"order": n, "price": float(rows + n)} for n in range(40)]
        world.segment([world.served(orders, f"visit{kills}")])
        world.segment([world.labels([{"id": f"visit{kills}/{n}", "label": n} for n in range(40)])])
        world.compact()
        world.join()
        rows += 40

    kills = killed_again_and_again(world, tmp_path, FORGET, feed)
    assert kills >= 10
    decision = Decision("t", "r", capture_key(world.engine, "shop"))
    for order in range(0, 40, 4):
        theirs = person(
            {"order": str(order)}, (), policies_of(world.settings, world.engine, "shop", None)
        )
        forget(world.settings, world.engine, world.blobs, "shop", theirs, decision, now=NOON)
    captured = read_capture(world.engine, world.blobs, "shop")
    left = [row for batch in captured.batches() for row in batch.to_pylist()]
    prices = sorted(row["in.price"] for row in left)
    assert prices == [float(n) for n in range(rows) if n % 40 % 4]
    labels = [row["label.bought"] for row in world.labelled([row["row_id"] for row in left])]
    assert labels == [row["in.order"] for row in left]
    with reading(world.engine) as connection:
        uris = connection.scalars(select(manifest.c.uri).where(manifest.c.kind == "labels")).all()
    said = {label for uri in uris for label in pq.read_table(uri).column("label").to_pylist()}
    assert said == {f'{{"bought":{n}}}' for n in range(40) if n % 4}
    only_named_files_are_left(world)
