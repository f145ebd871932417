"""Appending to a frame file: one ``write`` for a batch, wholly or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from trueup.errors import FrameError
from trueup.frames.format import encode
from trueup.frames.held import HeldFile
from trueup.frames.reader import Recovery, recover_held


class FrameWriter:
    """Holds ``path`` and appends frames to it.

    What is appended survives ``kill -9`` of this process when :meth:`append` returns; with
    ``sync`` it survives power loss. A file left by a dead writer is recovered first.

    :param sync: ``fsync`` before :meth:`append` returns.
    :raises FrameError: when another process holds the file, or it is damaged before its tail.
    """

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        self.path = path
        self.sync = sync
        self.held = HeldFile(path, create=True)
        try:
            self.recovery: Recovery = recover_held(self.held)
            if sync:
                sync_folder(path.parent)
        except BaseException:
            self.held.close()
            raise
        self.frames = self.recovery.frames
        self.size = self.held.size
        self._torn = False
        self._failed = False

    def append(self, payloads: Sequence[bytes]) -> int:
        """Write all of ``payloads`` and return the index of the first of them in the file.

        :raises FrameError: as :meth:`append_encoded`; also when a payload is too long.
        """
        return self.append_encoded(encode(payloads), len(payloads))

    def append_encoded(self, data: bytes, count: int) -> int:
        """Write ``data``, which is ``count`` frames already encoded; else as :meth:`append`.

        :raises FrameError: when they could not be written (a full disk, a size limit). The file is
            then as it was before the call, and ``retry`` says whether the writer can go on.
        """
        if self._failed or self.held.fd < 0:
            raise FrameError(
                f"frame file {self.path} takes no more frames",
                remedy="open another one",
            )
        first = self.frames
        try:
            if self._torn:
                self._roll_back()
            self._write(data)
        except OSError as error:
            self._undo()
            raise FrameError(
                f"{count} frames could not be written to {self.path}: {error.strerror}",
                remedy="free disk space or raise the limit",
                retry=True,
            ) from error
        except BaseException:  # a signal handler raised in the middle of the batch
            self._undo()
            raise
        if self.sync:
            self.flush()
        self.size += len(data)
        self.frames += count
        return first

    def _write(self, data: bytes) -> None:
        written = os.write(self.held.fd, data)
        rest = memoryview(data)
        while written < len(data):  # a nearly full disk takes a part, then says why
            written += os.write(self.held.fd, rest[written:])

    def flush(self) -> None:
        """``fsync``. After a failure the kernel may have dropped the pages and forgotten it, so
        no later success can be believed: the writer takes no more frames."""
        try:
            os.fsync(self.held.fd)
        except OSError as error:
            self._failed = True
            self._undo()
            raise FrameError(
                f"frame file {self.path} could not be made durable: {error.strerror}",
                remedy="check the disk; open another file",
            ) from error

    @property
    def torn(self) -> bool:
        """Whether bytes that were taken back are still in the file, because cutting it failed."""
        return self._torn

    def cut_to(self, size: int, frames: int) -> None:
        """Take back what was appended behind ``size``, before which lie ``frames`` frames. See
        ``torn`` for whether that worked."""
        self.size, self.frames = size, frames
        self._undo()

    def _undo(self) -> None:
        """Take a half-written batch back now, or before the next one if even that fails."""
        try:
            self._roll_back()
        except OSError:
            self._torn = True

    def _roll_back(self) -> None:
        os.ftruncate(self.held.fd, self.size)
        self._torn = False

    def close(self) -> None:
        """Let go of the file; closing twice does nothing."""
        self.held.close()

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def sync_folder(folder: Path) -> None:
    """Make the names of files in ``folder`` durable: new ones, changed ones, deleted ones."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
