"""Processes of one job on this machine: their ports, their start, their end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from trueup.config.training import TrainingSettings
from trueup.records.job import TaskType
from trueup.trainer.launchers.local_orphans import MARK
from trueup.trainer.progress import log_path, status_path

TASK = (sys.executable, "-m", "trueup.trainer.task")

_HOST = "127.0.0.1"
#: In the job's folder: what libraries leave in the temporary folder goes with the job.
TEMPORARY = "tmp"
#: For a task to end by itself when it is asked to.
_GRACE_S = 2.0


@dataclass
class TaskProcess:
    """One task, over all its starts.

    :param ran_s: of earlier starts.
    """

    type: TaskType
    index: int
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    ran_s: float = 0.0
    seen_code: int | None = field(default=None)

    @property
    def name(self) -> str:
        return f"{self.type.value} {self.index}"

    @property
    def seconds(self) -> float:
        running = self.process is not None and self.seen_code is None
        return self.ran_s + (monotonic() - self.started_s if running else 0.0)

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        if self.process is None:
            return self.seen_code
        code = self.process.poll()
        if code is not None and self.seen_code is None:
            self.ran_s += monotonic() - self.started_s
            self.seen_code = code
        return code


def cluster_of(settings: TrainingSettings) -> dict[TaskType, int]:
    """How many tasks of each type a strategy has.

    >>> cluster_of(TrainingSettings(strategy="multi_worker", workers=3))
    {<TaskType.CHIEF: 'chief'>: 1, <TaskType.WORKER: 'worker'>: 2}
    """
    if settings.strategy == "multi_worker":
        return {TaskType.CHIEF: 1, TaskType.WORKER: settings.workers - 1}
    if settings.strategy == "parameter_server":
        return {
            TaskType.CHIEF: 1,
            TaskType.WORKER: settings.workers,
            TaskType.PS: settings.parameter_servers,
        }
    return {TaskType.CHIEF: 1}


class Group:
    """The tasks of a job.

    :param mark: unique to this launch; every process of it, and all that those start, carry it.
    :param command: of a task; ``--job FOLDER`` follows.
    """

    def __init__(
        self,
        folder: Path,
        settings: TrainingSettings,
        mark: str,
        *,
        command: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        self._folder, self._mark = folder, mark
        self._command, self._environment = list(command), dict(environment)
        self.tasks = [
            TaskProcess(type_, index)
            for type_, count in cluster_of(settings).items()
            for index in range(count)
        ]
        self._alone = len(self.tasks) == 1
        # Tasks wait for its other end to close: it does when this process is gone, however.
        self._lifeline, self._held = os.pipe()

    @property
    def chief(self) -> TaskProcess:
        return self.tasks[0]

    @property
    def seconds(self) -> float:
        return sum(task.seconds for task in self.tasks)

    def start(self) -> None:
        """All tasks at once, on ports that nobody uses.

        :raises OSError: a process cannot be started; those that were are the caller's to end.
        """
        (self._folder / TEMPORARY).mkdir(exist_ok=True)
        with ExitStack() as stack:
            sockets = {}
            for task in self.tasks:
                status_path(self._folder, task.type, task.index).unlink(missing_ok=True)
                if not self._alone:
                    sockets[task.name] = stack.enter_context(_bound(0))
                    task.port = sockets[task.name].getsockname()[1]
            for task in self.tasks:
                self._start(task, sockets.get(task.name))

    def restart(self, task: TaskProcess) -> None:
        """One task anew, at its address.

        :raises OSError: its port was taken, or no process can be started.
        """
        with _bound(task.port) as held:
            self._start(task, held)

    def _start(self, task: TaskProcess, held: socket.socket | None) -> None:
        environment = {
            **os.environ,
            **self._environment,
            MARK: self._mark,
            "TMPDIR": str(self._folder / TEMPORARY),
            "TF_CONFIG": json.dumps(self._tf_config(task)),
            "TRUEUP_LIFELINE": str(self._lifeline),
        }
        fds = [self._lifeline]
        if held is not None:
            fds.append(held.fileno())
            environment["TRUEUP_HELD_PORT"] = str(held.fileno())
        log = log_path(self._folder, task.type, task.index)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            task.process = subprocess.Popen(
                [*self._command, "--job", str(self._folder)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=fds,
                start_new_session=True,
            )
        task.started_s, task.seen_code = monotonic(), None

    def _tf_config(self, task: TaskProcess) -> dict[str, object]:
        cluster: dict[str, list[str]] = {}
        for other in self.tasks if not self._alone else ():
            cluster.setdefault(other.type.value, []).append(f"{_HOST}:{other.port}")
        return {"cluster": cluster, "task": {"type": task.type.value, "index": task.index}}

    def ended(self) -> list[TaskProcess]:
        """Tasks that have ended."""
        return [task for task in self.tasks if task.poll() is not None]

    def kill(self, task: TaskProcess) -> None:
        """End one task, and what it started, at once, and wait for that."""
        if task.process is not None:
            _signal_session(task.process, signal.SIGKILL)
            task.process.wait()

    def end(self) -> None:
        """End all tasks, and what they started, and wait for that."""
        for number, limit_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, 30.0)):
            limit = monotonic() + limit_s
            for task in self.tasks:
                if task.process is not None:
                    _signal_session(task.process, number)
            for task in self.tasks:
                if task.process is not None:
                    try:
                        task.process.wait(max(0.0, limit - monotonic()))
                    except subprocess.TimeoutExpired:
                        continue
                    task.poll()

    def wait(self, limit_s: float) -> None:
        """Until all have ended by themselves, or the time is up."""
        limit = monotonic() + limit_s
        for task in self.tasks:
            if task.process is not None:
                try:
                    task.process.wait(max(0.0, limit - monotonic()))
                except subprocess.TimeoutExpired:
                    return

    def close(self) -> None:
        os.close(self._held)
        os.close(self._lifeline)


def _signal_session(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal a task's session. The number of a session whose leader was waited for cannot be
    another's while a process of it lives, and else nobody has it or it is a new session's: so a
    leader that was waited for is left to :func:`local_orphans.end_marked`, which looks first."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def _bound(port: int) -> socket.socket:
    """A socket that holds a port and does not listen."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if port:  # a server that was killed here leaves connections behind for a minute
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((_HOST, port))
    except OSError:
        found.close()
        raise
    return found
