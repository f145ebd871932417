"""Compaction: every row once, whatever happens; damage counted; nobody held up."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from datetime import timedelta

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select, update

from tests.capture.conftest import NOW, Lab, frame
from trueup.errors import ConflictError, StoreError
from trueup.frames.held import HeldFile
from trueup.frames.segment_files import open_path, sealed_path
from trueup.monitor.capture import orphans
from trueup.monitor.capture.parquet_file import PREFIX, blob_name
from trueup.monitor.capture.row_schema import FIXED
from trueup.records.capture import Body, CaptureFrame, FrameKind
from trueup.records.input_spec import InputSpec, Variable
from trueup.store.engine import reading, writing
from trueup.store.tables import SegmentState, segments

SPEC = InputSpec(
    variables=(
        Variable(name="x", dtype="float64", kind="numeric"),
        Variable(name="c", dtype="string", kind="categorical"),
    )
)


def attempts(count: int, start: int = 0) -> list[CaptureFrame]:
    return [
        frame(
            [{"x": float(i), "c": f"c{i % 3}"}],
            predictions=[i / 2],
            request_id=f"r{i}",
            at=NOW - timedelta(minutes=30) + timedelta(seconds=i % 7),
        )
        for i in range(start, start + count)
    ]


def test_rows_have_the_documented_columns(any_lab: Lab) -> None:
    any_lab.declare(SPEC)
    sent = frame(
        [{"x": 1, "c": "a"}, {"x": 2.5, "c": "b"}],
        predictions=[[0.5], [0.25]], request_id="abc", alias="stable", arm="b", shadow=True,
        latency_us=1234, sample_rate=0.5,
    )  # fmt: skip
    segment = any_lab.segment([sent])
    report = any_lab.compact()
    assert (report.compacted, report.counts.rows, report.failed) == (1, 2, {})
    (entry,) = any_lab.manifest()
    data = any_lab.blobs.get(blob_name(any_lab.blobs, entry.uri))
    table = pq.read_table(pa.BufferReader(data))
    assert table.schema.names[: len(FIXED)] == FIXED.names
    assert table.schema.names[len(FIXED) :] == ["in.c", "in.x", "out.outputs"]
    assert {
        f.name: table.schema.field(f.name).type for f in FIXED if not pa.types.is_list(f.type)
    } == {f.name: f.type for f in FIXED if not pa.types.is_list(f.type)}
    first = table.to_pylist()[0]
    assert first == {
        "row_id": f"{segment}-0-0", "segment": segment, "frame": 0, "row": 0, "request_id": "abc",
        "model": "flights", "version": 3, "alias": "stable", "arm": "b", "shadow": True,
        "signature": "serving_default", "status": 200, "error": "",
        "arrival_time": NOW - timedelta(minutes=30), "event_time": NOW - timedelta(minutes=30),
        "event_time_source": "arrival", "latency_us": 1234, "sample_rate": 0.5, "readable": True,
        "raw_request": None, "type_errors": None, "in.x": 1.0, "in.c": "a", "out.outputs": [0.5],
    }  # fmt: skip
    assert (entry.rows, entry.bytes, entry.kind) == (2, len(data), "rows")
    assert not list(any_lab.settings.spool_dir.iterdir())


def test_all_segments_and_models_every_row_once(any_lab: Lab) -> None:
    for start in range(0, 500, 100):
        other = [frame([{"y": i}], model="other") for i in range(10)]
        any_lab.segment([*attempts(100, start), *other])
    report = any_lab.compact()
    assert (report.compacted, report.counts.rows, report.files) == (5, 550, 10)
    rows = any_lab.rows()
    assert sorted(rows.column("in.x").to_pylist()) == [float(i) for i in range(500)]
    assert len(set(rows.column("row_id").to_pylist())) == 500
    assert any_lab.rows("other").num_rows == 50
    assert any_lab.compact().compacted == 0
    assert any_lab.rows().num_rows == 500


def test_rows_are_in_order_of_event_time(lab: Lab) -> None:
    lab.segment(attempts(50))
    lab.compact()
    (entry,) = lab.manifest()
    table = pq.read_table(pa.BufferReader(lab.blobs.get(blob_name(lab.blobs, entry.uri))))
    times = table.column("event_time").to_pylist()
    assert times == sorted(times)
    assert (entry.first_event_at, entry.last_event_at) == (times[0], times[-1])


def test_a_segment_whose_file_came_back_is_not_read_again(any_lab: Lab) -> None:
    segment = any_lab.segment(attempts(10))
    path = sealed_path(any_lab.settings.spool_dir, segment)
    copy = any_lab.folder / "copy"
    shutil.copy(path, copy)
    any_lab.compact()
    shutil.copy(copy, path)  # as if killed between the transaction and the deletion
    report = any_lab.compact()
    assert (report.compacted, report.deleted) == (0, 1)
    assert not path.exists()
    assert any_lab.rows().num_rows == 10


def test_who_comes_second_leaves_nothing_behind(
    any_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hosts share a folder whose locks they do not see of each other."""
    segment = any_lab.segment(attempts(10))
    copy = any_lab.folder / "copy"
    shutil.copy(sealed_path(any_lab.settings.spool_dir, segment), copy)
    any_lab.compact()
    shutil.copy(copy, sealed_path(any_lab.settings.spool_dir, segment))
    monkeypatch.setattr("trueup.monitor.capture.compact.register", lambda engine, found: set())
    report = any_lab.compact()
    assert (report.compacted, report.deleted) == (0, 1)
    assert any_lab.rows().num_rows == 10
    assert len(list(any_lab.blobs.list(PREFIX))) == len(any_lab.manifest()) == 1


def test_files_that_may_be_orphans_are_not_committed(
    any_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = any_lab.segment(attempts(10))
    with monkeypatch.context() as slow:
        slow.setattr(orphans, "GRACE", timedelta(0))
        report = any_lab.compact()
    assert isinstance(report.failed[segment], str) and report.compacted == 0
    assert sealed_path(any_lab.settings.spool_dir, segment).exists()
    assert any_lab.manifest() == []
    assert any_lab.compact().compacted == 1
    assert any_lab.rows().num_rows == 10


def test_a_held_segment_is_left_to_its_holder(lab: Lab) -> None:
    segment = lab.segment(attempts(3))
    with HeldFile(sealed_path(lab.settings.spool_dir, segment)):
        report = lab.compact()
        assert (report.compacted, report.busy) == (0, 1)
    assert lab.compact().compacted == 1


def test_a_dead_writers_segment_is_recovered_with_what_was_whole(lab: Lab) -> None:
    segment = lab.segment(attempts(20), path=open_path(lab.settings.spool_dir, "0" * 26))
    path = open_path(lab.settings.spool_dir, "0" * 26)
    with path.open("ab") as file:
        file.write(b"\x40\x00\x00\x00")  # it was killed in the middle of a write
    report = lab.compact()
    assert (report.recovered, report.compacted, report.counts.rows) == (1, 1, 20), segment
    assert report.lost_bytes == 4


def test_damage_is_counted_and_holds_no_other_up(any_lab: Lab) -> None:
    damaged = any_lab.segment(attempts(50))
    path = sealed_path(any_lab.settings.spool_dir, damaged)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    any_lab.segment(attempts(10, 100))
    report = any_lab.compact()
    assert report.compacted == 2 and not report.failed
    assert report.counts.rows == 59 and report.lost_bytes > 0
    with reading(any_lab.engine) as connection:
        row = connection.execute(select(segments).where(segments.c.id == damaged)).one()
    assert (row.state, row.frames, row.lost_bytes) == ("compacted", 49, report.lost_bytes)


def test_frames_of_newer_software_stay_in_the_spool(lab: Lab) -> None:
    from trueup.frames.capture_codec import VERSION, encode_frame
    from trueup.frames.writer import FrameWriter

    path = sealed_path(lab.settings.spool_dir, "z" * 26)
    lab.segment(attempts(10))
    with FrameWriter(path) as writer:
        newer = encode_frame(attempts(1)[0])
        writer.append([bytes([9]) + newer[1:]])
    report = lab.compact()
    assert report.compacted == 1
    assert f"newer than {VERSION}" in report.failed["z" * 26] and path.exists()


def test_labels_without_a_taker_stay_in_the_spool(lab: Lab) -> None:
    labels = frame(b'[{"id":"r1/0","label":1}]', kind=FrameKind.LABELS, rows=1)
    segment = lab.segment([*attempts(2), labels])
    report = lab.compact()
    assert segment in report.failed and lab.manifest() == []
    assert sealed_path(lab.settings.spool_dir, segment).exists()


def test_a_store_that_is_away_loses_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.segment(attempts(10))

    def away(*args: object) -> None:
        raise StoreError("the store is away", retry=True)

    with monkeypatch.context() as broken:
        broken.setattr("trueup.monitor.capture.compact.commit", away)
        with pytest.raises(StoreError):
            lab.compact()
    assert lab.compact().compacted == 1
    assert lab.rows().num_rows == 10


def test_counts_are_in_the_store(any_lab: Lab) -> None:
    any_lab.declare(SPEC)
    segment = any_lab.segment(
        [
            *attempts(5),
            frame(
                [{"x": "no"}], kind=FrameKind.REFUSED, status=400, error="x is no number", rows=0
            ),
            frame(b"{", kind=FrameKind.REFUSED, status=400, error="no JSON"),
            frame([{"x": 1.0}], shadow=True),
            frame([{"x": 1.0}], event_us=1),
        ]
    )
    any_lab.compact()
    with reading(any_lab.engine) as connection:
        row = connection.execute(select(segments).where(segments.c.id == segment)).one()
    expected = {
        "rows": 9, "answered": 7, "refused": 2, "shadow": 1, "unreadable": 1, "type_errors": 1,
        "retimed": 1, "late": 0,
    }  # fmt: skip
    assert row.details["models"] == {"flights": expected}
    assert {name: row.details[name] for name in expected} == expected
    assert row.state == SegmentState.COMPACTED.value and row.newest_event_at is not None
    refused = (
        any_lab.rows().filter(pa.compute.equal(any_lab.rows().column("status"), 400)).to_pylist()
    )
    assert [each["error"] for each in refused] == ["x is no number", "no JSON"]
    assert refused[0]["type_errors"] == ["x"]
    assert orjson.loads(refused[0]["raw_request"]) == {"x": "no"}
    assert (refused[1]["readable"], refused[1]["raw_request"]) == (False, "{")


def test_several_at_once(any_lab: Lab) -> None:
    for start in range(0, 300, 20):
        any_lab.segment(attempts(20, start))
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(any_lab.compact())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report.compacted for report in reports) == 15
    assert not [report.failed for report in reports if report.failed]
    assert sorted(any_lab.rows().column("in.x").to_pylist()) == [float(i) for i in range(300)]


def test_an_open_row_of_the_store_becomes_compacted(any_lab: Lab) -> None:
    segment = any_lab.segment(attempts(3))
    any_lab.compact(most=0)
    assert any_lab.compact().compacted == 1
    with writing(any_lab.engine) as connection:
        connection.execute(
            update(segments).where(segments.c.id == segment).values(state="compacted")
        )


def test_large_segments_become_several_files(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trueup.monitor.capture.collect_rows.MOST_ROWS", 100)
    monkeypatch.setattr("trueup.monitor.capture.compact.BLOCK_FRAMES", 30)
    lab.segment(attempts(500))
    report = lab.compact()
    assert report.files == 5
    assert sorted(lab.rows().column("in.x").to_pylist()) == [float(i) for i in range(500)]


def test_hashed_columns_are_texts_whatever_their_variable_is(make_lab: Callable[..., Lab]) -> None:
    columns = {"x": {"policy": "hash"}, "c": {"policy": "drop"}}
    lab = make_lab(models={"flights": {"capture": {"columns": columns}}})
    lab.declare(SPEC)
    hashed = orjson.dumps([{"x": "5f1a"}, {"x": None}])
    lab.segment([frame(hashed, rows=2, body=Body.ROWS)])
    assert lab.compact().counts.type_errors == 0
    assert lab.rows().column("in.x").to_pylist() == ["5f1a", None]
    assert "in.c" not in lab.rows().column_names


def test_logged_rows_are_rows_as_others(lab: Lab) -> None:
    lab.declare(SPEC)
    rows = orjson.dumps([{"x": 1.0}, {"x": 2.0}])
    said = b'{"predictions":[0.5,null]}'
    logged = frame(rows, rows=2, body=Body.ROWS, kind=FrameKind.LOGGED, response=said, version=0)
    lab.segment([logged] * 3)
    lab.compact()
    assert lab.rows().column("out.outputs").to_pylist() == [0.5, None] * 3
    assert set(lab.rows().column("status").to_pylist()) == {200}


def test_progress_goes_to_the_end(lab: Lab) -> None:
    for _ in range(3):
        lab.segment(attempts(3))
    seen: list[tuple[int, int]] = []
    progress: Callable[[int, int], None] = lambda done, total: seen.append((done, total))  # noqa: E731
    lab.compact(progress=progress)
    assert len(seen) == 3 and seen[-1][0] == seen[-1][1]


def test_conflicts_say_so() -> None:
    with pytest.raises(ConflictError):
        orphans.refuse_stale(NOW)
