"""One segment while a server writes it: appending, ``fsync`` shared by many callers, sealing."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import NamedTuple

from trueup.frames.segment_files import open_path, seal_held
from trueup.frames.writer import FrameWriter, sync_folder


class Mark(NamedTuple):
    """A place in a segment: bytes, frames and rows before it."""

    size: int
    frames: int
    rows: int


class OpenSegment:
    """Held, and appended to. ``lock`` guards everything but the ``fsync`` itself.

    :param sync: answers wait for ``fsync`` (durability "host"): what could not be made durable is
        cut off again, for its attempts are not answered.
    :raises FrameError: when it cannot be made; with ``retry`` when a recovery was quicker to lock
        the empty file, and another id will do.
    """

    def __init__(
        self,
        spool_dir: Path,
        segment_id: str,
        *,
        lock: threading.Lock,
        sync: bool,
        opened_at: float,
    ) -> None:
        self.segment_id = segment_id
        self.opened_at = opened_at
        self.rows = 0
        self.durable = Mark(0, 0, 0)
        self.sync_failure = ""
        self._sync = sync
        self._lock = lock
        self._synced = threading.Condition(lock)
        self._syncing = False
        self._file = FrameWriter(open_path(spool_dir, segment_id))
        if sync:
            try:
                sync_folder(spool_dir)
            except OSError:
                self._file.close()
                raise

    @property
    def mark(self) -> Mark:
        return Mark(self._file.size, self._file.frames, self.rows)

    @property
    def size(self) -> int:
        return self._file.size

    @property
    def in_place(self) -> bool:
        return self._file.held.is_in_place

    @property
    def torn(self) -> bool:
        """Whether a batch that was not answered is still partly there, because cutting failed."""
        return self._file.torn

    def append(self, data: bytes, frames: int, rows: int) -> int:
        """One write of ``data``, wholly or not at all; the index of its first frame. Lock held."""
        first = self._file.append_encoded(data, frames)
        self.rows += rows
        return first

    def mend(self) -> bool:
        """Try again to cut off what was not answered; whether nothing of it is left. Lock held."""
        if self._file.torn:
            self._file.cut_to(self._file.size, self._file.frames)
        return not self._file.torn

    def commit(self, upto: int) -> bool:
        """Wait until the first ``upto`` bytes are durable; ``False`` when that failed. Lock free.

        Whoever comes first calls ``fsync`` for all; who comes meanwhile shares the next one.
        """
        with self._lock:
            while True:
                if self.durable.size >= upto:
                    return True
                if self.sync_failure:
                    return False
                if not self._syncing:
                    break
                self._synced.wait()
            self._syncing = True
            reached = self.mark
        failure = ""
        try:
            os.fsync(self._file.held.fd)
        except OSError as error:
            failure = f"segment {self.segment_id} could not be made durable: {error.strerror}"
        finally:
            with self._lock:
                self._syncing = False
                if failure:
                    self._fail(failure)
                else:
                    self.durable = reached
                self._synced.notify_all()
        return not failure

    def _fail(self, failure: str) -> None:
        """After a failed ``fsync`` the kernel may have dropped pages and forgotten it, so no later
        success can be believed: this segment takes no more frames."""
        self.sync_failure = failure
        if self._sync:
            self._file.cut_to(self.durable.size, self.durable.frames)
            self.rows = self.durable.rows

    def abandon(self) -> None:
        """Let go of it as it is."""
        self._file.close()

    def seal(self) -> bool:
        """Make it durable, give it its final name and let go of it; an empty one is deleted.

        ``False`` when the disk failed: it is then left to recovery, which looks at every byte.
        Nothing may be appended meanwhile. Lock free.
        """
        try:
            if not self._file.size and not self._file.torn:
                self._file.path.unlink(missing_ok=True)
                return True
            if not self.commit(self._file.size):
                return False
            seal_held(self._file.held)
            return True
        except OSError as error:
            self.sync_failure = f"segment {self.segment_id} could not be sealed: {error.strerror}"
            return False
        finally:
            self._file.close()
