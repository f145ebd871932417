"""Serves one model by Trueup, a bare ASGI echo, FastAPI and BentoML, side by side.

    python benchmarks/serving/run.py            everything, some 20 minutes
    python benchmarks/serving/run.py --quick    shorter runs, one turn

Makes what it needs: an environment per peer in ``.envs``, the model, registries, spools in a
temporary folder. Needs ``wrk``. Results go to docs/benchmarks/serving.json, and from there to
serving.md and serving.svg. README.md says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import load
import overhead
import report
import servers
import swaps

HERE = Path(__file__).parent
RESULTS = HERE.parent.parent / "docs" / "benchmarks" / "serving.json"
CONNECTIONS = (1, 8, 64)
ROWS = (1, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short runs, one turn, 10 swaps")
    parser.add_argument("--seconds", type=float, default=8.0, help="of one run of wrk")
    parser.add_argument("--turns", type=int, default=3, help="of the case of 64 connections")
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--starts", type=int, default=7, help="of capture on and off, 5 pairs each")
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    seconds, turns, count = (2.0, 1, 10) if asked.quick else (
        asked.seconds, asked.turns, asked.swaps)  # fmt: skip
    load.require_wrk()
    with tempfile.TemporaryDirectory(prefix="serving-") as name:
        folder = Path(name)
        model = folder / "model"
        _python(HERE / "model.py", str(model))
        entries = _entries(folder, model)
        found: dict[str, Any] = {
            "machine": _machine(), "seconds": seconds, "turns": turns,
            "runs": _runs(entries, seconds, turns, folder),
            "capture": _capture(folder / "on"),
            "overhead": overhead.measure(
                entries[0], entries[1], *((1, 3) if asked.quick else (asked.starts, 5)), 2, folder
            ),
            "swaps": swaps.measure(folder / "swaps", model, count, _ports(), folder),
        }  # fmt: skip
    asked.results.parent.mkdir(parents=True, exist_ok=True)
    asked.results.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    report.write(asked.results)


def _entries(folder: Path, model: Path) -> list[tuple[servers.Server, int]]:
    ports = _ports()
    found = []
    for capture in (True, False):
        site = folder / ("on" if capture else "off")
        site.mkdir()
        _trueup(site, "import", "bench", "--saved-model", str(model))
        port = next(ports)
        found.append((servers.trueup(site, capture=capture, port=port), port))
    return found + servers.peers(model, ports)


def _runs(
    entries: list[tuple[servers.Server, int]], seconds: float, turns: int, folder: Path
) -> list[dict[str, Any]]:
    """Every server in turn, and that ``turns`` times, so that noise falls on all of them."""
    found = []
    for turn in range(turns):
        for server, port in entries:
            with servers.running(server, port, folder) as running:
                load.run(running.url, 1, 8, min(2.0, seconds), folder)  # warm
                for rows in ROWS:
                    for connections in CONNECTIONS:
                        if turn and (rows, connections) != (1, 64):
                            continue
                        before = running.cpu_s()
                        seen = load.run(running.url, rows, connections, seconds, folder)
                        run = {
                            "server": server.name, "rows": rows, "connections": connections,
                            "turn": turn, **asdict(seen),
                            "server_cpu_s": round(running.cpu_s() - before, 2),
                            "rss_mb": round(running.rss_mb()),
                        }  # fmt: skip
                        print(json.dumps(run), flush=True)
                        found.append(run)
    return found


def _capture(site: Path) -> dict[str, Any]:
    """Bytes per row of the spool and of Parquet, and rows per second of compaction."""
    spool = site / ".trueup" / "spool"
    spooled = sum(path.stat().st_size for path in spool.glob("*.sealed"))
    start, used = time.perf_counter(), os.times()
    told = json.loads(_trueup(site, "compact", "--json"))
    wall, after = time.perf_counter() - start, os.times()
    rows = told["counts"]["rows"]
    return {
        "rows": rows, "spool_bytes": spooled, "parquet_bytes": told["bytes_written"],
        "wall_s": round(wall, 2),
        "cpu_s": round(after.children_user - used.children_user
                       + after.children_system - used.children_system, 2),
    }  # fmt: skip


def _trueup(site: Path, *arguments: str) -> str:
    return _python(*servers.TRUEUP, *arguments, cwd=site)


def _python(*arguments: object, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
        check=False, env={**os.environ, **servers.QUIET},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def _ports() -> Iterator[int]:
    """Ports that are free now."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        yield port


def _machine() -> dict[str, Any]:
    cpu = {line.partition(":")[0].strip(): line.partition(":")[2].strip()
           for line in Path("/proc/cpuinfo").read_text().splitlines()}  # fmt: skip
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "processor": cpu.get("model name", platform.machine()),
        "cores": os.cpu_count(),
        "memory_gib": round(kib / 2**20),
        "python": platform.python_version(),
        "taken": datetime.now(timezone.utc).date().isoformat(),
        "load_before": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    main()
