"""Segments that a stopped server has left in the blob root are compacted from there, each once."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import select

from tests.capture.conftest import Lab
from tests.capture.test_capture_compact import attempts
from trueup.errors import StoreError
from trueup.frames.held import HeldFile
from trueup.frames.segment_files import open_path, sealed_path, sealed_segments
from trueup.monitor.capture.compact import UPLOADED
from trueup.monitor.capture.orphans import collect_orphans
from trueup.serving.upload import Upload, upload_spool
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading
from trueup.store.tables import segments
from trueup.store.uploaded import fetch, upload, uploaded_segments

LONG_S = 30.0


def upload_all(lab: Lab) -> int:
    assert upload_spool(lab.settings.spool_dir, lab.blobs, LONG_S)
    assert not sealed_segments(lab.settings.spool_dir)
    return len(uploaded_segments(lab.blobs))


def nothing_left(lab: Lab) -> bool:
    folder = lab.settings.spool_dir / UPLOADED
    copies = list(folder.iterdir()) if folder.exists() else []
    return not [*lab.blobs.list("spool"), *copies, *sealed_segments(lab.settings.spool_dir)]


def keys(lab: Lab) -> list[tuple[str, int]]:
    table = lab.rows()
    if "segment" not in table.column_names:
        return []
    return list(zip(table["segment"].to_pylist(), table["frame"].to_pylist(), strict=True))


def test_uploaded_segments_are_compacted_from_the_blob_root(any_lab: Lab) -> None:
    lab = any_lab
    ids = [lab.segment(attempts(3, 10 * n)) for n in range(3)]
    sealed = {i: (lab.now - timedelta(minutes=n)).timestamp() for n, i in enumerate(ids, 1)}
    for segment_id, moment in sealed.items():
        os.utime(sealed_path(lab.settings.spool_dir, segment_id), (moment, moment))
    assert upload_all(lab) == 3
    later = lab.segment(attempts(2, 50))  # of a server that runs here
    report = lab.compact()
    assert (report.compacted, report.failed) == (4, {})
    assert keys(lab) == sorted([(i, n) for i in ids for n in range(3)] + [(later, 0), (later, 1)])
    assert nothing_left(lab)
    with reading(lab.engine) as connection:
        rows = {row.id: row for row in connection.execute(select(segments))}
    for segment_id in ids:
        assert rows[segment_id].host == platform.node()
        assert int(rows[segment_id].sealed_at.timestamp()) == int(sealed[segment_id])
        assert rows[segment_id].path.startswith(lab.blobs.uri("spool"))
    assert lab.compact().compacted == 0


def test_an_object_store_is_a_blob_root_too(lab: Lab) -> None:
    lab.blobs = BlobRoot(f"memory://{lab.folder.name}")
    lab.segment(attempts(3))
    assert upload_all(lab) == 1
    assert lab.compact().compacted == 1
    assert len(keys(lab)) == 3
    assert nothing_left(lab)


def test_a_segment_in_both_places_is_compacted_once(any_lab: Lab) -> None:
    """Killed between upload and deletion."""
    lab = any_lab
    lab.segment(attempts(3))
    (segment,) = sealed_segments(lab.settings.spool_dir)
    upload(lab.blobs, segment, "pod-1")
    report = lab.compact()
    assert (report.compacted, len(keys(lab))) == (1, 3)
    assert nothing_left(lab)


KILLED = """
import os, signal, sys
from pathlib import Path
from time import monotonic
from trueup.serving import upload
from trueup.store.blobs import BlobRoot
upload.delete_segment = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
upload.Upload(Path(sys.argv[1]), BlobRoot(sys.argv[2]), monotonic() + 60).run()
"""


@pytest.mark.parametrize("spool_lasts", [True, False])
def test_killed_between_upload_and_deletion_each_row_is_there_once(
    lab: Lab, spool_lasts: bool
) -> None:
    name = lab.segment(attempts(3))
    command = [sys.executable, "-c", KILLED, str(lab.settings.spool_dir)]
    command.append(lab.settings.blob_root)
    assert subprocess.run(command, check=False, timeout=LONG_S).returncode == -signal.SIGKILL
    assert sealed_path(lab.settings.spool_dir, name).exists()
    assert len(uploaded_segments(lab.blobs)) == 1
    if not spool_lasts:
        shutil.rmtree(lab.settings.spool_dir)
    assert lab.compact().compacted == 1
    assert keys(lab) == [(name, 0), (name, 1), (name, 2)]
    assert nothing_left(lab)


def test_one_that_was_compacted_before_is_only_deleted(lab: Lab) -> None:
    lab.segment(attempts(3))
    (segment,) = sealed_segments(lab.settings.spool_dir)
    found = upload(lab.blobs, segment, "pod-1")
    copy = lab.blobs.get(found.name)
    lab.compact()
    lab.blobs.put_atomic(found.name, copy)
    assert lab.compact().compacted == 0
    assert (len(keys(lab)), nothing_left(lab)) == (3, True)


def test_damage_is_known_of_an_uploaded_segment_too(lab: Lab) -> None:
    name = lab.segment(attempts(3))
    spool = lab.settings.spool_dir
    data = bytearray(sealed_path(spool, name).read_bytes())
    data[len(data) // 2] ^= 1
    sealed_path(spool, name).unlink()
    open_path(spool, name).write_bytes(data)  # of a server that died
    assert upload_all(lab) == 1  # it is recovered first
    assert len(list(lab.blobs.list("spool"))) == 2
    report = lab.compact()
    assert report.compacted == 1
    assert report.lost_bytes > 0
    assert len(keys(lab)) == 2
    assert nothing_left(lab)


def test_one_that_is_held_stays(lab: Lab) -> None:
    name = lab.segment(attempts(3))
    with HeldFile(sealed_path(lab.settings.spool_dir, name)):
        assert not upload_spool(lab.settings.spool_dir, lab.blobs, LONG_S)
    assert not list(lab.blobs.list("spool"))
    assert lab.compact().compacted == 1


def test_time_is_bounded(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        lab.segment(attempts(1, number))
    work = Upload(lab.settings.spool_dir, lab.blobs, monotonic())
    work.run()
    assert work.uploaded == 0
    go_on = threading.Event()

    class Hangs(BlobRoot):
        def put_file(self, name: str, source: Path) -> str:
            assert go_on.wait(LONG_S)
            return super().put_file(name, source)

    assert not upload_spool(lab.settings.spool_dir, Hangs(lab.settings.blob_root), 0.05)
    assert "3 segments are still in spool" in caplog.text
    go_on.set()


def test_a_blob_root_that_fails_is_said(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.segment(attempts(3))

    class Away(BlobRoot):
        def put_file(self, name: str, source: Path) -> str:
            raise StoreError("the bucket is away", retry=True)

    assert not upload_spool(lab.settings.spool_dir, Away(lab.settings.blob_root), LONG_S)
    assert "the bucket is away" in caplog.text
    assert lab.compact().compacted == 1


def test_what_killed_fetches_and_uploads_leave_is_removed(lab: Lab) -> None:
    name = lab.segment(attempts(3))
    upload_all(lab)
    (uploaded,) = uploaded_segments(lab.blobs)
    folder = lab.settings.spool_dir / UPLOADED
    folder.mkdir()
    (folder / f"{name}.fetched").write_bytes(b"half of it")
    (folder / "01m87wj9xm3466q02keqc0pde6.fetched").write_bytes(b"of another one")
    fetch(lab.blobs, uploaded, folder).path.rename(folder / "01m87wj9xm3466q02keqc0pde7.sealed")
    unfinished = Path(lab.settings.blob_root) / "spool" / "pod" / ".unfinished-1"
    unfinished.parent.mkdir()
    unfinished.write_bytes(b"half")
    assert lab.compact().compacted == 1
    assert len(keys(lab)) == 3
    assert nothing_left(lab)
    collect_orphans(lab.engine, lab.blobs, lab.now)
    assert unfinished.exists()
    old = (lab.now - timedelta(days=2)).timestamp()
    os.utime(unfinished, (old, old))
    collect_orphans(lab.engine, lab.blobs, lab.now)
    assert not unfinished.exists()


def test_several_compactors_take_each_once(any_lab: Lab) -> None:
    lab = any_lab
    for number in range(6):
        lab.segment(attempts(2, 10 * number))
    upload_all(lab)
    reports: list[Any] = []
    run: Callable[[], Any] = lambda: reports.append(lab.compact())  # noqa: E731
    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    assert len(reports) == 3
    assert [report.failed for report in reports] == [{}] * 3
    lab.compact()
    assert len(keys(lab)) == len(set(keys(lab))) == 12
    assert nothing_left(lab)
