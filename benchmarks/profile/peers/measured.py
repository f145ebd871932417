"""What every peer's script says of its run, as one line of JSON. Standard library alone: each
script runs in an environment of its own."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

_MARK = "measured: "


class Measured:
    """Wall-clock and processor seconds of the phases of one run, and its memory.

    :param package: whose version is told.
    """

    def __init__(self, package: str) -> None:
        self._found: dict[str, object] = {"version": version(package), "phases": {}}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what runs inside; processor time is that of all threads and ended children."""
        wall, cpu = time.perf_counter(), _cpu_s()
        yield
        self._phases[name] = {
            "wall_s": round(time.perf_counter() - wall, 4),
            "cpu_s": round(_cpu_s() - cpu, 4),
        }

    def loaded(self) -> None:
        """Note the memory in use when the data are there, and nothing is counted yet."""
        self._found["rss_loaded_mb"] = _status_mb("VmRSS")

    def tell(self, rows: int, columns: int) -> None:
        """Print the result; the runner reads it."""
        self._found |= {"rows": rows, "columns": columns, "peak_rss_mb": _status_mb("VmHWM")}
        print(_MARK + json.dumps(self._found), flush=True)

    @property
    def _phases(self) -> dict[str, object]:
        phases = self._found["phases"]
        assert isinstance(phases, dict)
        return phases


def found_in(output: str) -> dict[str, object] | None:
    """What :meth:`Measured.tell` printed, among other output."""
    lines = [line for line in output.splitlines() if line.startswith(_MARK)]
    return json.loads(lines[-1].removeprefix(_MARK)) if lines else None


def frame_of(arguments: list[str]):  # type: ignore[no-untyped-def]
    """The pandas frame of ``FILE [ROWS]``: the first ROWS rows, or all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pa.set_cpu_count(1)
    file = pq.ParquetFile(arguments[0])
    if len(arguments) < 2:
        return file.read(use_threads=False).to_pandas()
    wanted, batches = int(arguments[1]), []
    for batch in file.iter_batches(1 << 16, use_threads=False):
        batches.append(batch.slice(0, wanted))
        wanted -= batches[-1].num_rows
        if not wanted:
            break
    return pa.Table.from_batches(batches).to_pandas()


def quiet() -> None:
    """No usage statistics, and no warnings among the output."""
    import warnings

    warnings.filterwarnings("ignore")
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", DO_NOT_TRACK="1", WHYLOGS_NO_ANALYTICS="True")
    sys.stderr.flush()


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _status_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    raise RuntimeError(f"/proc/self/status has no {field}")
