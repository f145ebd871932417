"""One job on this machine from start to end: what a task's end means for the others."""

from __future__ import annotations

import logging
import shutil
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic

from trueup.frames.whole import write_whole
from trueup.records.job import JobState, TaskType
from trueup.trainer import fit_errors
from trueup.trainer.job_spec import JobSpec
from trueup.trainer.launcher import JobProgress
from trueup.trainer.launchers.local_group import TASK, TEMPORARY, Group, TaskProcess
from trueup.trainer.launchers.local_orphans import end_marked, launching
from trueup.trainer.launchers.local_stalls import Stalls
from trueup.trainer.progress import read_status, read_statuses
from trueup.trainer.strategies import RESULT

_log = logging.getLogger(__name__)

_LOOK_S = 0.1
#: For workers and parameter servers to see that the chief is done.
_GOODBYE_S = 5.0
#: For the task that knows the cause to say it, when another failed first because of it.
_CAUSE_S = 3.0
_MOST_PORTS = 5


@dataclass(frozen=True)
class LocalOptions:
    """:param command: of a task. :param environment: for the tasks, beside this process's.
    :param most_restarts: of tasks or groups in one job, before it fails.
    """

    command: tuple[str, ...] = TASK
    environment: Mapping[str, str] = field(default_factory=dict)
    most_restarts: int = 5


class LocalRun:
    """Runs one job in a thread of its own."""

    def __init__(self, spec: JobSpec, folder: Path, options: LocalOptions) -> None:
        self._spec, self._folder, self._options = spec, folder, options
        self._cancel = threading.Event()
        self._reason = ""
        self._state, self._message = JobState.RUNNING, "starting"
        self._restarts = self._ports = 0
        self._started_at = datetime.now(timezone.utc)
        self._finished_at: datetime | None = None
        self._begun_s = monotonic()
        self._stalls = Stalls(spec.settings.stall_timeout.total_seconds())
        self._stalled: dict[str, str] = {}
        self._mark = uuid.uuid4().hex
        self._group: Group | None = None
        self._ready = threading.Event()
        self._refused: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"job {spec.id}", daemon=True)

    def start(self) -> None:
        """:raises BadInputError: another launcher has the folder."""
        self._thread.start()
        self._ready.wait()
        if self._refused is not None:
            raise self._refused

    def cancel(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._cancel.set()

    def join(self) -> None:
        self._thread.join()

    def progress(self) -> JobProgress:
        seconds = self._group.seconds if self._group else 0.0
        return JobProgress(
            id=self._spec.id,
            state=self._state,
            message=self._message,
            tasks=read_statuses(self._folder),
            restarts=self._restarts,
            machine_seconds=seconds,
            cost=seconds / 3600 * self._spec.settings.cost_per_hour,
            started_at=self._started_at,
            finished_at=self._finished_at,
        )

    def _run(self) -> None:
        state, message = JobState.FAILED, ""
        try:
            with launching(self._folder, self._mark):
                told = self._spec.model_dump_json(indent=2)
                write_whole(self._folder / "job.json", told.encode())
                self._group = Group(
                    self._folder,
                    self._spec.settings,
                    self._mark,
                    command=self._options.command,
                    environment=self._options.environment,
                )
                self._ready.set()
                try:
                    state, message = self._supervise(self._group)
                finally:
                    self._group.end()
                    end_marked(self._mark)
                    self._group.close()
                    shutil.rmtree(self._folder / TEMPORARY, ignore_errors=True)
        except Exception as error:  # noqa: BLE001 - the thread's end is the job's
            state = JobState.FAILED
            if not self._ready.is_set():
                self._refused = error
            else:
                _log.exception("job %s", self._spec.id)
                message = f"the launcher failed with {type(error).__name__}: {error}"
        self._finished_at = datetime.now(timezone.utc)
        self._message, self._state = message, state
        self._ready.set()

    def _supervise(self, group: Group) -> tuple[JobState, str]:
        if (self._folder / RESULT).exists():  # of a launcher that died before it could say so
            return JobState.SUCCEEDED, ""
        failure = self._start(group)
        while failure is None:
            if self._cancel.wait(_LOOK_S):
                return JobState.CANCELLED, self._reason
            limit_s = self._spec.settings.timeout.total_seconds()
            if monotonic() - self._begun_s > limit_s:
                return JobState.FAILED, (
                    f"it took longer than training.timeout ({limit_s:.0f} s); raise that, or give "
                    "the job more workers"
                )
            if (self._folder / RESULT).exists():  # written last, when all else is whole
                group.wait(_GOODBYE_S)
                return JobState.SUCCEEDED, ""
            self._end_stalled(group)
            ended = group.ended()
            if ended:
                failure = self._mend(group, ended)
                self._stalls.forget()
                self._stalled.clear()
        return JobState.FAILED, failure

    def _end_stalled(self, group: Group) -> None:
        """What gets no further is killed, and then is like any task that was."""
        self._stalled.update(self._stalls.look(lambda: read_statuses(self._folder)))
        for task in group.tasks:
            if task.name in self._stalled:
                group.kill(task)

    def _start(self, group: Group) -> str | None:
        try:
            group.start()
        except OSError as error:
            return f"a task cannot be started: {error.strerror}; free memory or processes"
        self._message = "running"
        return None

    def _mend(self, group: Group, ended: list[TaskProcess]) -> str | None:
        """Start anew what ended too early; a sentence when that cannot help."""
        ended = self._wait_for_cause(group, ended)
        codes = {task.name: task.poll() for task in ended}
        for task in ended:
            if codes[task.name] == fit_errors.BAD:
                return self._said(task)
        if fit_errors.PORT in codes.values():
            self._ports += 1
            if self._ports > _MOST_PORTS:
                return self._said(next(t for t in ended if codes[t.name] == fit_errors.PORT))
            return self._again(group)
        self._restarts += len(ended) if self._lone(ended) else 1
        if self._restarts > self._options.most_restarts:
            return (
                f"{self._said(ended[0])} (after {self._options.most_restarts} new starts; the log "
                f"{ended[0].type.value}-{ended[0].index}.log in the job's tasks/ has more)"
            )
        for task in ended:
            _log.warning("job %s: %s; it starts anew", self._spec.id, self._said(task))
        if not self._lone(ended):
            return self._again(group)
        try:
            for task in ended:
                group.restart(task)
        except OSError as error:
            _log.warning("job %s: %s cannot come back: %s", self._spec.id, task.name, error)
            return self._again(group)
        return None

    def _again(self, group: Group) -> str | None:
        """The whole group from the backup: an all-reduce cannot go on without one of its tasks,
        and what a parameter server held is gone with it."""
        group.end()
        end_marked(self._mark)
        return self._start(group)

    def _lone(self, ended: list[TaskProcess]) -> bool:
        """Whether the others can go on without these."""
        coordinated = self._spec.settings.strategy == "parameter_server"
        return coordinated and all(task.type is TaskType.WORKER for task in ended)

    def _wait_for_cause(self, group: Group, ended: list[TaskProcess]) -> list[TaskProcess]:
        """A task that failed because of another often ends before it."""
        limit = monotonic() + _CAUSE_S
        while (
            len(group.tasks) > 1
            and all(task.poll() == fit_errors.AGAIN for task in ended)
            and len(ended) < len(group.tasks)
            and monotonic() < limit
            and not self._cancel.wait(_LOOK_S)
        ):
            ended = group.ended()
        return ended

    def _said(self, task: TaskProcess) -> str:
        """Why a task ended."""
        if task.name in self._stalled:
            return (
                f"{self._stalled[task.name]} (training.stall_timeout); its machine is overloaded, "
                "or a task waits for what never comes"
            )
        code = task.poll()
        status = read_status(self._folder, task.type, task.index)
        if status is not None and status.state == "failed" and status.message:
            return f"{task.name}: {status.message}"
        if code is not None and code < 0:
            return f"{task.name} was killed by signal {-code}" + (
                ", perhaps for want of memory; give it more, or make batch_size smaller"
                if code == -9
                else ""
            )
        return f"{task.name} ended with {code} and without a word; its log may say why"
