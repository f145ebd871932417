"""A full spool or disk: each policy does what it says, nothing is half there, and it passes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from trueup.config.serving import CaptureSettings
from trueup.errors import CaptureFullError
from trueup.frames.segment_files import delete_segment, sealed_segments
from trueup.serving.capture.writer import CaptureWriter

Payloads = Callable[[Path], list[bytes]]
WaitUntil = Callable[[Callable[[], bool]], None]
KB = b"x" * 984  # 1000 bytes with its framing


def capture(**changes: Any) -> CaptureSettings:
    return CaptureSettings(**{"min_free": 0, "block_timeout": timedelta(seconds=30), **changes})


def fill(writer: CaptureWriter) -> int:
    """Batches of three frames until there is no room; how many fitted."""
    fitted = 0
    while True:
        try:
            if writer.append([KB] * 3) is None:
                return fitted
        except CaptureFullError:
            return fitted
        fitted += 1
        assert fitted < 10_000


def is_full(writer: CaptureWriter) -> bool:
    return writer.stats.full


def test_reject_refuses_at_once_and_goes_on_when_there_is_room(tmp_path: Path, clock: Any) -> None:
    settings = capture(when_full="reject", max_spool=10_000, segment_size=5_000)
    writer = CaptureWriter(tmp_path, settings, clock=clock)
    assert fill(writer) == 3
    with pytest.raises(
        CaptureFullError, match=r"is full: it holds 9000 bytes.*trueup compact"
    ) as told:
        writer.append([KB] * 3, rows=7)
    assert told.value.retry
    assert writer.append([KB]) is not None  # a smaller one has room
    stats = writer.stats
    assert (stats.frames_accepted, stats.frames_rejected, stats.rows_rejected) == (10, 6, 7)
    writer.close()
    freed = sealed_segments(tmp_path)
    writer = CaptureWriter(tmp_path, settings, clock=clock)
    with pytest.raises(CaptureFullError):
        writer.append([KB])  # what others wrote counts too
    assert is_full(writer)
    delete_segment(tmp_path, freed[0].segment_id)
    with pytest.raises(CaptureFullError):
        writer.append([KB])  # measured a moment ago
    clock.now += 1
    assert writer.append([KB]) is not None
    assert not is_full(writer)
    writer.close()


def test_drop_answers_and_counts(tmp_path: Path, clock: Any, payloads_in: Payloads) -> None:
    settings = capture(when_full="drop", max_spool=5_000)
    writer = CaptureWriter(tmp_path, settings, clock=clock)
    assert fill(writer) == 1
    assert writer.append([KB] * 3, rows=6) is None
    stats = writer.stats
    assert (stats.frames_dropped, stats.rows_dropped, stats.frames_rejected) == (6, 6, 0)
    assert "is full" in stats.problem
    writer.close()
    assert payloads_in(tmp_path) == [KB] * 3


def test_block_waits_for_room(tmp_path: Path, wait_until: WaitUntil) -> None:
    settings = capture(max_spool=5_000, segment_size=3_000)
    writer = CaptureWriter(tmp_path, settings)
    writer.append([KB] * 3)
    writer.append([KB])
    wait_until(lambda: len(sealed_segments(tmp_path)) == 1)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(writer.append, [KB, KB]) for _ in range(2)]
        wait_until(lambda: "is full" in writer.stats.problem)
        assert not any(each.done() for each in waiting)
        delete_segment(tmp_path, sealed_segments(tmp_path)[0].segment_id)
        assert all(each.result() is not None for each in waiting)
    writer.close()
    assert (writer.stats.frames_accepted, writer.stats.frames_rejected) == (8, 0)


def test_block_gives_up_after_its_time(tmp_path: Path) -> None:
    settings = capture(max_spool=2_000, block_timeout=timedelta(milliseconds=200))
    writer = CaptureWriter(tmp_path, settings)
    with pytest.raises(CaptureFullError, match=r"max_spool is 2000B"):
        writer.append([KB] * 3)
    assert writer.stats.frames_rejected == 3
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_spool_of_one_open_segment_frees_itself(tmp_path: Path, clock: Any) -> None:
    """The compactor can take only what is sealed."""
    writer = CaptureWriter(tmp_path, capture(when_full="reject", max_spool=4_000), clock=clock)
    assert fill(writer) == 1
    clock.now += 6
    with pytest.raises(CaptureFullError):
        writer.append([KB] * 3)
    writer.close()
    assert len(sealed_segments(tmp_path)) == 1


def test_min_free_counts(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path, capture(when_full="reject", min_free=1 << 60))
    with pytest.raises(CaptureFullError, match=r"the disk of spool .* is full: \d+ bytes are free"):
        writer.append([b"a"])
    writer.close()


@pytest.mark.parametrize("policy", ["reject", "drop", "block"])
def test_a_disk_that_is_really_full(
    small_disk: Path, payloads_in: Payloads, wait_until: WaitUntil, policy: str
) -> None:
    spool = small_disk / "spool"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    settings = capture(when_full=policy, segment_size=100_000)
    writer = CaptureWriter(spool, settings)
    if policy == "block":
        with ThreadPoolExecutor(1) as pool:
            work = pool.submit(lambda: [writer.append([KB] * 3) for _ in range(200)])
            wait_until(lambda: writer.stats.write_failures > 0)
            assert not work.done()
            ballast.unlink()
            assert all(place is not None for place in work.result())
        accepted = 600
    else:
        accepted = 3 * fill(writer)
        assert 300_000 < accepted * 1000 < 560_000
        assert writer.stats.write_failures > 0
        ballast.unlink()
        assert writer.append([KB] * 3) is not None  # by itself
        accepted += 3
    writer.close()
    stats = writer.stats
    assert stats.frames_accepted == accepted
    assert stats.frames_dropped == (3 if policy == "drop" else 0)
    assert stats.frames_rejected == (3 if policy == "reject" else 0)
    assert payloads_in(spool) == [KB] * accepted
    assert not list(spool.glob("*.loss"))


LIMITED = """
import resource, sys
from pathlib import Path
from trueup.config.serving import CaptureSettings
from trueup.errors import CaptureFullError
from trueup.serving.capture.writer import CaptureWriter
writer = CaptureWriter(
    Path(sys.argv[1]), CaptureSettings(min_free=0, when_full=sys.argv[2], block_timeout="1s")
)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
said = []
for number in range(40):
    try:
        said.append(writer.append([bytes([number]) * 984, bytes([number]) * 984]) is not None)
    except CaptureFullError as error:
        said.append(False)
writer.close()
assert writer.stats.frames_accepted == 2 * sum(said), writer.stats
print(sum(said), writer.stats.frames_dropped, writer.stats.frames_rejected)
"""


@pytest.mark.parametrize("policy", ["reject", "drop", "block"])
def test_a_limit_on_the_size_of_files(tmp_path: Path, payloads_in: Payloads, policy: str) -> None:
    """The batch that does not fit leaves nothing behind, and the next segment goes on."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), policy],
        check=True,
        capture_output=True,
        text=True,
    )
    fitted, dropped, rejected = map(int, done.stdout.split())
    frames = payloads_in(tmp_path)
    assert len(frames) == 2 * fitted
    assert all(first == second for first, second in zip(frames[::2], frames[1::2], strict=True))
    if policy == "block":
        assert (fitted, dropped, rejected) == (40, 0, 0)
    else:
        lost = dropped if policy == "drop" else rejected
        assert fitted >= 30 and 2 * fitted + lost == 80
    assert all(each.bytes <= 10_000 for each in sealed_segments(tmp_path))


def test_a_spool_deleted_as_a_whole_is_made_again(tmp_path: Path, clock: Any) -> None:
    spool = tmp_path / "spool"
    writer = CaptureWriter(spool, capture(when_full="reject"), clock=clock)
    writer.append([KB])
    for path in spool.iterdir():
        path.unlink()
    spool.rmdir()
    clock.now += 1
    writer.tick()
    assert writer.stats.frames_lost == 1
    with pytest.raises(CaptureFullError, match="cannot be read: No such file"):
        writer.append([KB])
    spool.mkdir()
    clock.now += 1
    assert writer.append([KB]) is not None
    writer.close()
