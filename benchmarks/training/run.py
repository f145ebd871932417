"""Rows/s of the input pipeline and of each strategy, memory against rows, recovery of a worker.

    python benchmarks/training/run.py --quick

README.md says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import data

from trueup.config.training import TrainingSettings
from trueup.records.job import TaskStatus, TaskType
from trueup.trainer.job_spec import JobSpec
from trueup.trainer.launchers.local import LocalLauncher
from trueup.trainer.progress import read_status, read_statuses

HERE = Path(__file__).parent
RESULTS = HERE.parent.parent / "docs" / "benchmarks" / "training.json"
#: Seconds of rows/s that count, after the first virtual epoch.
_LEAST_S = 2.0
_LOOK_S = 0.1
_pause = Event()

CASES: dict[str, dict[str, Any]] = {
    "single": {"strategy": "single", "threads": 2},
    "single, 1 thread": {"strategy": "single", "threads": 1},
    "multi_worker, 1 task": {"strategy": "multi_worker", "workers": 1, "threads": 1},
    "multi_worker, 2 tasks": {"strategy": "multi_worker", "workers": 2, "threads": 1},
    "parameter_server": {"strategy": "parameter_server", "workers": 2, "threads": 1},
}


def main() -> None:
    asked_by = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked_by.add_argument("--quick", action="store_true", help="fewer rows, one size")
    asked_by.add_argument("--case", action="append", help="only cases whose name contains this")
    asked_by.add_argument("--seconds", type=float, default=60.0, help="of training in one case")
    asked_by.add_argument("--results", type=Path, default=RESULTS)
    asked = asked_by.parse_args()
    rows = 500_000 if asked.quick else 1_000_000
    batch = 4096 if asked.quick else 8192
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "rows"
        data.write(made, rows)
        found = {"input": [_told(_input(made, rows, batch))], "strategies": [], "recovery": []}
        for name, settings in CASES.items():
            if not asked.case or any(word in name for word in asked.case):
                run = _strategy(made, name, settings, batch, asked.seconds)
                found["strategies"].append(_told(run))
        if not asked.case:
            found["recovery"].append(_told(_recovery(made, batch)))
        if not asked.quick:
            found["memory"] = [_strategy(made, "single", CASES["single"], batch, asked.seconds)]
            many = Path(folder) / "many"
            data.write(many, 10 * rows)
            found["input"].append(_input(many, 10 * rows, batch))
            found["memory"] += [_strategy(many, "single", CASES["single"], batch, asked.seconds)]
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    taken = datetime.now(timezone.utc).isoformat(timespec="seconds")
    text = json.dumps({"taken": taken, "machine": machine, "batch": batch, **found}, indent=1)
    asked.results.parent.mkdir(parents=True, exist_ok=True)
    asked.results.write_text(text + "\n")
    print(text)


def _told(run: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(run), flush=True)
    return run


def _input(made: Path, rows: int, batch: int) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "input_rate.py"), str(made), str(batch), "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    return {"rows": rows, **json.loads(done.stdout.splitlines()[-1])}


class _Job:
    """A job over rows that were made before, watched until it is told to end."""

    def __init__(self, made: Path, name: str, settings: dict[str, Any], batch: int) -> None:
        self._temporary = tempfile.TemporaryDirectory(dir=made.parent)
        self.folder = Path(self._temporary.name)
        (self.folder / "data").symlink_to(made / "data")
        (self.folder / "plan.json").symlink_to(made / "plan.json")
        given = {"label": "up", "epochs": 1000, "patience": 0, "batch_size": batch, **settings}
        self.spec = JobSpec(id="b", model=name, settings=TrainingSettings(**given))
        self.launcher = LocalLauncher()
        self.begun = monotonic()
        self.launcher.submit(self.spec, self.folder)

    def look(self) -> TaskStatus | None:
        progress = self.launcher.poll("b")
        if progress.state.ended:
            raise SystemExit(f"{self.spec.model}: {progress.message}")
        _pause.wait(_LOOK_S)
        return read_status(self.folder, TaskType.CHIEF, 0)

    def wait_for_training(self) -> TaskStatus:
        """Until the first virtual epoch is over."""
        while True:
            status = self.look()
            position = self.folder / "position"
            if status and position.exists() and int(position.read_text() or 0) > 0:
                return status

    def peaks_mb(self) -> dict[str, float]:
        return {
            f"{status.type.value}-{status.index}": _peak_mb(status.pid)
            for status in read_statuses(self.folder)
        }

    def close(self) -> None:
        self.launcher.close()
        self._temporary.cleanup()


def _strategy(
    made: Path, name: str, settings: dict[str, Any], batch: int, seconds: float
) -> dict[str, Any]:
    job = _Job(made, name, settings, batch)
    try:
        first = job.wait_for_training()
        begun_s = monotonic() - job.begun
        last = first
        limit = monotonic() + seconds
        while monotonic() < limit:
            last = job.look() or last
        counted_s = (last.updated_at - first.updated_at).total_seconds()
        if counted_s < _LEAST_S:
            raise SystemExit(f"{name}: {counted_s:.1f} s of training say nothing; ask for more")
        return {
            "case": name, "rows_per_s": (last.rows - first.rows) / counted_s,
            "seconds_to_first_backup": begun_s, "peak_mb": job.peaks_mb(),
        }  # fmt: skip
    finally:
        job.close()


def _recovery(made: Path, batch: int) -> dict[str, Any]:
    """A worker under parameter servers is killed, and comes back."""
    job = _Job(made, "recovery", CASES["parameter_server"], batch)
    try:
        job.wait_for_training()
        lost = read_status(job.folder, TaskType.WORKER, 0)
        before = job.look()
        assert lost is not None and before is not None
        os.kill(lost.pid, signal.SIGKILL)
        killed = monotonic()
        while True:
            chief = job.look()
            worker = read_status(job.folder, TaskType.WORKER, 0)
            if chief and worker and worker.pid != lost.pid and worker.state == "running":
                break
        back_s = monotonic() - killed
        rows = chief.rows - before.rows
        return {"case": "worker killed", "back_s": back_s, "rows_per_s_meanwhile": rows / back_s}
    finally:
        job.close()


def _peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
