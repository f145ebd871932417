"""Memory of profiling 100 M rows from Parquet, by one process and by two.

    python benchmarks/profile/memory.py

Writes two files of the same rows, one with row groups as pyarrow writes them today (1 M rows), one
with groups of 64 M rows as pyarrow before version 11 wrote them, and profiles each from the
beginning: what the columns are, both passes. Memory is what /proc says of every process (VmHWM),
imports included. The files (2.5 GB each) are removed afterwards.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import data
import report
from peers.measured import found_in
from run import HERE, RESULTS, located
from watch import watched

ROWS, COLUMNS = 100_000_000, 6
BYTES_PER_ROW = 40
GROUPS = {"1 M rows": 1 << 20, "64 M rows": 1 << 26}
LIMIT_S, LIMIT_MB = 1800.0, 8000.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--groups", choices=GROUPS, action="append", help="only these row groups")
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary folder")
    parser.add_argument("--keep", action="store_true", help="leave the files in the folder")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON file to add to")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="trueup-memory-"))
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < 2 * asked.rows * BYTES_PER_ROW:
        sys.exit(f"{folder} has {free / 1e9:.0f} GB free: too little for {asked.rows:,} rows")
    found = []
    for name in asked.groups or GROUPS:
        path = folder / f"{asked.rows}-{GROUPS[name]}.parquet"
        data.write_synthetic(path, asked.rows, COLUMNS, group_rows=GROUPS[name])
        found += [_run(path, name, workers) for workers in (1, 2)]
        if not asked.keep:
            path.unlink()
    if not asked.keep and asked.folder is None:
        folder.rmdir()
    known = json.loads(asked.results.read_text()) if asked.results.exists() else {"runs": []}
    known["memory"] = located(known, found)
    asked.results.parent.mkdir(parents=True, exist_ok=True)
    asked.results.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    report.write(asked.results)


def _run(path: Path, groups: str, workers: int) -> dict[str, Any]:
    seen = watched(
        [sys.executable, "peers/run_trueup.py", str(path), "--workers", str(workers)],
        HERE, limit_s=LIMIT_S, limit_mb=LIMIT_MB,
    )  # fmt: skip
    if seen.outcome == "failed":
        print(seen.output[-3000:])
    first, *others = seen.peaks_mb.values()
    run = {
        "groups": groups,
        "workers": workers,
        "outcome": seen.outcome,
        "wall_s": round(seen.wall_s, 1),
        "file_mb": round(path.stat().st_size / 1e6),
        "parent_mb": round(first),
        "workers_mb": sorted((round(peak) for peak in others if peak > 50), reverse=True),
        "together_mb": round(seen.together_mb),
        "shared_once_mb": round(seen.shared_once_mb),
        "taken": datetime.now(timezone.utc).date().isoformat(),
        **(found_in(seen.output) or {}),
    }
    print(json.dumps(run), flush=True)
    return run


if __name__ == "__main__":
    main()
