"""Imports that were killed are given up, and never those that go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select

from tests.registry.conftest import AUTHOR
from trueup.errors import ConflictError
from trueup.store import unfinished_imports as module
from trueup.store.artifacts import publish
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading, writing
from trueup.store.registry import ensure_model, mark_ready, register_version
from trueup.store.tables import baselines, versions
from trueup.store.unfinished_imports import (
    IMPORTER,
    GivenUp,
    give_up_unfinished,
    heard_of,
    importer,
)
from trueup.store.updates import try_update

NOW = datetime.now(timezone.utc)
DAY = timedelta(days=1)
LATER = NOW + 2 * DAY


def staged(engine: Engine, **process: Any) -> int:
    """A version whose import was begun; by default by a process that is dead."""
    details = importer()
    details[IMPORTER] |= {"pid": 1 << 30, **process}
    with writing(engine) as connection:
        ensure_model(connection, "flights", AUTHOR)
        return register_version(connection, "flights", AUTHOR, details=details)


def row(engine: Engine, version: int) -> Any:
    with reading(engine) as connection:
        return connection.execute(select(versions).where(versions.c.version == version)).one()


def with_files(blobs: BlobRoot, tmp_path: Path, version: int) -> None:
    """What an import leaves that is killed late: an artifact, a baseline, and something half."""
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    publish(blobs, folder, "flights", version)
    blobs.put_atomic(f"models/flights/{version}/{'0' * 32}/files/.unfinished-1", b"x")
    blobs.put_atomic(f"baselines/flights/{version:032x}.profile", b"x")


def everything(blobs: BlobRoot) -> set[str]:
    return {
        path.relative_to(blobs.url).as_posix()
        for path in Path(blobs.url).rglob("*")
        if path.is_file()
    }  # fmt: skip


def test_a_killed_import_is_given_up(engine: Engine, blobs: BlobRoot, tmp_path: Path) -> None:
    version = staged(engine)
    with_files(blobs, tmp_path, version)
    assert give_up_unfinished(engine, blobs, NOW + DAY / 2) == []
    assert row(engine, version).state == "staged" and len(everything(blobs)) == 4
    assert give_up_unfinished(engine, blobs, LATER) == [GivenUp("flights", version, 3)]
    assert row(engine, version).state == "failed" and everything(blobs) == set()
    assert give_up_unfinished(engine, blobs, LATER) == []
    with pytest.raises(ConflictError), writing(engine) as connection:
        mark_ready(connection, "flights", version, artifact_uri="x", manifest_sha256="", details={})


def test_versions_that_are_ready_keep_their_files(
    engine: Engine, blobs: BlobRoot, tmp_path: Path
) -> None:
    for version in (staged(engine), staged(engine)):
        with_files(blobs, tmp_path, version)
    with writing(engine) as connection:
        mark_ready(connection, "flights", 1, artifact_uri="x", manifest_sha256="", details={})
        connection.execute(
            insert(baselines).values(
                id="b", model="flights", version=1, created_at=NOW, created_by="a", reason="",
                edges_id="e", profile_uri=f"elsewhere/baselines/flights/{1:032x}.profile",
                profile_sha256="", input_spec={}, details={},
            )
        )  # fmt: skip
    assert give_up_unfinished(engine, blobs, LATER) == [GivenUp("flights", 2, 3)]
    left = everything(blobs)
    assert len(left) == 4 and f"baselines/flights/{1:032x}.profile" in left
    assert all(name.startswith(("models/flights/1/", "baselines/")) for name in left)


def test_an_import_that_goes_on_is_not_given_up(
    engine: Engine, blobs: BlobRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another host, by its signs of life."""
    version = staged(engine, host="elsewhere")
    monkeypatch.setattr(module, "_BEAT_S", 0.01)
    said = {IMPORTER: {"host": "elsewhere", "pid": 1, "seen_at": (LATER - DAY / 2).isoformat()}}
    beaten = threading.Event()

    def beat() -> dict[str, Any]:
        beaten.set()
        return said

    monkeypatch.setattr(module, "importer", beat)
    with heard_of(engine, "flights", version):
        assert beaten.wait(20)
    assert row(engine, version).details == said
    assert give_up_unfinished(engine, blobs, LATER) == []
    assert [each.version for each in give_up_unfinished(engine, blobs, LATER + DAY)] == [version]


def test_signs_of_life_change_nothing_that_is_ready(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = staged(engine)
    with writing(engine) as connection:
        mark_ready(
            connection, "flights", version, artifact_uri="x", manifest_sha256="", details={"a": 1}
        )
    monkeypatch.setattr(module, "_BEAT_S", 0.001)
    beats = threading.Semaphore(0)

    def counted(*arguments: Any, **more: Any) -> bool:
        beats.release()
        return try_update(*arguments, **more)

    monkeypatch.setattr(module, "try_update", counted)
    with heard_of(engine, "flights", version):
        for _ in range(3):
            assert beats.acquire(timeout=20)
    assert row(engine, version).details == {"a": 1}


def test_a_paused_process_of_this_machine_is_not_given_up(engine: Engine, blobs: BlobRoot) -> None:
    program = (
        "import json, os, signal\nfrom trueup.store.unfinished_imports import importer\n"
        "print(json.dumps(importer()), flush=True)\nos.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        import json

        assert child.stdout is not None
        process = json.loads(child.stdout.readline())[IMPORTER]
        os.waitpid(child.pid, os.WUNTRACED)
        version = staged(engine, **process)
        assert give_up_unfinished(engine, blobs, LATER) == []
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    assert [each.version for each in give_up_unfinished(engine, blobs, LATER)] == [version]


def test_what_a_failed_import_left_is_deleted(
    engine: Engine, blobs: BlobRoot, tmp_path: Path
) -> None:
    """Killed while it cleared up."""
    from trueup.store.registry import mark_failed

    version = staged(engine)
    with_files(blobs, tmp_path, version)
    with writing(engine) as connection:
        assert mark_failed(connection, "flights", version)
    assert give_up_unfinished(engine, blobs, LATER) == [GivenUp("flights", version, 3)]
    assert give_up_unfinished(engine, blobs, LATER) == []
    assert everything(blobs) == set()
