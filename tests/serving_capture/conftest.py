"""A clock that tests set, waiting for a condition, and a small file system that fills up."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trueup.frames.reader import FrameReader
from trueup.frames.segment_files import open_segments, sealed_segments


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, "nothing happened within 30 seconds"
            threading.Event().wait(0.002)

    return wait


@pytest.fixture
def payloads_in() -> Callable[[Path], list[bytes]]:
    """All payloads of a spool, of open and sealed segments, in order of segments."""

    def read(spool_dir: Path) -> list[bytes]:
        paths = [*open_segments(spool_dir), *(each.path for each in sealed_segments(spool_dir))]
        return [payload for path in sorted(paths) for payload in FrameReader(path)]

    return read


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("there is no mount command")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
