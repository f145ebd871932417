"""Where the workers of one server leave their numbers for one another: a folder of its own, so that
several servers may share a spool, held by a lock for as long as the supervisor lives."""

from __future__ import annotations

import logging
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from trueup.errors import FrameError
from trueup.frames.held import HeldFile
from trueup.serving.metrics import file_of

_log = logging.getLogger(__name__)

_LOCK = ".lock"


class ServerFolder:
    """The folder ``name`` in ``parent``. Folders of servers that are dead are removed: the lock
    tells (never a process id, which two containers may have in common).

    :raises OSError: it cannot be made.
    """

    def __init__(self, parent: Path) -> None:
        self.name = uuid.uuid4().hex[:16]
        self.folder = parent / self.name
        parent.mkdir(parents=True, exist_ok=True)
        # Before the folder: one without a lock is nobody's.
        self._held = HeldFile(parent / f"{self.name}{_LOCK}", create=True)
        self.folder.mkdir()
        remove_dead(parent)

    def forget(self, worker: int) -> None:
        """A worker has ended: what it had last is no number of a living process."""
        with suppress(OSError):
            (self.folder / file_of(worker)).unlink()

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self._held.path.unlink()
        self._held.close()


def remove_dead(parent: Path) -> None:
    """Remove what dead servers have left in ``parent``, and files of earlier releases."""
    for lock in parent.glob(f"*{_LOCK}"):
        try:
            with HeldFile(lock):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink()
        except (FrameError, OSError):  # its server lives, or another one was quicker
            continue
    for path in parent.iterdir():
        if path.is_dir() and not path.with_suffix(_LOCK).exists():
            shutil.rmtree(path, ignore_errors=True)
        elif path.match(file_of(0).replace("0", "*")):
            path.unlink(missing_ok=True)
