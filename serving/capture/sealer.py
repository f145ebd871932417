"""Sealing behind the back of those who append: ``fsync`` of a full segment takes its time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from trueup.serving.capture.segment import OpenSegment


class Sealer:
    """Seals segments one after another in a thread, which starts with the first of them.

    :param report: is told of each segment and whether it was sealed, in that thread.
    """

    def __init__(self, report: Callable[[OpenSegment, bool], None]) -> None:
        self.pending: list[OpenSegment] = []
        self._report = report
        self._queue: queue.SimpleQueue[OpenSegment | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def take(self, segment: OpenSegment) -> None:
        """Seal ``segment``, to which nothing is appended from now on. Never two calls at once."""
        self.pending.append(segment)
        self._queue.put(segment)
        if self._thread is None:
            # A daemon: a process that ends without closing leaves its segments to recovery.
            self._thread = threading.Thread(target=self._run, name="capture-sealer", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (segment := self._queue.get()) is not None:
            sealed = segment.seal()
            self.pending.remove(segment)
            self._report(segment, sealed)

    def close(self) -> None:
        """Wait until all is sealed."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
