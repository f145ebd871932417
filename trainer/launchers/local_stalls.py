"""Tasks that live and get no further: stopped, swapped out, or waiting for what never comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from trueup.records.job import TaskStatus, TaskType

#: Statuses are files; they change about once a second.
_LOOK_EVERY_S = 1.0


class Stalls:
    """Finds tasks of one job that have stalled, by what they say of themselves.

    A task is *silent* when its status is not written any more: it is stopped, or something holds
    its interpreter. A job is *stuck* when its chief says the same, and counts no further row, for
    as long: somebody in the cluster waits for ever.

    :param limit_s: how long either may last. :param clock: seconds that never go back.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._limit_s, self._clock = limit_s, clock
        self._looked_s = -_LOOK_EVERY_S
        self._said: dict[tuple[str, str], tuple[object, float]] = {}

    def forget(self) -> None:
        """Tasks were started anew."""
        self._said.clear()

    def look(self, read: Callable[[], Sequence[TaskStatus]]) -> dict[str, str]:
        """Why, by name of the task (``"worker 1"``); empty while all is well, and between looks.

        Silent tasks come before a stuck chief, as they are the likelier cause.
        """
        now = self._clock()
        if now - self._looked_s < _LOOK_EVERY_S:
            return {}
        self._looked_s = now
        silent, stuck = {}, {}
        for status in read():
            if status.state in ("succeeded", "failed"):
                continue
            name = f"{status.type.value} {status.index}"
            if self._lasts(name, "written", status.updated_at, now):
                silent[name] = f"{name} gave no sign of life for {self._limit_s:.0f} s"
            place = (status.state, status.epoch, status.rows, status.message)
            if status.type is TaskType.CHIEF and self._lasts(name, "place", place, now):
                stuck[name] = f"the job got no further for {self._limit_s:.0f} s"
        return silent or stuck

    def _lasts(self, name: str, what: str, value: object, now: float) -> bool:
        """Whether ``value`` has been the same for too long."""
        before, since = self._said.get((name, what), (None, now))
        if before != value:
            self._said[name, what] = (value, now)
            return False
        return now - since > self._limit_s
