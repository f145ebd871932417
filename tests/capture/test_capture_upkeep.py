"""What goes: rows past their retention time, and files that nothing refers to."""

from __future__ import annotations

import os
import random
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from tests.capture.conftest import NOW, Lab, frame, us
from trueup.monitor.capture.orphans import collect_orphans
from trueup.monitor.capture.parquet_file import PREFIX
from trueup.monitor.capture.retention import retention
from trueup.store.engine import reading
from trueup.store.tables import profiles, segments

DAY = timedelta(days=1)


def some_rows(seed: int, count: int = 5) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [
        {
            "distance": rng.uniform(0, 3000), "stops": rng.randrange(3), "carrier": "AA",
            "temp": 50.0, "international": False,
        }
        for _ in range(count)
    ]  # fmt: skip


def kept(lab: Lab) -> tuple[int, int, int]:
    """Files in the manifest and in the blob root, and profiles."""
    with reading(lab.engine) as connection:
        count = connection.scalar(select(func.count()).select_from(profiles)) or 0
    return len(lab.manifest()), len(list(lab.blobs.list(PREFIX))), count


def test_what_is_past_its_retention_time_goes(any_lab: Lab, trained: Any) -> None:
    any_lab.declare(trained.profile.edges.spec)
    any_lab.baseline(trained.profile.edges, trained.profile)
    for day in (80, 40, 1):
        any_lab.segment([frame(some_rows(day), event_us=us(NOW - day * DAY))])
    any_lab.compact()
    assert kept(any_lab) == (3, 3, 3)
    report = retention(any_lab.settings, any_lab.engine, any_lab.blobs, NOW + 20 * DAY)
    assert (report.files, report.rows, report.profiles, report.segments) == (1, 5, 1, 0)
    assert kept(any_lab) == (2, 2, 2)
    assert any_lab.rows().num_rows == 10
    report = retention(any_lab.settings, any_lab.engine, any_lab.blobs, NOW + 200 * DAY)
    assert (report.files, report.profiles, report.segments) == (2, 2, 3)
    assert kept(any_lab) == (0, 0, 0)
    with reading(any_lab.engine) as connection:
        assert connection.scalar(select(func.count()).select_from(segments)) == 0


def test_each_model_has_its_own_time(make_lab: Any) -> None:
    lab = make_lab(models={"brief": {"windows": {"retention": "2d"}}})
    for model in ("brief", "flights"):
        lab.segment([frame([{"x": 1.0}], model=model)])
    lab.compact()
    report = retention(lab.settings, lab.engine, lab.blobs, NOW + 3 * DAY)
    assert report.files == 1
    assert (lab.rows("brief").num_rows, lab.rows("flights").num_rows) == (0, 1)


def test_the_record_of_a_segment_stays_while_its_file_does(lab: Lab) -> None:
    segment = lab.segment([frame([{"x": 1.0}])])
    path = lab.settings.spool_dir / f"{segment}.sealed"
    copy = path.read_bytes()
    lab.compact()
    path.write_bytes(copy)
    report = retention(lab.settings, lab.engine, lab.blobs, NOW + 500 * DAY)
    assert (report.files, report.segments) == (1, 0)
    assert lab.compact().deleted == 1 and lab.manifest() == []


def age(lab: Lab, name: str, by: timedelta) -> None:
    path = Path(lab.settings.blob_root) / name
    moment = (datetime.now(timezone.utc) - by).timestamp()
    os.utime(path, (moment, moment))


def test_orphans_are_collected_and_nothing_else(any_lab: Lab) -> None:
    any_lab.segment([frame([{"x": 1.0}])])
    any_lab.compact()
    (wanted,) = any_lab.blobs.list(PREFIX)
    old, young = f"{PREFIX}/flights/rows/old.parquet", f"{PREFIX}/flights/rows/young.parquet"
    unfinished = f"{PREFIX}/flights/rows/.unfinished-1"
    for name in (old, young, unfinished, "models/flights/1/model.pb"):
        any_lab.blobs.put_atomic(name, b"x")
    for name in (wanted, old, unfinished, "models/flights/1/model.pb"):
        age(any_lab, name, timedelta(days=3))
    now = datetime.now(timezone.utc)
    report = collect_orphans(any_lab.engine, any_lab.blobs, now)
    assert sorted(report.deleted) == sorted([old, unfinished])
    assert set(any_lab.blobs.list(PREFIX)) == {wanted, young}
    assert any_lab.blobs.exists("models/flights/1/model.pb")
    assert any_lab.rows().num_rows == 1
    assert collect_orphans(any_lab.engine, any_lab.blobs, now).deleted == []


def test_files_stay_known_when_the_blob_root_moves(lab: Lab) -> None:
    from trueup.store.blobs import BlobRoot

    lab.segment([frame([{"x": 1.0}])])
    lab.compact()
    (name,) = lab.blobs.list(PREFIX)
    age(lab, name, timedelta(days=3))
    moved = lab.folder / "moved"
    Path(lab.settings.blob_root).rename(moved)
    lab.blobs = BlobRoot(str(moved))
    now = datetime.now(timezone.utc)
    assert collect_orphans(lab.engine, lab.blobs, now).deleted == []
    assert lab.rows().num_rows == 1


def test_an_object_store_is_looked_after_alike(lab: Lab) -> None:
    from trueup.store.blobs import BlobRoot

    lab.blobs = BlobRoot(f"memory://{lab.folder.name}")
    lab.segment([frame([{"x": 1.0}])])
    lab.compact()
    lab.blobs.put_atomic(f"{PREFIX}/flights/rows/orphan.parquet", b"x")
    later = datetime.now(timezone.utc) + timedelta(days=2)
    assert collect_orphans(lab.engine, lab.blobs, later).deleted == [
        f"{PREFIX}/flights/rows/orphan.parquet"
    ]
    assert lab.rows().num_rows == 1
