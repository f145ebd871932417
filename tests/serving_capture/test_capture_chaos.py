"""Writers and recoveries killed at random: every append that returned is in the spool once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from trueup.frames.reader import FrameReader
from trueup.frames.segment_files import open_segments, recover_segments, sealed_segments

# Three lanes append until the process is killed, and say of each frame where it is. A line is one
# write of less than PIPE_BUF bytes, so that it is whole or absent.
WRITER = """
import os, random, sys, threading
from pathlib import Path
from trueup.config.serving import CaptureSettings
from trueup.serving.capture.writer import CaptureWriter
spool, name, durability, size = sys.argv[1:]
settings = CaptureSettings(
    min_free=0, durability=durability, segment_size=int(size), segment_age="1s"
)
writer = CaptureWriter(Path(spool), settings)

def lane(number):
    chance = random.Random(f"{name}-{number}")
    turn = 0
    while True:
        batch = []
        for _ in range(chance.randint(1, 8)):
            batch.append(f"{name}-{number}-{turn}".encode().ljust(chance.choice([20, 700, 60_000])))
            turn += 1
        segment, first = writer.append(batch)
        for frame, payload in enumerate(batch, first):
            os.write(1, f"{payload.decode().strip()} {segment} {frame}\\n".encode())

for number in range(3):
    threading.Thread(target=lane, args=(number,)).start()
while True:
    threading.Event().wait(0.05)
    writer.tick()
"""

RECOVERY = """
import sys
from pathlib import Path
from trueup.frames.segment_files import recover_segments
while True:
    for found in recover_segments(Path(sys.argv[1])):
        assert not found.problem, found
        assert not found.loss.is_damage, found
"""


@dataclass
class Spool:
    """A spool, what was said of it, and how many processes died at it."""

    path: Path
    chance: random.Random
    acknowledged: dict[str, tuple[str, int]] = field(default_factory=dict)
    kills: int = 0
    recovered: int = 0

    def round(self, number: int) -> None:
        """Two writers and a recovery, each killed at a random moment; then perhaps a recovery."""
        writers = []
        for each in range(2):
            durability = self.chance.choice(["process", "process", "host"])
            size = self.chance.choice(["50000", "2000000"])
            command = [sys.executable, "-c", WRITER, str(self.path), f"{number}.{each}"]
            writers.append(
                subprocess.Popen([*command, durability, size], stdout=subprocess.PIPE, text=True)
            )
        recovery = subprocess.Popen([sys.executable, "-c", RECOVERY, str(self.path)], text=True)
        for writer in writers:
            assert writer.stdout is not None
            self.note(writer.stdout.readline())
        for process in self.chance.sample([*writers, recovery], 3):
            threading.Event().wait(self.chance.uniform(0, 0.15))
            assert process.poll() is None, "it ended before it was killed"
            process.send_signal(signal.SIGKILL)
            self.kills += 1
            if process is not recovery:
                output, _ = process.communicate()
                for line in output.splitlines(keepends=True):
                    self.note(line)
        recovery.wait()
        if self.chance.random() < 0.3:
            self.recover()

    def note(self, line: str) -> None:
        if line.endswith("\n"):  # the last one may be cut
            name, segment, frame = line.split()
            assert name not in self.acknowledged
            self.acknowledged[name] = (segment, int(frame))

    def recover(self) -> None:
        found = recover_segments(self.path)
        assert not any(each.problem or each.loss.is_damage for each in found)
        self.recovered += len(found)

    def check(self) -> None:
        self.recover()
        assert open_segments(self.path) == []
        found: Counter[str] = Counter()
        for segment in sealed_segments(self.path):
            for frame, payload in enumerate(FrameReader(segment.path)):
                name = payload.decode().strip()
                found[name] += 1
                said = self.acknowledged.get(name)
                assert said is None or said == (segment.segment_id, frame)
        assert max(found.values()) == 1
        assert set(self.acknowledged) <= set(found)


def test_killed_writers_and_recoveries_lose_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, random.Random(1))
    for number in range(2):
        spool.round(number)
    spool.check()
    assert spool.kills == 6


@pytest.mark.chaos
def test_a_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    kills = recovered = frames = 0
    for part in range(6):
        spool = Spool(tmp_path / str(part), random.Random(100 + part))
        spool.path.mkdir()
        for number in range(6):
            spool.round(number)
        spool.check()
        kills, recovered = kills + spool.kills, recovered + spool.recovered
        frames += len(spool.acknowledged)
        for path in spool.path.iterdir():
            path.unlink()
    assert kills >= 100
    print(f"{kills} kills, {frames} frames acknowledged, {recovered} segments recovered")
