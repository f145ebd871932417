"""The launcher for one machine: each task is a process, and the network is loopback."""

from __future__ import annotations

from pathlib import Path

from trueup.errors import BadInputError
from trueup.records.job import TaskType
from trueup.trainer.job_spec import JobSpec
from trueup.trainer.launcher import JobProgress
from trueup.trainer.launchers.local_orphans import reap
from trueup.trainer.launchers.local_run import LocalOptions, LocalRun
from trueup.trainer.progress import log_path


class LocalLauncher:
    """Runs jobs on this machine; see :class:`trueup.trainer.launcher.Launcher`.

    Its tasks end with this process, also when that is killed.
    """

    def __init__(self, options: LocalOptions = LocalOptions()) -> None:  # noqa: B008 - frozen
        self._options = options
        self._runs: dict[str, tuple[LocalRun, Path]] = {}

    def submit(self, spec: JobSpec, folder: Path) -> None:
        if spec.id in self._runs:
            raise BadInputError(f"job {spec.id} was submitted before", remedy="give it another id")
        folder = folder.resolve()
        run = LocalRun(spec, folder, self._options)
        run.start()
        self._runs[spec.id] = (run, folder)

    def poll(self, job_id: str) -> JobProgress:
        return self._run(job_id)[0].progress()

    def cancel(self, job_id: str, reason: str) -> None:
        self._run(job_id)[0].cancel(reason)

    def logs(self, job_id: str, type: TaskType, index: int, *, tail_bytes: int = 65_536) -> str:
        path = log_path(self._run(job_id)[1], type, index)
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - tail_bytes))
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def reap(self, folder: Path) -> int:
        return reap(folder.resolve())

    def close(self) -> None:
        for run, _ in self._runs.values():
            run.cancel("the launcher was closed")
        for run, _ in self._runs.values():
            run.join()

    def _run(self, job_id: str) -> tuple[LocalRun, Path]:
        try:
            return self._runs[job_id]
        except KeyError:
            raise BadInputError(
                f"job {job_id} is not of this launcher", remedy="trueup jobs lists what there is"
            ) from None
