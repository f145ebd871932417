"""Holds a job while it is prepared and run: says that its holder lives, hears of its cancelling,
and gives up when the job was taken away."""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic
from types import TracebackType

from sqlalchemy import Engine

from trueup.errors import ConflictError, StoreError, TrueupError
from trueup.records.job import JobState
from trueup.store.engine import reading, writing
from trueup.trainer.jobs import (
    SILENT_FOR,
    Job,
    beat_job,
    claim_job,
    fail_orphan,
    finish_job,
    job_runs,
    orphaned_jobs,
)
from trueup.trainer.launcher import JobProgress, Launcher

_log = logging.getLogger(__name__)

_BEAT_S = 2.0
_LOOK_S = 0.2


class JobCancelledError(TrueupError):
    """Somebody asked for the job's end."""


class JobLostError(TrueupError):
    """The job was declared failed, as its holder seemed to be gone."""


def new_holder() -> str:
    """A name for this process that no other has, nor has had.

    >>> new_holder() == new_holder()
    False
    """
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"


class JobKeeper:
    """The holder of a claimed job; a context whose end stops the beats.

    :param beat_s: between two signs of life; far below :data:`SILENT_FOR`.
    """

    def __init__(
        self, engine: Engine, job_id: str, holder: str, *, beat_s: float = _BEAT_S
    ) -> None:
        self._engine, self.job_id, self.holder, self._beat_s = engine, job_id, holder, beat_s
        self._progress: JobProgress | None = None
        self._ending = threading.Event()
        self._cancelled: str | None = None
        self._lost: str | None = None
        self._heard_s = monotonic()
        self._thread = threading.Thread(target=self._run, name=f"keep {job_id}", daemon=True)

    @classmethod
    def claim(cls, engine: Engine, job_id: str, *, beat_s: float = _BEAT_S) -> JobKeeper:
        """Take a queued job.

        :raises ConflictError: it is not queued any more.
        """
        holder = new_holder()
        with writing(engine) as connection:
            if not claim_job(connection, job_id, holder=holder, now=_now()):
                raise ConflictError(f"job {job_id} is not queued: another process took it")
        return cls(engine, job_id, holder, beat_s=beat_s)

    def __enter__(self) -> JobKeeper:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()

    def check(self) -> None:
        """Call it now and then in long work.

        :raises JobCancelledError: somebody asked for the job's end.
        :raises JobLostError: the job is not this process's any more.
        """
        if self._lost is not None:
            raise JobLostError(self._lost)
        if self._cancelled is not None:
            raise JobCancelledError(self._cancelled)

    def runs(self) -> None:
        """Its data are ready."""
        with writing(self._engine) as connection:
            job_runs(connection, self.job_id, holder=self.holder, now=_now())

    def say(self, progress: JobProgress) -> None:
        """It is written with the next beat."""
        self._progress = progress

    def finish(self, state: JobState, message: str = "", version: int | None = None) -> None:
        """The end.

        :raises ConflictError: the job is not this process's any more.
        """
        with writing(self._engine) as connection:
            finish_job(
                connection, self.job_id, holder=self.holder, now=_now(), state=state,
                message=message, progress=self._progress, version=version,
            )  # fmt: skip

    def follow(self, launcher: Launcher) -> JobProgress:
        """Wait for the end of the job's tasks, and hand a wish for cancelling on."""
        pause = threading.Event()
        while True:
            progress = launcher.poll(self.job_id)
            self.say(progress)
            if progress.state.ended:
                return progress
            try:
                self.check()
            except (JobCancelledError, JobLostError) as error:
                launcher.cancel(self.job_id, str(error))
            pause.wait(_LOOK_S)

    def _run(self) -> None:
        while not self._ending.wait(self._beat_s):
            try:
                with writing(self._engine) as connection:
                    job = beat_job(
                        connection, self.job_id, holder=self.holder, now=_now(),
                        progress=self._progress,
                    )  # fmt: skip
            except ConflictError as error:
                self._lost = str(error)
                return
            except StoreError as error:  # it may come back; nobody else can take the job meanwhile
                _log.warning("job %s: %s", self.job_id, error)
                continue
            if job.cancel_at is not None and self._cancelled is None:
                self._cancelled = f"cancelled by {job.cancel_by}: {job.cancel_reason}"


def recover_jobs(engine: Engine, launcher: Launcher, *, now: datetime | None = None) -> list[Job]:
    """End what processes that are gone left of their jobs, and declare those failed."""
    at = now or _now()
    with reading(engine) as connection:
        lost = orphaned_jobs(connection, now=at, silent_for=SILENT_FOR)
    failed = []
    for job in lost:
        launcher.reap(Path(job.folder))
        with writing(engine) as connection:
            if fail_orphan(connection, job, now=at):
                failed.append(job)
    return failed


def _now() -> datetime:
    return datetime.now(timezone.utc)
