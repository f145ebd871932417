"""What a task says of itself: a file in the job's folder, written about once a second."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import deque
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic
from typing import Any

from pydantic import ValidationError

from trueup.records.job import TaskStatus, TaskType

_log = logging.getLogger(__name__)

TASKS = "tasks"
EVERY_S = 1.0
#: ``rows_per_s`` is over the latest seconds.
_WINDOW_S = 10.0


def status_path(folder: Path, type_: TaskType, index: int) -> Path:
    return folder / TASKS / f"{type_.value}-{index}.json"


def log_path(folder: Path, type_: TaskType, index: int) -> Path:
    return folder / TASKS / f"{type_.value}-{index}.log"


def read_status(folder: Path, type_: TaskType, index: int) -> TaskStatus | None:
    """What a task said last; ``None`` before it said anything."""
    return _read(status_path(folder, type_, index))


def read_statuses(folder: Path) -> tuple[TaskStatus, ...]:
    """What all tasks said last, the chief first."""
    found = [_read(path) for path in (folder / TASKS).glob("*.json")]
    order = list(TaskType)
    return tuple(
        sorted(
            (status for status in found if status is not None),
            key=lambda status: (order.index(status.type), status.index),
        )
    )


def _read(path: Path) -> TaskStatus | None:
    try:
        return TaskStatus.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


class Reporter:
    """Keeps a task's status, and writes it from a thread of its own, so that a long step or a
    long trace does not silence it."""

    def __init__(self, folder: Path, type_: TaskType, index: int) -> None:
        now = datetime.now(timezone.utc)
        self._path = status_path(folder, type_, index)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._status = TaskStatus(
            type=type_,
            index=index,
            host=socket.gethostname(),
            pid=os.getpid(),
            state="starting",
            started_at=now,
            updated_at=now,
        )
        self._lock = threading.Lock()
        self._seen: deque[tuple[float, int]] = deque()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        self._write()
        self._thread.start()

    @property
    def status(self) -> TaskStatus:
        return self._status

    def say(self, **changes: Any) -> None:
        """Change what is said; it is written with the next second."""
        with self._lock:
            self._status = self._status.model_copy(update=changes)

    def rows(self, rows: int) -> None:
        """``rows`` were seen so far."""
        now = monotonic()
        with self._lock:
            if self._seen and rows < self._seen[-1][1]:
                self._seen.clear()
            self._seen.append((now, rows))
            while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW_S:
                self._seen.popleft()
            (first, before), (last, after) = self._seen[0], self._seen[-1]
            rate = (after - before) / (last - first) if last > first else 0.0
            self._status = self._status.model_copy(update={"rows": rows, "rows_per_s": rate})

    def end(self, state: str, message: str = "") -> None:
        """The last word."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self.say(state=state, message=message)
        self._write()

    def _run(self) -> None:
        while not self._ending.wait(EVERY_S):
            self._write()

    def _write(self) -> None:
        with self._lock:
            now = datetime.now(timezone.utc)
            self._status = self._status.model_copy(update={"updated_at": now})
            text = self._status.model_dump_json()
        partial = self._path.with_suffix(".part")
        try:  # whole for every reader; not durable, as the next one comes in a second
            partial.write_text(text)
            partial.replace(self._path)
        except OSError as error:  # a full disk ends no job by its status
            _log.warning("status cannot be written: %s", error)
