"""One measured run of a script in a process of its own, watched from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

_LOOK_EVERY_S = 0.02
_PSS_EVERY = 5  # looks: the kernel walks all pages for it

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "NUMEXPR_MAX_THREADS": "1",
}
"""One job is one thread, for every peer."""


@dataclass
class Watched:
    """How a run ended, and its memory.

    :param outcome: ``ok``, ``time limit``, ``memory limit`` or ``failed``.
    :param peaks_mb: peak resident memory (VmHWM) of each process by id, the first one first.
    :param together_mb: largest sum of resident memory at one moment; pages that processes share
        (libraries) count once per process. :param shared_once_mb: the same of PSS, where a page
        that k processes share counts 1/k in each.
    """

    outcome: str
    output: str
    wall_s: float
    peaks_mb: dict[int, float] = field(default_factory=dict)
    together_mb: float = 0.0
    shared_once_mb: float = 0.0


def watched(command: list[str], cwd: Path, *, limit_s: float, limit_mb: float) -> Watched:
    """Run ``command`` until it ends, or has taken ``limit_s`` or ``limit_mb``."""
    with tempfile.TemporaryFile() as kept:
        start = time.monotonic()
        child = subprocess.Popen(
            command, cwd=cwd, stdout=kept, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env={**os.environ, **ONE_THREAD}, start_new_session=True,
        )  # fmt: skip
        found, turn = Watched("ok", "", 0.0), 0
        try:
            while child.poll() is None:
                _look(child.pid, found, pss=turn % _PSS_EVERY == 0)
                turn += 1
                if time.monotonic() - start > limit_s:
                    found.outcome = "time limit"
                elif found.together_mb > limit_mb:
                    found.outcome = "memory limit"
                if found.outcome != "ok":
                    break
                time.sleep(_LOOK_EVERY_S)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        found.wall_s = time.monotonic() - start
        kept.seek(0)
        found.output = kept.read().decode("utf-8", "replace")
    if found.outcome == "ok" and child.returncode:
        found.outcome = "failed"
    return found


def _look(parent: int, found: Watched, *, pss: bool) -> None:
    together = shared_once = 0.0
    for pid in [parent, *_descendants(parent)]:
        shared_once += _pss_mb(pid) if pss else 0.0
        peak, now = _memory_mb(pid)
        if peak:
            found.peaks_mb[pid] = max(peak, found.peaks_mb.get(pid, 0.0))
        together += now
    found.together_mb = max(found.together_mb, together)
    found.shared_once_mb = max(found.shared_once_mb, shared_once)


def _descendants(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except OSError:  # it has ended
        return []
    return children + [inner for child in children for inner in _descendants(child)]


def _pss_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:"))


def _memory_mb(pid: int) -> tuple[float, float]:
    """Peak and present resident memory in MB; 0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    values = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return (
        int(values.get("VmHWM", "0")) * 1024 / 1e6,
        int(values.get("VmRSS", "0")) * 1024 / 1e6,
    )
