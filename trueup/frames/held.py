"""A frame file that this process alone may change, by ``flock`` for as long as it is held.

The lock belongs to the open file, so the kernel drops it with the process, however that dies; no
process id is ever asked for. A child made by ``fork`` closes its copies at once: it would otherwise
keep the lock after its parent is dead.
"""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from pathlib import Path
from types import TracebackType

from trueup.errors import FrameError

_held: weakref.WeakSet[HeldFile] = weakref.WeakSet()


class HeldFile:
    """An open, exclusively locked file.

    :param path: of the file.
    :param create: make it when it is not there.
    :raises FrameError: when it is not there, cannot be opened or another process holds it.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self.fd = _open_locked(path, create=create)
        _held.add(self)

    @property
    def size(self) -> int:
        return os.fstat(self.fd).st_size

    @property
    def is_in_place(self) -> bool:
        """Whether the file is still found under its name (nobody deleted or replaced it)."""
        return _is_still_at(self.path, self.fd)

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes, durably."""
        os.ftruncate(self.fd, size)
        os.fsync(self.fd)

    def close(self) -> None:
        """Let go of the file; closing twice does nothing."""
        _held.discard(self)
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def __enter__(self) -> HeldFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _open_locked(path: Path, *, create: bool) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    while True:
        try:
            fd = os.open(path, flags, 0o640)
        except OSError as error:
            raise FrameError(f"frame file {path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still_at(path, fd):
                return fd
        except OSError as error:
            os.close(fd)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise FrameError(
                    f"frame file {path} is held by another process",
                    remedy="try again when that process has ended",
                    retry=True,
                ) from error
            raise FrameError(
                f"frame file {path} cannot be locked: {error.strerror}",
                remedy="keep the spool on a local file system",
            ) from error
        # Between open and lock its former holder deleted it: this is a file without a name.
        os.close(fd)


def _is_still_at(path: Path, fd: int) -> bool:
    ours = os.fstat(fd)
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)


def _close_in_child() -> None:
    for held in list(_held):
        held.close()


os.register_at_fork(after_in_child=_close_in_child)
