"""Segment files: ids, sealing, recovery by several at once and beside live writers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.config.serving import CaptureSettings
from trueup.errors import FrameError
from trueup.frames.format import encode
from trueup.frames.held import HeldFile
from trueup.frames.reader import FrameReader
from trueup.frames.segment_files import (
    delete_segment,
    mint_segment_id,
    open_path,
    open_segments,
    recover_segments,
    seal_held,
    sealed_path,
    sealed_segments,
)
from trueup.records.identity import RowId
from trueup.serving.capture.writer import CaptureWriter

Payloads = Callable[[Path], list[bytes]]
MS = st.integers(0, 2**48 - 1)


@given(first=MS, second=MS, randomness=st.binary(min_size=10, max_size=10))
def test_ids_are_ordered_by_time(first: int, second: int, randomness: bytes) -> None:
    one, other = (mint_segment_id(each, randomness) for each in (first, second))
    assert re.fullmatch(r"[0-9a-z]{26}", one)
    assert (one < other) is (first < second)
    assert RowId.parse(str(RowId(one, 3, 4))).segment == one


@given(st.lists(st.binary(min_size=10, max_size=10), unique=True))
def test_ids_keep_all_of_the_randomness(randomness: list[bytes]) -> None:
    assert len({mint_segment_id(5, each) for each in randomness}) == len(randomness)


def left_behind(spool: Path, name: str, data: bytes) -> Path:
    path = open_path(spool, name.rjust(26, "0"))
    path.write_bytes(data)
    return path


def test_recovery_keeps_whole_frames_and_counts_the_rest(tmp_path: Path) -> None:
    good = encode([b"abc" * 20, b"def" * 20])
    broken = bytearray(encode([b"ghi" * 20]))
    broken[30] ^= 1
    left_behind(tmp_path, "a", good)
    left_behind(tmp_path, "b", good + b"torn")
    left_behind(tmp_path, "c", good + bytes(broken))
    left_behind(tmp_path, "d", good + bytes(broken) + good)
    left_behind(tmp_path, "e", b"")
    left_behind(tmp_path, "f", b"torn")
    left_behind(tmp_path, "g", bytes(broken))
    found = {each.segment_id[-1]: each for each in recover_segments(tmp_path)}
    told = {
        name: (each.frames, each.loss.cut_bytes, each.loss.tail, each.loss.damaged_bytes)
        for name, each in found.items()
    }
    assert told == {
        "a": (2, 0, "clean", 0),
        "b": (2, 4, "torn", 0),
        "c": (2, len(broken), "corrupt", 0),
        "d": (4, 0, "clean", len(broken)),
        "e": (0, 0, "clean", 0),
        "f": (0, 4, "torn", 0),
        "g": (0, len(broken), "corrupt", 0),
    }
    assert not any(each.problem for each in found.values())
    assert [name for name, each in found.items() if each.path is None] == ["e", "f"]
    sealed = sealed_segments(tmp_path)
    assert [each.segment_id[-1] for each in sealed] == ["a", "b", "c", "d", "g"]
    assert [each.loss for each in sealed] == [found[name].loss for name in "abcdg"]
    assert [each.bytes for each in sealed] == [found[name].bytes for name in "abcdg"]
    assert open_segments(tmp_path) == []
    assert recover_segments(tmp_path) == []
    for each in sealed:
        reader = FrameReader(each.path, salvage=True)
        assert len(list(reader)) == found[each.segment_id[-1]].frames
        assert reader.tail_bytes == 0
        delete_segment(tmp_path, each.segment_id)
        delete_segment(tmp_path, each.segment_id)
    assert list(tmp_path.iterdir()) == []


KILLED_AT = """
import os, sys
from pathlib import Path
import trueup.frames.segment_files as segment_files
spool, stop = Path(sys.argv[1]), int(sys.argv[2])
calls = 0
def count(name, owner):
    real = getattr(owner, name)
    def counted(*args, **kwargs):
        global calls
        calls += 1
        if calls == stop:
            os.kill(os.getpid(), 9)
        return real(*args, **kwargs)
    setattr(owner, name, counted)
for name in ("fsync", "ftruncate", "rename", "replace", "unlink"):
    count(name, os)
segment_files.recover_segments(spool)
print(calls)
"""


def test_recovery_killed_at_every_step_is_done_again(tmp_path: Path) -> None:
    """The count of what is lost survives, whether or not the tail was cut already."""
    good = encode([b"abc" * 20])
    broken = bytearray(encode([b"ghi" * 20]))
    broken[30] ^= 1
    content = good + bytes(broken) + good + bytes(50)
    for stop in range(1, 30):
        spool = tmp_path / str(stop)
        spool.mkdir()
        path = left_behind(spool, "a", content)
        left_behind(spool, "b", b"")
        done = subprocess.run(
            [sys.executable, "-c", KILLED_AT, str(spool), str(stop)],
            capture_output=True,
            check=False,
        )
        recover_segments(spool)
        [sealed] = sealed_segments(spool)
        assert sealed.segment_id == path.stem
        assert (sealed.loss.cut_bytes, sealed.loss.damaged_bytes) == (50, len(broken))
        assert sealed.path.read_bytes() == good + bytes(broken) + good
        assert open_segments(spool) == []
        if done.returncode == 0:
            assert int(done.stdout) == stop - 1
            assert stop > 6  # else the steps were not the real ones
            return
    raise AssertionError("recovery never came to its end")


def test_a_held_segment_is_left_alone(tmp_path: Path, payloads_in: Payloads) -> None:
    writer = CaptureWriter(tmp_path, CaptureSettings(min_free=0))
    writer.append([b"live"])
    left_behind(tmp_path, "a", encode([b"dead"]))
    [found] = recover_segments(tmp_path)
    assert found.frames == 1
    writer.append([b"still"])
    assert len(open_segments(tmp_path)) == 1
    writer.close()
    assert payloads_in(tmp_path) == [b"dead", b"live", b"still"]


def test_an_empty_file_locked_by_a_recovery_gives_way_to_another_id(
    tmp_path: Path, payloads_in: Payloads
) -> None:
    """A recovery may be quicker than the writer that has just made its file."""
    minted = iter([bytes(10), bytes(9) + b"\1"])
    taken = open_path(tmp_path, mint_segment_id(0, bytes(10)))
    with HeldFile(taken, create=True):
        writer = CaptureWriter(
            tmp_path,
            CaptureSettings(min_free=0),
            wall_clock=lambda: 0.0,
            randomness=lambda count: next(minted),
        )
        place = writer.append([b"a"])
        assert place is not None and place[0][0] != taken.stem
    recover_segments(tmp_path)
    writer.close()
    assert payloads_in(tmp_path) == [b"a"]


def test_recoveries_beside_writers_lose_and_double_nothing(
    tmp_path: Path, payloads_in: Payloads
) -> None:
    """Writers start and seal segments all the time while several recoveries look at all of them."""
    stop = False

    def recover() -> int:
        rounds = 0
        while not stop:
            found = recover_segments(tmp_path)
            assert not any(each.problem for each in found), found
            assert not any(each.frames for each in found), "a live segment was taken"
            rounds += 1
        return rounds

    def write(number: int) -> list[bytes]:
        writer = CaptureWriter(tmp_path, CaptureSettings(min_free=0, segment_size=100))
        sent = [f"{number}-{turn}".encode() * 20 for turn in range(200)]
        for payload in sent:
            assert writer.append([payload])
        writer.close()
        assert writer.stats.seal_failures == 0
        return sent

    with ThreadPoolExecutor(5) as pool:
        recoveries = [pool.submit(recover) for _ in range(2)]
        try:
            sent = [payload for part in pool.map(write, range(3)) for payload in part]
        finally:
            stop = True
        assert all(each.result() > 0 for each in recoveries)
    assert sorted(payloads_in(tmp_path)) == sorted(sent)


def test_several_recoveries_seal_each_segment_once(tmp_path: Path, payloads_in: Payloads) -> None:
    names = [f"a{number:03}" for number in range(60)]
    for name in names:
        left_behind(tmp_path, name, encode([name.encode()]) + b"torn")
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda _: recover_segments(tmp_path), range(4)))
    found = [each for part in parts for each in part]
    assert sorted(each.segment_id[-4:] for each in found) == names
    assert not any(each.problem for each in found)
    assert payloads_in(tmp_path) == [name.encode() for name in names]


def test_one_segment_that_cannot_be_recovered_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / f"{'0' * 26}.open").mkdir()
    left_behind(tmp_path, "a", encode([b"x"]))
    problem, found = recover_segments(tmp_path)
    assert "cannot be opened: Is a directory" in problem.problem
    assert found.frames == 1


def test_a_spool_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert recover_segments(tmp_path / "none") == []
    assert sealed_segments(tmp_path / "none") == []
    (tmp_path / "file").touch()
    with pytest.raises(FrameError, match="cannot be read"):
        sealed_segments(tmp_path / "file")


def test_sealing_keeps_the_lock_until_it_is_let_go(tmp_path: Path) -> None:
    path = left_behind(tmp_path, "a", encode([b"x"]))
    with HeldFile(path) as held:
        assert seal_held(held) == sealed_path(tmp_path, path.stem)
        assert held.is_in_place
        assert recover_segments(tmp_path) == []
        with pytest.raises(FrameError, match="is held by another process"):
            HeldFile(held.path)
    assert list(tmp_path.iterdir()) == [sealed_path(tmp_path, path.stem)]
