"""Small files are put together: the same rows, profiles and labels, in few files."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import func, select

from tests.capture.conftest import NOW, Lab, frame, us
from tests.capture.test_capture_windows import HOUR, check_windows, some_frames
from trueup.errors import ConflictError
from trueup.monitor.capture import consolidate as module
from trueup.monitor.capture.backfill import profile_missing
from trueup.monitor.capture.consolidate import consolidate, drop_retired
from trueup.monitor.capture.forget import Decision, forget
from trueup.monitor.capture.forget_match import Person
from trueup.monitor.capture.labels_join import join_labels
from trueup.monitor.capture.labels_read import labels_of
from trueup.monitor.capture.labels_sink import label_sinks
from trueup.monitor.capture.orphans import GRACE, collect_orphans
from trueup.monitor.capture.parquet_file import PREFIX, blob_name
from trueup.monitor.capture.read import read_capture
from trueup.records.capture import Body, FrameKind
from trueup.records.keys import WindowKey
from trueup.store.engine import reading
from trueup.store.tables import profiles, segments

DAY = timedelta(days=1)
LATER = NOW + timedelta(hours=3)
"""When the files of a compaction at ``NOW`` have settled."""


def kinds(lab: Lab) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in lab.manifest():
        found[entry.kind] = found.get(entry.kind, 0) + 1
    return found


def put_together(lab: Lab, now: datetime = LATER, **more: Any) -> Any:
    return consolidate(lab.settings, lab.engine, lab.blobs, "flights", now, **more)


def minutes(lab: Lab, count: int, start: int = 0) -> None:
    """A segment per minute, each with two rows."""
    for minute in range(start, start + count):
        at = NOW - timedelta(minutes=100 - minute)
        lab.segment([frame([{"x": float(2 * minute)}, {"x": 2.0 * minute + 1}], event_us=us(at))])
    lab.compact()


def plain(table: pa.Table) -> list[dict[str, Any]]:
    names = sorted(table.column_names)
    return table.select(names).sort_by([("row_id", "ascending")]).to_pylist()


def test_rows_and_windows_stay_as_they_are(any_lab: Lab, trained: Any) -> None:
    lab, rng, edges = any_lab, random.Random(3), trained.profile.edges
    lab.declare(edges.spec)
    lab.baseline(edges, trained.profile)
    for _ in range(40):
        lab.segment(some_frames(rng, 8))
    lab.compact()
    before = plain(lab.rows())
    opened = read_capture(lab.engine, lab.blobs, "flights")
    first = WindowKey.containing(lab.now - timedelta(hours=6), HOUR).start
    hours = [first + number * HOUR for number in range(8)]
    answered = check_windows(lab, edges, hours)

    report = put_together(lab)
    assert report.replaced == 40 and report.files < 10 and report.changed == 0
    assert kinds(lab) == {"rows": report.files, "retired": 40}
    assert plain(lab.rows()) == before
    assert check_windows(lab, edges, hours) == answered
    missing = profile_missing(lab.settings, lab.engine, lab.blobs, "flights", LATER)
    assert missing.sources == 0
    with reading(lab.engine) as connection:
        sources = connection.scalar(select(func.count(profiles.c.source.distinct())))
    assert sources == report.files

    # who began to read before reads the files that there were
    rows = pa.Table.from_batches(list(opened.batches()), opened.schema)
    assert plain(rows) == before
    assert drop_retired(lab.engine, lab.blobs, LATER + GRACE / 2) == 0
    assert drop_retired(lab.engine, lab.blobs, LATER + GRACE + HOUR) == 40
    assert kinds(lab) == {"rows": report.files}
    named = {blob_name(lab.blobs, entry.uri) for entry in lab.manifest()}
    assert set(lab.blobs.list(PREFIX)) == named
    assert plain(lab.rows()) == before and put_together(lab, LATER + DAY).replaced == 0


def test_files_are_in_order_and_tell_their_columns(lab: Lab) -> None:
    minutes(lab, 20)
    put_together(lab)
    (entry,) = [entry for entry in lab.manifest() if entry.kind == "rows"]
    (batch,) = read_capture(lab.engine, lab.blobs, "flights").batches()
    times = batch.column(batch.schema.get_field_index("event_time")).to_pylist()
    assert times == sorted(times)
    assert (entry.rows, entry.first_event_at, entry.last_event_at) == (40, times[0], times[-1])
    assert entry.details["columns"] == {"in.x": "double"}


def test_a_file_that_cannot_be_read_holds_no_other_up(lab: Lab) -> None:
    minutes(lab, 20)
    broken = lab.manifest()[4].uri
    Path(broken).write_bytes(b"no Parquet")
    report = put_together(lab)
    assert report.replaced == 19 and list(report.unreadable) == [broken]
    assert kinds(lab) == {"rows": 2, "retired": 19}


def test_memory_is_bounded(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_HELD_BYTES", 10_000)
    minutes(lab, 60)
    before = plain(lab.rows())
    assert 2 <= put_together(lab).replaced < 59
    assert plain(lab.rows()) == before


def test_few_or_young_files_are_left_alone(lab: Lab) -> None:
    minutes(lab, 15)
    assert put_together(lab).replaced == 0
    minutes(lab, 5, 15)
    assert put_together(lab, NOW + timedelta(minutes=30)).replaced == 0
    assert put_together(lab).replaced == 20


def test_a_day_that_is_over_becomes_one_file(lab: Lab) -> None:
    minutes(lab, 3)
    assert put_together(lab, NOW + DAY + HOUR).replaced == 3
    assert kinds(lab) == {"rows": 1, "retired": 3}


@pytest.mark.heavy
def test_a_row_is_written_anew_a_few_times(lab: Lab) -> None:
    """However many files come one by one."""
    written = 0
    for minute in range(288):
        at = NOW.replace(hour=0) + timedelta(minutes=5 * minute)
        lab.now = at + timedelta(seconds=1)
        lab.segment([frame([{"x": 1.0}], at=at)])
        lab.compact()
        written += put_together(lab, lab.now).rows
    lab.now += 2 * DAY
    written += put_together(lab, lab.now).rows
    assert kinds(lab)["rows"] <= 2 and lab.rows().num_rows == 288
    assert written <= 4 * 288


def test_types_are_kept_apart(lab: Lab) -> None:
    for number in range(40):
        odd = number % 2
        lab.segment([frame([{"x": "text" if odd else 1.0, "n": number}])])
    lab.compact()
    assert put_together(lab).files == 2
    columns = [e.details["columns"] for e in lab.manifest() if e.kind == "rows"]
    assert sorted(each["in.x"] for each in columns) == ["double", "string"]


def test_one_run_does_a_bounded_amount(lab: Lab) -> None:
    minutes(lab, 60)
    assert put_together(lab, most=20).replaced == 20
    assert put_together(lab, most=20).replaced == 20
    assert lab.rows().num_rows == 120


def test_a_segment_with_several_files_is_left_alone(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes(lab, 20)
    monkeypatch.setattr("trueup.monitor.capture.collect_rows.MOST_ROWS", 4)
    monkeypatch.setattr("trueup.monitor.capture.compact.BLOCK_FRAMES", 4)
    lab.segment([frame([{"x": float(1000 + i)}]) for i in range(12)])
    lab.compact()
    assert put_together(lab).replaced == 20
    assert kinds(lab) == {"rows": 4, "retired": 20}


def test_labels_find_rows_that_were_put_together(any_lab: Lab) -> None:
    lab = any_lab
    ids = []
    for minute in range(20):
        at = NOW - timedelta(minutes=minute)
        said: dict[str, Any] = {"request_id": f"r{minute}", "event_us": us(at)}
        ids.append(lab.segment([frame([{"x": 1.0}, {"x": 2.0}], **said)]))
    lab.compact()
    join(lab)  # the model has labels from now on, and all rows were looked at
    put_together(lab)
    label(lab, [{"id": f"{ids[3]}-0-1", "label": 7}, {"id": "r5/0", "label": 8}])
    lab.compact(labels=label_sinks(lab.settings, lab.engine, lab.blobs))
    join(lab)
    put_together(lab, LATER + 2 * DAY)
    label(lab, [{"id": f"{ids[4]}-0-1", "label": 9}])
    lab.compact(labels=label_sinks(lab.settings, lab.engine, lab.blobs))
    join(lab)
    rows = lab.rows(labels=labels_of(lab.engine, lab.blobs, "flights"))
    found = {
        row["row_id"]: row["label.label"] for row in rows.to_pylist() if row["label.label"]
    }  # fmt: skip
    assert found == {f"{ids[3]}-0-1": 7, f"{ids[5]}-0-0": 8, f"{ids[4]}-0-1": 9}
    assert join(lab).labelled == 0


def label(lab: Lab, items: list[dict[str, Any]]) -> None:
    import orjson

    lab.segment([frame(orjson.dumps(items), kind=FrameKind.LABELS, body=Body.ROWS, rows=1)])


def join(lab: Lab) -> Any:
    return join_labels(lab.engine, lab.blobs, "flights", now=LATER, retention=90 * DAY)


def erase(lab: Lab, value: str, now: datetime = LATER) -> int:
    who = Person({"who": value}, {"who": value})
    report = forget(
        lab.settings, lab.engine, lab.blobs, "flights", who, Decision("t", "r", b"k"), now=now
    )
    return report.rows


def people(lab: Lab, count: int = 20) -> None:
    for minute in range(count):
        lab.segment([frame([{"who": f"p{minute}", "x": 1.0}, {"who": "all", "x": 2.0}])])
    lab.compact()


def test_who_is_erased_is_in_no_file_of_before_either(any_lab: Lab) -> None:
    import pyarrow.parquet as pq

    lab = any_lab
    people(lab)
    opened = read_capture(lab.engine, lab.blobs, "flights")
    put_together(lab)
    assert erase(lab, "p7") == 1
    assert kinds(lab) == {"rows": 1, "retired": 20}
    for entry in lab.manifest():
        assert "p7" not in pq.read_table(entry.uri).column("in.who").to_pylist()
    rows = pa.Table.from_batches(list(opened.batches()), opened.schema)
    assert rows.num_rows == 39 and "p7" not in rows.column("in.who").to_pylist()
    assert erase(lab, "all") == 20
    rows = pa.Table.from_batches(list(opened.batches()), opened.schema)
    assert sorted(rows.column("in.who").to_pylist()) == sorted(
        f"p{number}" for number in range(20) if number != 7
    )
    assert drop_retired(lab.engine, lab.blobs, LATER + GRACE + HOUR) == 19
    assert lab.rows().num_rows == 19


def test_frames_that_were_set_aside_are_erased_too(any_lab: Lab) -> None:
    from tests.capture.test_capture_hostile import good, set_aside, write

    lab = any_lab
    hers = [b"\x01\x01\x01\x00" + b"\0" * 12 + b'{"who":"Ada"}', b'\x01{"who":"Ada Lovelace"}']
    write(lab, [good(0), *hers, b"\x01 nobody's, and long enough for a header"])
    lab.compact()
    assert len(set_aside(lab)) == 3
    erase(lab, "Ada")
    assert [payload for _, payload in set_aside(lab).values()] == [
        b"\x01 nobody's, and long enough for a header"
    ]
    named = {blob_name(lab.blobs, entry.uri) for entry in lab.manifest()}
    assert set(lab.blobs.list(PREFIX)) == named


def test_others_that_change_a_file_meanwhile_are_first(
    any_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = any_lab
    people(lab)
    from trueup.monitor.capture.parquet_file import write_rows as real

    def meanwhile(*arguments: Any) -> Any:
        found = real(*arguments)
        monkeypatch.setattr(module, "write_rows", real)
        erase(lab, "p3")
        return found

    monkeypatch.setattr(module, "write_rows", meanwhile)
    report = put_together(lab)
    assert (report.replaced, report.changed) == (0, 1)
    assert kinds(lab) == {"rows": 20} and lab.rows().num_rows == 39
    named = {blob_name(lab.blobs, entry.uri) for entry in lab.manifest()}
    assert set(lab.blobs.list(PREFIX)) == named
    assert put_together(lab, LATER + 2 * DAY).replaced == 20
    assert lab.rows().num_rows == 39


def test_a_file_that_may_be_an_orphan_is_not_committed(
    any_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trueup.monitor.capture import orphans

    minutes(any_lab, 20)
    with monkeypatch.context() as slow:
        slow.setattr(orphans, "GRACE", timedelta(0))
        assert put_together(any_lab).changed == 1
    assert kinds(any_lab) == {"rows": 20}
    with pytest.raises(ConflictError):
        orphans.refuse_stale(NOW)


STEPS = (
    "merge_partials", "_merged_table", "write_rows", "written", "bump", "_retire",
    "_move_partials", "refuse_stale", "committed", "delete", "deleted", "forgotten",
)  # fmt: skip

CHILD = """
import os, signal, sys
from datetime import datetime, timedelta
from pathlib import Path
from trueup.config.load import load
from trueup.monitor.capture import consolidate as module
from trueup.store.blobs import BlobRoot
from trueup.store.schema import open_store
settings = load(Path(sys.argv[1]))
engine, blobs = open_store(settings.store), BlobRoot(settings.blob_root)
now, step = datetime.fromisoformat(sys.argv[2]), sys.argv[3]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def before(name):
    setattr(module, name, lambda *a, **k: die())

def after(owner, name):
    real = getattr(owner, name)
    def replaced(*a, **k):
        real(*a, **k)
        die()
    setattr(owner, name, replaced)

if step == "written":
    after(module, "write_rows")
elif step == "committed":
    after(module, "_replace")
elif step == "delete":
    BlobRoot.delete = lambda *a: die()
elif step == "deleted":
    after(BlobRoot, "delete")
elif step == "forgotten":
    before("exists")
else:
    before(step)
module.consolidate(settings, engine, blobs, "flights", now)
module.drop_retired(engine, blobs, now + timedelta(days=2))
"""


def run(lab: Lab, step: str, now: datetime) -> int:
    config = lab.folder / "trueup.toml"
    url = lab.settings.store.url.get_secret_value()
    config.write_text(
        f'blob_root = "{lab.settings.blob_root}"\nspool_dir = "{lab.settings.spool_dir}"\n'
        f'[store]\nurl = "{url}"\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(config), now.isoformat(), step],
        check=False, timeout=60,
    )  # fmt: skip
    return done.returncode


@pytest.mark.heavy
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_each_step_every_row_is_there_once(any_lab: Lab, step: str, trained: Any) -> None:
    lab, rng, edges = any_lab, random.Random(7), trained.profile.edges
    lab.declare(edges.spec)
    lab.baseline(edges, trained.profile)
    for _ in range(20):
        lab.segment(some_frames(rng, 4))
    lab.compact()
    before = plain(lab.rows())
    assert run(lab, step, NOW + 2 * DAY) == -signal.SIGKILL
    assert plain(lab.rows()) == before
    put_together(lab, NOW + 5 * DAY)
    assert plain(lab.rows()) == before
    first = WindowKey.containing(lab.now - timedelta(hours=6), HOUR).start
    check_windows(lab, edges, [first + number * HOUR for number in range(8)])
    drop_retired(lab.engine, lab.blobs, NOW + 9 * DAY)
    collect_orphans(lab.engine, lab.blobs, datetime.now(timezone.utc) + 2 * DAY)
    assert plain(lab.rows()) == before
    assert set(kinds(lab)) == {"rows"} and kinds(lab)["rows"] < 20
    named = {blob_name(lab.blobs, entry.uri) for entry in lab.manifest()}
    assert set(lab.blobs.list(PREFIX)) == named
    with reading(lab.engine) as connection:
        merged = connection.scalar(
            select(func.count()).select_from(segments).where(segments.c.host == module.HOST)
        )
    assert merged == kinds(lab)["rows"]
