"""Whether the spool has room: its own size, and the free space of its disk."""

from __future__ import annotations

import os
from pathlib import Path

from trueup.config.duration import write_bytes
from trueup.config.serving import CaptureSettings


class Room:
    """Knows how much may still be written, and looks anew when what it knows is old.

    :param used: bytes of all files in the spool, of every writer, when last looked at, plus what
        this writer has written since. Several writers may pass ``max_spool`` by what they write
        between two looks.
    :param free: bytes that the disk has, likewise.
    """

    def __init__(self, spool_dir: Path, settings: CaptureSettings) -> None:
        self.spool_dir = spool_dir
        self.max_spool = settings.max_spool
        self.min_free = settings.min_free
        self.used = 0
        self.free = 0
        self._failure = ""
        self._looked_at = float("-inf")

    def look(self, now: float) -> None:
        """Measure; a spool that cannot be measured is full, and says why."""
        self._looked_at = now
        try:
            disk = os.statvfs(self.spool_dir)
            with os.scandir(self.spool_dir) as entries:
                used = sum(_size(entry) for entry in entries)
        except OSError as error:
            self._failure = f"spool {self.spool_dir} cannot be read: {error.strerror}"
            return
        self._failure = ""
        self.used, self.free = used, disk.f_bavail * disk.f_frsize

    def why_full(self, size: int, now: float, max_age_s: float) -> str:
        """Why ``size`` bytes more have no room; empty when they have.

        :param max_age_s: how old a measurement may be.
        """
        if now - self._looked_at >= max_age_s:
            self.look(now)
        if self._failure:
            return self._failure
        if self.used + size > self.max_spool:
            return (
                f"spool {self.spool_dir} is full: it holds {self.used} bytes, and "
                f"capture.max_spool is {write_bytes(self.max_spool)}"
            )
        if self.free - size < self.min_free:
            return (
                f"the disk of spool {self.spool_dir} is full: {self.free} bytes are free, and "
                f"capture.min_free is {write_bytes(self.min_free)}"
            )
        return ""

    def spend(self, size: int) -> None:
        self.used += size
        self.free -= size


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:  # compacted and deleted, or sealed under its other name
        return 0
