"""The writer: what it acknowledges is in the spool, once; segments seal by size and by age."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from trueup.config.serving import CaptureSettings
from trueup.errors import CaptureFullError, FrameError
from trueup.frames.reader import FrameReader
from trueup.frames.segment_files import open_segments, recover_segments, sealed_segments
from trueup.serving.capture.writer import CaptureWriter

Payloads = Callable[[Path], list[bytes]]
WaitUntil = Callable[[Callable[[], bool]], None]


def capture(**changes: Any) -> CaptureSettings:
    return CaptureSettings(**{"min_free": 0, **changes})


def test_what_is_acknowledged_is_where_it_says(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "made" / "spool", capture())
    first = writer.append([b"a", b"b"], model="m", rows=5, newest_event_us=70)
    second = writer.append([b"c"], model="m", rows=1, newest_event_us=60)
    [path] = open_segments(writer.spool_dir)
    assert (first, second) == ((path.stem, 0), (path.stem, 2))
    assert list(FrameReader(path)) == [b"a", b"b", b"c"]  # also while it is open
    stats = writer.stats
    assert (stats.frames_accepted, stats.rows_accepted, stats.frames_durable) == (3, 6, 0)
    assert (stats.segments_unsealed, stats.segments_sealed) == (1, 0)
    assert stats.newest_event_us == {"m": 70}
    writer.close()
    [sealed] = sealed_segments(writer.spool_dir)
    assert sealed.segment_id == path.stem
    assert list(FrameReader(sealed.path)) == [b"a", b"b", b"c"]
    assert open_segments(writer.spool_dir) == []
    stats = writer.stats
    assert (stats.frames_durable, stats.rows_durable, stats.segments_sealed) == (3, 6, 1)
    assert (stats.bytes_accepted, stats.oldest_unsealed_s) == (sealed.bytes, 0.0)
    with pytest.raises(FrameError, match="capture is closed"):
        writer.append([b"d"])


def test_a_batch_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = CaptureWriter(tmp_path, capture())
    writer.append([b"first"])
    calls: list[int] = []
    real = os.write

    def counted(fd: int, data: bytes) -> int:
        calls.append(fd)
        return real(fd, data)

    monkeypatch.setattr(os, "write", counted)
    writer.append([b"x" * 600] * 64)
    monkeypatch.undo()
    writer.close()
    assert len(calls) == 1


def test_segments_seal_by_size(tmp_path: Path, payloads_in: Payloads) -> None:
    writer = CaptureWriter(tmp_path, capture(segment_size=1000))
    sent = [bytes([number]) * 300 for number in range(10)]
    for payload in sent:
        writer.append([payload])
    writer.append([b"large" * 1000])  # over the size alone: a segment of its own
    writer.append([b"last"])
    writer.close()
    assert [each.bytes <= 1000 for each in sealed_segments(tmp_path)].count(False) == 1
    assert len(sealed_segments(tmp_path)) == 6
    assert payloads_in(tmp_path) == [*sent, b"large" * 1000, b"last"]


def test_an_idle_segment_seals_by_age(tmp_path: Path, clock: Any, wait_until: WaitUntil) -> None:
    writer = CaptureWriter(tmp_path, capture(segment_age=timedelta(seconds=60)), clock=clock)
    writer.tick()
    assert list(tmp_path.iterdir()) == []  # nobody asked: no file
    writer.append([b"a"])
    clock.now += 59
    writer.tick()
    assert len(open_segments(tmp_path)) == 1
    assert writer.stats.oldest_unsealed_s == 59
    clock.now += 1
    writer.tick()
    wait_until(lambda: len(sealed_segments(tmp_path)) == 1)
    assert open_segments(tmp_path) == []
    wait_until(lambda: writer.stats.segments_sealed == 1)
    assert writer.stats.segments_unsealed == 0
    writer.append([b"b"])
    clock.now += 61
    writer.append([b"c"])  # a busy writer needs no tick
    wait_until(lambda: len(sealed_segments(tmp_path)) == 2)
    writer.close()
    assert [list(FrameReader(each.path)) for each in sealed_segments(tmp_path)] == [
        [b"a"],
        [b"b"],
        [b"c"],
    ]


def test_many_threads_append_each_frame_once(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path, capture(segment_size=20_000))

    def lane(number: int) -> dict[tuple[str, int], bytes]:
        said: dict[tuple[str, int], bytes] = {}
        for turn in range(100):
            batch = [f"{number}-{turn}-{each}".encode() * 5 for each in range(5)]
            segment, first = writer.append(batch) or ("", 0)
            said.update({(segment, frame): each for frame, each in enumerate(batch, first)})
        return said

    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lane, range(8)))
    writer.close()
    said = {place: payload for part in parts for place, payload in part.items()}
    found = {
        (each.segment_id, frame): payload
        for each in sealed_segments(tmp_path)
        for frame, payload in enumerate(FrameReader(each.path))
    }
    assert len(said) == 4000
    assert found == said


class GatedFsync:
    """Stands before ``os.fsync``: counts calls, holds them up, makes them fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()
        self.failures = 0
        self._real = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, fd: int) -> None:
        self.calls += 1
        assert self.gate.wait(30)
        if self.failures:
            self.failures -= 1
            raise OSError(5, "Input/output error")
        self._real(fd)


def test_with_durability_host_callers_share_an_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    writer = CaptureWriter(tmp_path, capture(durability="host"))
    writer.append([b"first"])
    assert writer.stats.frames_durable == 1  # before the answer
    disk = GatedFsync(monkeypatch)
    disk.gate.clear()
    with ThreadPoolExecutor(20) as pool:
        leader = pool.submit(writer.append, [b"leader" * 10])
        wait_until(lambda: disk.calls == 1)
        others = [pool.submit(writer.append, [bytes([number]) * 60]) for number in range(19)]
        [path] = open_segments(tmp_path)
        wait_until(lambda: path.stat().st_size == 21 + 20 * 76)  # all are written, none answered
        assert not leader.done() and not any(other.done() for other in others)
        assert writer.stats.frames_accepted == 1
        disk.gate.set()
        places = [each.result() for each in (leader, *others)]
    assert disk.calls == 2
    assert len({place for place in places if place}) == 20
    assert writer.stats.frames_durable == 21
    monkeypatch.undo()
    writer.close()


@pytest.mark.parametrize("policy", ["block", "reject", "drop"])
def test_after_a_failed_fsync_a_new_segment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, payloads_in: Payloads, policy: str
) -> None:
    writer = CaptureWriter(tmp_path, capture(durability="host", when_full=policy))
    writer.append([b"before"])
    [old] = open_segments(tmp_path)
    disk = GatedFsync(monkeypatch)
    disk.failures = 1
    if policy == "block":  # it waits, and there is a disk that works
        place = writer.append([b"retried"])
        assert place is not None and place[0] != old.stem
    elif policy == "reject":
        with pytest.raises(CaptureFullError, match="could not be made durable"):
            writer.append([b"retried"])
    else:
        assert writer.append([b"retried"], rows=4) is None
        assert writer.stats.rows_dropped == 4
    monkeypatch.undo()
    place = writer.append([b"after"])
    assert place is not None and place[0] != old.stem
    assert (writer.stats.sync_failures, bool(writer.stats.problem)) == (1, True)
    writer.close()
    recover_segments(tmp_path)
    assert sorted(payloads_in(tmp_path)) == sorted(
        [b"before", b"after", *([b"retried"] if policy == "block" else [])]
    )
    assert len(sealed_segments(tmp_path)) == 2


def test_all_who_shared_a_failed_fsync_go_elsewhere_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: WaitUntil,
    payloads_in: Payloads,
) -> None:
    writer = CaptureWriter(tmp_path, capture(durability="host"))
    writer.append([b"before"])
    disk = GatedFsync(monkeypatch)
    disk.gate.clear()
    disk.failures = 1
    sent = [bytes([number]) * 60 for number in range(10)]
    with ThreadPoolExecutor(10) as pool:
        calls = [pool.submit(writer.append, [payload]) for payload in sent]
        [path] = open_segments(tmp_path)
        wait_until(lambda: path.stat().st_size == 22 + 10 * 76)
        disk.gate.set()
        places = [call.result() for call in calls]
    monkeypatch.undo()
    assert path.stem not in {place[0] for place in places if place}
    writer.close()
    assert sorted(payloads_in(tmp_path)) == sorted([b"before", *sent])


def test_under_process_a_failed_fsync_leaves_the_segment_to_recovery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = CaptureWriter(tmp_path, capture())
    writer.append([b"answered"])
    disk = GatedFsync(monkeypatch)
    disk.failures = 1
    writer.close()
    assert (writer.stats.seal_failures, writer.stats.frames_durable) == (1, 0)
    monkeypatch.undo()
    [path] = open_segments(tmp_path)
    [found] = recover_segments(tmp_path)
    assert (found.segment_id, found.frames, found.loss.lost_bytes) == (path.stem, 1, 0)


def test_a_segment_deleted_under_the_writer_is_noticed(
    tmp_path: Path, clock: Any, payloads_in: Payloads
) -> None:
    writer = CaptureWriter(tmp_path, capture(), clock=clock)
    writer.append([b"a", b"b"])
    open_segments(tmp_path)[0].unlink()
    writer.tick()
    assert writer.stats.frames_lost == 2
    assert "deleted" in writer.stats.problem
    writer.append([b"c"])
    writer.close()
    assert payloads_in(tmp_path) == [b"c"]


def test_a_spool_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FrameError, match="cannot be made: Not a directory; set spool_dir"):
        CaptureWriter(tmp_path / "file" / "spool", capture())


def test_a_disk_that_cannot_keep_up_gets_larger_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, payloads_in: Payloads
) -> None:
    writer = CaptureWriter(tmp_path, capture(segment_size=100))
    disk = GatedFsync(monkeypatch)
    disk.gate.clear()
    sent = [bytes([number]) * 60 for number in range(100)]
    for payload in sent:
        writer.append([payload])
    assert len(open_segments(tmp_path)) < 25
    assert writer.stats.segments_unsealed == len(open_segments(tmp_path))
    disk.gate.set()
    writer.close()
    monkeypatch.undo()
    assert payloads_in(tmp_path) == sent


def test_segments_of_a_writer_are_in_order_whatever_the_clock_does(
    tmp_path: Path, payloads_in: Payloads
) -> None:
    times = iter([5.0, 5.0, 2.0, 9.0, 1.0])
    writer = CaptureWriter(tmp_path, capture(segment_size=1), wall_clock=lambda: next(times))
    sent = [bytes([number]) for number in range(5)]
    for payload in sent:
        writer.append([payload])
    writer.close()
    assert payloads_in(tmp_path) == sent


KILLED = """
import os, sys
from pathlib import Path
from trueup.config.serving import CaptureSettings
from trueup.serving.capture.writer import CaptureWriter
writer = CaptureWriter(Path(sys.argv[1]), CaptureSettings(min_free=0))
writer.append([b"parent"])
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_appended_is_recovered(tmp_path: Path, payloads_in: Payloads) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    [path] = open_segments(tmp_path)
    [found] = recover_segments(tmp_path)
    assert (found.segment_id, found.frames, found.problem) == (path.stem, 1, "")
    assert payloads_in(tmp_path) == [b"parent"]
