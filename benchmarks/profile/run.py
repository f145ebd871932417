"""Profiles the same frames with Trueup, TFDV, whylogs and Evidently, side by side.

    python benchmarks/profile/run.py --quick    two frames of 1 M rows
    python benchmarks/profile/run.py            10 M rows and 500 columns too

Makes what it needs: an environment per peer in ``.envs`` and Parquet files in ``.data`` (20 GB for
the largest, removed afterwards). Results go to docs/benchmarks/profile.json, and from there to
profile.md and profile.svg. README.md says what is measured.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import data
import report
from cases import FULL, QUICK, Case, Entry
from environments import python_of
from peers.measured import found_in
from watch import watched

HERE = Path(__file__).parent
DATA = HERE / ".data"
RESULTS = HERE.parent.parent / "docs" / "benchmarks" / "profile.json"
KEPT_BELOW_BYTES = 1 << 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two frames of 1 M rows (minutes)")
    parser.add_argument("--case", action="append", help="only cases whose name contains this")
    parser.add_argument("--peer", action="append", help="only these peers")
    parser.add_argument("--limit-s", type=float, default=600.0, help="time limit of a run")
    parser.add_argument("--limit-gib", type=float, default=16.0, help="memory limit of a run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON file to add to")
    parser.add_argument("--keep-data", action="store_true", help="keep files of more than 1 GiB")
    asked = parser.parse_args()
    for case in QUICK if asked.quick else FULL:
        if asked.case and not any(word in case.name for word in asked.case):
            continue
        entries = [e for e in case.entries if not asked.peer or e.peer in asked.peer]
        path = _file_of(case)
        found = _measure(case, entries, path, asked.limit_s, asked.limit_gib * 2**30 / 1e6)
        add_results(asked.results, case.name, found)
        if path.stat().st_size > KEPT_BELOW_BYTES and not asked.keep_data:
            path.unlink()
    report.write(asked.results)


def add_results(results: Path, case: str, found: list[dict[str, Any]]) -> None:
    """Put the runs of ``case`` in place of those that the file has."""
    known = json.loads(results.read_text()) if results.exists() else {"runs": []}
    kept = [run for run in known["runs"] if run["case"] != case]
    order = [name.name for name in FULL]
    runs = sorted(
        kept + located(known, found),
        key=lambda run: order.index(run["case"]) if run["case"] in order else len(order),
    )
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps({**known, "runs": runs}, indent=1, sort_keys=True) + "\n")


def located(known: dict[str, Any], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """``found``, naming this machine where the results that are ``known`` are another's."""
    here = machine()
    if known.setdefault("machine", here) == here:
        return found
    return [{**run, "machine": here} for run in found]


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    cpu = {line.partition(":")[0].strip(): line.partition(":")[2].strip()
           for line in Path("/proc/cpuinfo").read_text().splitlines()}  # fmt: skip
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "processor": cpu.get("model name", platform.machine()),
        "cores": len(list(Path("/sys/devices/system/cpu").glob("cpu[0-9]*"))),
        "memory_gib": round(kib / 2**20),
        "python": platform.python_version(),
    }


def _file_of(case: Case) -> Path:
    path = DATA / case.file_name
    if not path.exists():
        print(f"{case.name}: writing {path.name} ...", flush=True)
    return (
        data.write_synthetic(path, case.rows, case.columns)
        if case.synthetic
        else data.write_flights(path)
    )


def _measure(
    case: Case, entries: list[Entry], path: Path, limit_s: float, limit_mb: float
) -> list[dict[str, Any]]:
    """All entries in turn, as often as the one that repeats most, so that what else the machine
    does falls on all of them."""
    seen: dict[str, list[dict[str, Any]]] = {entry.name: [] for entry in entries}
    for turn in range(max((entry.repeats for entry in entries), default=0)):
        for entry in entries:
            if turn < entry.repeats:
                seen[entry.name].append(_one_run(case, entry, path, limit_s, limit_mb))
    return [_median(seen[entry.name]) for entry in entries]


def _one_run(
    case: Case, entry: Entry, path: Path, limit_s: float, limit_mb: float
) -> dict[str, Any]:
    run: dict[str, Any] = {
        "case": case.name, "peer": entry.peer, "name": entry.name, "why": entry.why,
        "file_mb": round(path.stat().st_size / 1e6), "limit_s": limit_s,
        "taken": datetime.now(timezone.utc).date().isoformat(),
    }  # fmt: skip
    if not entry.runs:
        return {**run, "outcome": "not run"}
    command = [str(python_of(entry.peer)), f"peers/run_{entry.peer}.py", str(path)]
    command += [str(entry.rows)] if entry.rows else []
    command += ["--workers", str(entry.workers)] if entry.workers else []
    found = watched(command, HERE, limit_s=limit_s, limit_mb=limit_mb)
    told = found_in(found.output) or {}
    if found.outcome == "failed":
        print(found.output[-3000:], flush=True)
    run |= {
        "outcome": found.outcome,
        "wall_s": round(found.wall_s, 2),
        "together_mb": round(found.together_mb),
        "workers": entry.workers,
        **told,
    }
    print(
        f"{case.name}: {entry.name}: {found.outcome} {json.dumps(told.get('phases'))}", flush=True
    )
    return run


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run with the median time of its profile; what all took is kept beside it."""
    done = [run for run in runs if run["outcome"] == "ok"]
    if not done or len(done) < len(runs):
        return next(run for run in runs if run["outcome"] != "ok")
    times = [run["phases"]["profile"]["cpu_s"] for run in done]
    middle = statistics.median_low(times)
    return {**done[times.index(middle)], "profile_cpu_s_of_all": times}


if __name__ == "__main__":
    main()
