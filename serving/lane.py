"""The queue and the thread of one model version: adaptive micro-batches.

All requests that came in one turn of the event loop are handed over together, and a lane that is
busy takes whatever has gathered since. Nothing ever waits for company: under light load a batch is
one request, under heavy load batches grow until the model keeps up.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from trueup.serving.attempt import Attempt, Fate


@dataclass(slots=True)
class LaneCounts:
    """What a lane has done; written by its thread only, but for ``refused_rows``."""

    batches: int = 0
    rows: int = 0
    cancelled: int = 0
    refused_rows: int = 0
    batch_rows: dict[int, int] = field(default_factory=dict)


class Lane:
    """Waiting attempts of one version, and the thread that runs them in batches.

    :param run: called in the lane's thread with attempts of one key, at most ``max_batch_rows``
        rows together (a single larger request comes alone); it answers each of them.
    :param wake_later: ``loop.call_soon`` of the event loop that submits.
    :param left: called in the lane's thread with attempts whose clients left before their turn: a
        request counts for its connection's limits until it is answered, even if nobody hears it.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Attempt]], None],
        *,
        max_batch_rows: int,
        max_queue_rows: int,
        wake_later: Callable[[Callable[[], None]], object],
        left: Callable[[Sequence[Attempt]], object] = lambda attempts: None,
    ) -> None:
        self.counts = LaneCounts()
        self._run = run
        self._left = left
        self._max_batch_rows = max_batch_rows
        self._max_queue_rows = max_queue_rows
        self._wake_later = wake_later
        self._queues: dict[Hashable, deque[Attempt]] = {}
        self._waiting_rows = 0
        self._wake = threading.Condition()
        self._waking = False
        self._closing = False
        self._thread = threading.Thread(target=self._work, name=f"lane {name}", daemon=True)
        self._thread.start()

    @property
    def waiting_rows(self) -> int:
        return self._waiting_rows

    def submit(self, attempt: Attempt) -> bool:
        """Queue ``attempt`` (on the event loop's thread); ``False`` when the queue is full or the
        lane is closed. A queue that is empty takes a request of any size."""
        rows = attempt.rows
        with self._wake:
            full = self._waiting_rows and self._waiting_rows + rows > self._max_queue_rows
            if full or self._closing:
                self.counts.refused_rows += rows
                return False
            key = attempt.instances.key
            queue = self._queues.get(key)
            if queue is None:
                queue = self._queues[key] = deque()
            queue.append(attempt)
            self._waiting_rows += rows
            if self._waking:
                return True
            self._waking = True
        self._wake_later(self._notify)
        return True

    def _notify(self) -> None:
        with self._wake:
            self._waking = False
            self._wake.notify()

    def expired(self, now_s: float) -> list[Attempt]:
        """Take out the attempts whose deadline has passed or whose client is gone; they are ended,
        and the caller answers those that somebody still waits for."""
        found: list[Attempt] = []
        with self._wake:
            for key, queue in list(self._queues.items()):
                kept = deque(a for a in queue if a.deadline_s > now_s and not a.request.gone)
                if len(kept) == len(queue):
                    continue
                found += (a for a in queue if a.deadline_s <= now_s or a.request.gone)
                if kept:
                    self._queues[key] = kept
                else:
                    del self._queues[key]
            for attempt in found:
                attempt.fate = Fate.ENDED
                self._waiting_rows -= attempt.rows
        return found

    def close(self, timeout_s: float) -> bool:
        """Run what waits, take nothing more, end the thread; whether it ended in time."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            taken = self._take()
            if taken is None:
                return
            batch, left = taken
            if left:
                self.counts.cancelled += len(left)
                self._left(left)
            if batch:
                self.counts.batches += 1
                rows = sum([attempt.rows for attempt in batch])
                self.counts.rows += rows
                self._run(batch)

    def _take(self) -> tuple[list[Attempt], list[Attempt]] | None:
        """The next attempts of one key, oldest key first, and those on the way to them whose
        clients have left; ``None`` when the lane is to end."""
        with self._wake:
            while not self._queues:
                if self._closing:
                    return None
                self._wake.wait()
            key, queue = next(iter(self._queues.items()))
            batch: list[Attempt] = []
            left: list[Attempt] = []
            rows = 0
            while queue and (not batch or rows + queue[0].rows <= self._max_batch_rows):
                attempt = queue.popleft()
                self._waiting_rows -= attempt.rows
                if attempt.request.gone:
                    attempt.fate = Fate.ENDED
                    left.append(attempt)
                    continue
                attempt.fate = Fate.RUNNING
                batch.append(attempt)
                rows += attempt.rows
            del self._queues[key]
            if queue:
                self._queues[key] = queue  # behind the other keys: each has its turn
        return batch, left
