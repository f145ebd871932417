"""A writer killed at random points loses nothing that it acknowledged."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trueup.frames.reader import FrameReader, recover

# Each payload is a function of its index, so that whatever is found can be checked.
WRITER = """
import hashlib, sys
from pathlib import Path
from trueup.frames.writer import FrameWriter
writer = FrameWriter(Path(sys.argv[1]))
size, batch = int(sys.argv[2]), int(sys.argv[3])
while True:
    ids = range(writer.frames, writer.frames + batch)
    writer.append([hashlib.sha256(str(i).encode()).digest() * (size // 32) for i in ids])
    print(writer.frames, flush=True)
"""


def payload(index: int, size: int) -> bytes:
    return hashlib.sha256(str(index).encode()).digest() * (size // 32)


def kill_and_recover(path: Path, rounds: int, seed: int) -> int:
    """Kill ``rounds`` writers of one file, one after another; return how many tails were torn."""
    chance = random.Random(seed)
    torn = 0
    acknowledged = 0
    sizes: list[int] = []
    for _ in range(rounds):
        size, batch = chance.choice([(32, 3), (4_000, 50), (2_000_000, 8)])
        begin = acknowledged
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(size), str(batch)],
            stdout=subprocess.PIPE,
        ) as writer:
            assert writer.stdout is not None
            for _ in range(chance.randint(1, 12)):
                acknowledged = int(writer.stdout.readline())
            # Somewhere in its next batch, not always at the same point behind the last answer.
            threading.Event().wait(chance.uniform(0, 0.03))
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().split()
        if rest:
            acknowledged = int(rest[-1])
        found = recover(path)
        torn += found.cut_bytes > 0
        assert found.frames >= acknowledged
        sizes += [size] * (found.frames - begin)
        acknowledged = found.frames
    frames = list(FrameReader(path))
    assert len(frames) == acknowledged
    for index, (frame, size) in enumerate(zip(frames, sizes, strict=True)):
        assert frame == payload(index, size)
    return torn


def test_killed_writers_lose_nothing(tmp_path: Path) -> None:
    kill_and_recover(tmp_path / "a.seg", rounds=4, seed=1)


@pytest.mark.chaos
def test_many_killed_writers_lose_nothing(tmp_path: Path) -> None:
    torn = 0
    for number in range(10):
        path = tmp_path / f"{number}.seg"
        torn += kill_and_recover(path, rounds=10, seed=2 + number)
        path.unlink()  # each grows to some hundred megabytes
    print(f"{torn} of 100 tails were torn")
