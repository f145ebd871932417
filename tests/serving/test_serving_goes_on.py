"""What must not end a server: a failed round of housekeeping, a process that cannot be started."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from trueup.config.settings import StoreSettings
from trueup.errors import BadInputError, StoreError, StoreVersionError
from trueup.serving.housekeeping import Housekeeping
from trueup.serving.metrics import MetricsFolder
from trueup.serving.process import recover, summed
from trueup.serving.supervisor import Supervisor, check_spool, check_store
from trueup.store.schema import open_store

LONG_S = 60.0


def test_housekeeping_outlives_a_round_that_failed(tmp_path: Path) -> None:
    rounds = threading.Semaphore(0)
    told = threading.Event()
    failures: list[Exception] = [RuntimeError("dictionary changed size during iteration")]
    engine = open_store(StoreSettings(url=f"sqlite:///{tmp_path}/store.db"))

    def values() -> dict[str, Any]:
        rounds.release()
        if told.is_set() and failures:
            raise failures.pop()
        return {}

    housekeeping = Housekeeping(
        lambda: engine, MetricsFolder(tmp_path, 0), process="p", interval_s=0.01,
        now=lambda: datetime.now(timezone.utc), values=values, told=lambda tokens: told.set(),
    )  # fmt: skip
    housekeeping.start()
    for _ in range(4):  # the second one fails
        assert rounds.acquire(timeout=LONG_S)
    housekeeping.stop(LONG_S)
    assert not failures
    engine.dispose()


def test_counters_are_added_while_others_count() -> None:
    stop = threading.Event()
    busy: Counter[int] = Counter()

    def count() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            busy[number % 4000] += 1
            if number % 4000 == 0:
                busy.clear()

    thread = threading.Thread(target=count)
    thread.start()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(300):
            assert summed(busy, Counter({-1: 2}))[-1] == 2
    finally:
        sys.setswitchinterval(before)
        stop.set()
        thread.join(LONG_S)


def test_a_worker_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []

    def no_memory(*arguments: Any, **options: Any) -> None:
        tries.append(0.0)
        if len(tries) == 3:
            raise KeyboardInterrupt  # enough: the supervisor has no other end here
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", no_memory)
    with socket.socket() as listening:
        supervisor = Supervisor(listening, 1, [], drain_s=1.0)
        with pytest.raises(KeyboardInterrupt):
            supervisor.run()
    assert len(tries) == 3


def test_a_segment_that_cannot_be_recovered_does_not_end_a_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = "01m87wj9xm3466q02keqc0pde6.open"
    (tmp_path / name).mkdir()
    recover(tmp_path)
    assert "stays unsealed" in caplog.text
    recover(tmp_path / "absent")


def test_a_spool_that_cannot_be_written_is_said_before_anything_starts(tmp_path: Path) -> None:
    check_spool(tmp_path / "new" / "spool")
    assert list((tmp_path / "new" / "spool").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError, match=r"spool_dir = .*file cannot be written"):
        check_spool(tmp_path / "file")


def test_a_store_of_a_newer_release_ends_a_start_and_one_that_is_away_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = StoreSettings(url=f"sqlite:///{tmp_path}/store.db")
    assert check_store(store, "127.0.0.1") == 0
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    with pytest.raises(StoreVersionError, match="newer release"):
        check_store(store, "127.0.0.1")
    away = StoreSettings(url=f"sqlite:///{tmp_path}/store.db/below")
    assert check_store(away, "127.0.0.1") == 0
    assert "cannot be made" in caplog.text
    with pytest.raises(StoreError):
        check_store(away, "0.0.0.0")
