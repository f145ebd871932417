"""Writes what was answered into the spool: one writer per server process, for all its models.

The answer to an attempt leaves after :meth:`CaptureWriter.append` has returned. What was appended
is then in a file (durability "process") or on the disk ("host"), once; a batch that could not be
written wholly is not there at all.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from trueup.config.serving import CaptureSettings
from trueup.errors import CaptureFullError, FrameError
from trueup.frames.format import encode
from trueup.frames.segment_files import RANDOM_BYTES, mint_segment_id
from trueup.frames.writer import sync_folder
from trueup.serving.capture.room import Room
from trueup.serving.capture.sealer import Sealer
from trueup.serving.capture.segment import OpenSegment
from trueup.serving.capture.stats import Batch, CaptureStats, Counts

_LOOK_EVERY_S = 1.0
_LOOK_WHILE_BLOCKED_S = 0.1
#: A spool that is full may be so by the open segment alone; but many small ones help nobody.
_EARLIEST_SEAL_S = 5.0
#: Segments that wait to be sealed, each with its file open. A disk that cannot keep up gets larger
#: segments, not more of them.
_MOST_WAITING = 16
_FULL = (errno.ENOSPC, errno.EDQUOT)


class CaptureWriter:
    """Appends frames to segments in ``spool_dir``; several threads may call it at once.

    :param clock: seconds that never run backwards, for ages and waits.
    :param wall_clock: seconds since 1970, for segment ids.
    :param randomness: as ``os.urandom``.
    :raises FrameError: when the folder cannot be made.
    """

    def __init__(
        self,
        spool_dir: Path,
        settings: CaptureSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        randomness: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.spool_dir = spool_dir
        self.settings = settings
        self._clock, self._wall_clock, self._randomness = clock, wall_clock, randomness
        self._age_s = settings.segment_age.total_seconds()
        self._sync = settings.durability == "host"
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._room = Room(spool_dir, settings)
        self._sealer = Sealer(self._sealed)
        self._segment: OpenSegment | None = None
        self._counts = Counts()
        self._minted_ms = -1
        self._closed = False
        try:
            _make_folder(spool_dir)
        except OSError as error:
            raise FrameError(
                f"spool {spool_dir} cannot be made: {error.strerror}",
                remedy="set spool_dir to a folder on a local disk that can be written",
            ) from error

    def append(
        self,
        payloads: Sequence[bytes],
        *,
        model: str = "",
        rows: int = 0,
        newest_event_us: int | None = None,
    ) -> tuple[str, int] | None:
        """Write ``payloads`` as one batch, and say where it is.

        :param model: whose attempts these are; ``rows`` and ``newest_event_us`` (event time, or
            arrival) are counted under it.
        :param payloads: at least one.
        :returns: segment id and index of the first frame, behind which the others follow; ``None``
            when there was no room and the policy is "drop" (it was counted).
        :raises CaptureFullError: when there was no room: at once ("reject") or after
            ``block_timeout`` ("block"). Nothing of the batch is in the capture then.
        :raises FrameError: when a payload is over the limit, or the writer is closed.
        """
        batch = Batch(encode(payloads), len(payloads), rows, model, newest_event_us)
        try:
            return self._place(batch, _LOOK_EVERY_S)
        except CaptureFullError as error:
            return self._without_room(batch, error)

    def _place(self, batch: Batch, look_every_s: float) -> tuple[str, int]:
        with self._lock:
            segment = self._segment_for(len(batch.data), look_every_s)
            first = self._write(segment, batch)
            reached = segment.size
            self._room.spend(len(batch.data))
            if not self._sync:
                self._counts.accept(batch)
        if self._sync:
            self._commit(segment, reached)
            with self._lock:
                self._counts.accept(batch)
        return segment.segment_id, first

    def _write(self, segment: OpenSegment, batch: Batch) -> int:
        try:
            return segment.append(batch.data, batch.frames, batch.rows)
        except FrameError as error:
            self._counts.write_failures += 1
            cause = error.__cause__
            if not (isinstance(cause, OSError) and cause.errno in _FULL):
                self._retire()  # such as a limit on the size of one file: another may do
            raise CaptureFullError(error.message, remedy=error.remedy, retry=True) from error

    def _commit(self, segment: OpenSegment, reached: int) -> None:
        if segment.commit(reached):
            return
        with self._lock:
            cut = segment.mend()
            if self._segment is segment:  # the first of those who shared this fsync
                self._counts.sync_failures += 1
                if cut:
                    self._retire()
        # Written elsewhere while it is still here, the batch would be in the capture twice.
        raise CaptureFullError(segment.sync_failure, remedy="check the disk", retry=cut)

    def _without_room(self, batch: Batch, error: CaptureFullError) -> tuple[str, int] | None:
        self._counts.problem = str(error)
        self._counts.refused_bytes = len(batch.data)
        if self.settings.when_full == "drop":
            with self._lock:
                self._counts.drop(batch)
            return None
        if self.settings.when_full == "block":
            deadline = self._clock() + self.settings.block_timeout.total_seconds()
            while error.retry and (left := deadline - self._clock()) > 0:
                with self._lock:
                    self._changed.wait(min(left, _LOOK_WHILE_BLOCKED_S))
                try:
                    return self._place(batch, _LOOK_WHILE_BLOCKED_S)
                except CaptureFullError as again:
                    error = again
        with self._lock:
            self._counts.reject(batch)
        raise error

    def _segment_for(self, size: int, look_every_s: float) -> OpenSegment:
        """Where ``size`` bytes are to go. Lock held."""
        if self._closed:
            raise FrameError("the capture is closed: the server is stopping")
        now = self._clock()
        why_full = self._room.why_full(size, now, look_every_s)
        segment = self._segment
        if segment is not None:
            age = now - segment.opened_at
            too_large = bool(segment.size) and segment.size + size > self.settings.segment_size
            full = bool(why_full) and age >= _EARLIEST_SEAL_S
            if segment.sync_failure or (
                (too_large or age >= self._age_s or full)
                and len(self._sealer.pending) < _MOST_WAITING
            ):
                self._retire()
        if why_full:
            raise CaptureFullError(
                why_full,
                remedy="run the compactor (trueup compact), free the disk or raise the limit",
                retry=True,
            )
        if self._segment is None:
            self._segment = self._new_segment(now)
        return self._segment

    def _retire(self) -> None:
        """Seal the open segment, if there is one; a new one is made when it is needed. Lock held.

        One that still holds a part of a batch that was not answered stays until that is cut off.
        """
        segment = self._segment
        if segment is None:
            return
        if not segment.mend():
            raise CaptureFullError(
                f"{segment.segment_id}: a batch that failed could not be taken back",
                remedy="check the disk",
                retry=True,
            )
        self._segment = None
        self._sealer.take(segment)

    def _new_segment(self, now: float) -> OpenSegment:
        try:
            _make_folder(self.spool_dir)
            while True:
                # In order within this writer, also within a millisecond or when the clock is set.
                self._minted_ms = max(int(self._wall_clock() * 1000), self._minted_ms + 1)
                segment_id = mint_segment_id(self._minted_ms, self._randomness(RANDOM_BYTES))
                try:
                    return OpenSegment(
                        self.spool_dir, segment_id, lock=self._lock, sync=self._sync, opened_at=now
                    )
                except FrameError as error:
                    if not error.retry:  # else a recovery was quicker to lock the empty file
                        raise
        except (OSError, FrameError) as error:
            self._counts.write_failures += 1
            raise CaptureFullError(
                f"no segment can be made in spool {self.spool_dir}: {error}",
                remedy="check the disk and the rights on that folder",
                retry=True,
            ) from error

    def tick(self, now: float | None = None) -> None:
        """Call about once a second: seals by age, measures the room, looks after the open segment.
        Quick, and puts itself off while the disk keeps an append waiting.

        :param now: of ``clock``.
        """
        now = self._clock() if now is None else now
        self._room.look(now)
        if not self._lock.acquire(timeout=0.01):
            return
        try:
            segment = self._segment
            if segment is None:
                return
            if not segment.in_place:
                self._counts.lose(segment)
                self._segment = None
                segment.abandon()
            elif segment.sync_failure or (
                now - segment.opened_at >= self._age_s and len(self._sealer.pending) < _MOST_WAITING
            ):
                self._retire()
        except CaptureFullError as error:  # the next append meets it too, and acts upon it
            self._counts.problem = str(error)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Seal what is open and wait for it; appending is an error from now on."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            segment, self._segment = self._segment, None
            if segment is not None and not segment.mend():
                segment.abandon()  # recovery will find it
                self._counts.seal_failures += 1
            elif segment is not None:
                self._sealer.take(segment)
        self._sealer.close()

    def _sealed(self, segment: OpenSegment, sealed: bool) -> None:
        with self._lock:
            self._counts.retire(segment, sealed)

    @property
    def stats(self) -> CaptureStats:
        """What there is to tell now. Takes no lock, so that a stalled disk delays no metrics."""
        segment = self._segment
        waiting = [*self._sealer.pending, *([segment] if segment is not None else [])]
        oldest = min((each.opened_at for each in waiting), default=None)
        return self._counts.snapshot(
            unsealed=waiting,
            oldest_age_s=0.0 if oldest is None else max(0.0, self._clock() - oldest),
            spool_bytes=self._room.used,
            free_bytes=self._room.free,
            full=bool(self._room.why_full(self._counts.refused_bytes, self._clock(), float("inf"))),
        )


def _make_folder(folder: Path) -> None:
    """Make ``folder``, and those above it that are not there, so that they survive power loss."""
    if folder.is_dir():
        return
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        sync_folder(each.parent)
