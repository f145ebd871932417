"""What a launcher that was killed may leave on this machine, found by a mark that no other process
can have: each launch has a random one, in the environment of all its processes."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from trueup.errors import BadInputError

MARK = "TRUEUP_LAUNCH"
_LOCK = "launch.lock"
_RECORD = "launch.json"
_LIMIT_S = 30.0


@contextmanager
def launching(folder: Path, mark: str) -> Iterator[None]:
    """Hold the job's folder while its tasks run, and write the mark down before the first starts.

    :raises BadInputError: another launcher holds it.
    """
    with _lock(folder) as held:
        if not held:
            raise BadInputError(
                f"job folder {folder} is in use by another launcher",
                remedy="wait for it, or cancel that job",
            )
        _end_of(folder)
        (folder / _RECORD).write_text(json.dumps({"mark": mark, "launcher": os.getpid()}))
        yield
        (folder / _RECORD).unlink(missing_ok=True)


def reap(folder: Path) -> int:
    """End what is left of the job in ``folder``, unless its launcher lives; how many processes."""
    if not folder.is_dir():
        return 0
    with _lock(folder) as held:
        return _end_of(folder) if held else 0


def is_held(folder: Path) -> bool:
    """Whether a launcher on this machine runs the job in ``folder``."""
    if not folder.is_dir():
        return False
    with _lock(folder) as held:
        return not held


def _end_of(folder: Path) -> int:
    try:
        mark = str(json.loads((folder / _RECORD).read_text())["mark"])
    except (FileNotFoundError, ValueError, KeyError):
        return 0
    ended = end_marked(mark)
    (folder / _RECORD).unlink(missing_ok=True)
    return ended


def end_marked(mark: str) -> int:
    """Kill all processes that carry ``mark``, and wait until they are gone; how many.

    A process is held by a descriptor before it is looked at, so that its number cannot become
    another's in between. Those of other users cannot be looked at, and are not ours.
    """
    wanted = f"{MARK}={mark}".encode()
    ended, limit = 0, monotonic() + _LIMIT_S
    while monotonic() < limit:
        found = 0
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                found += _end_one(int(entry.name), wanted)
        if not found:  # children that were being started while we looked are found by now
            break
        ended += found
    return ended


def _end_one(pid: int, wanted: bytes) -> bool:
    if not _carries(pid, wanted):
        return False
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not _carries(pid, wanted):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        select.select([descriptor], [], [], 10.0)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def _carries(pid: int, wanted: bytes) -> bool:
    try:
        return wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False  # gone, another user's, or the kernel's


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Whether the lock could be had; the kernel frees it when its holder is gone."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
