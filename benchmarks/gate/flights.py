"""Retrainings of one model on real flights: what does the gate say of them?

    python benchmarks/gate/flights.py           a minute; writes docs/benchmarks/gate-flights.md
    python benchmarks/gate/flights.py --json    prints what the gates said, and writes nothing

A wide_and_deep that predicts ``arr_delay > 15`` from what is known at departure is trained by
``trueup train`` on January to March and goes live. Two candidates are held against it, each in a
registry of its own: one of January to June, on the flights of July; and one of January to the
middle of April, on the second half of April. Rows are real, as are jobs, scores and gates. Set are
label, time, one cross, epochs, the gate's stretch of time, no held-out keys and no replay; all
else, the margin too, is the default.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from trueup.datasets.flights import WEATHER, flights_with_weather

RESULTS = Path(__file__).parent.parent.parent / "docs" / "benchmarks" / "gate-flights.md"
INPUTS = ("carrier", "origin", "dest", "distance", "hour", "dep_delay", *WEATHER)
CONFIG = """\
[models.flights.training]
label = "arr_delay"
positive_above = 15
crosses = [["origin", "dest"]]
epochs = {epochs}
[models.flights.training.data]
sources = ["rows.parquet"]
time = "time_hour"
gate_period = "{period}"
gate_share = 0.0
[models.flights.gate]
replay_rows = 0
"""
WINTER_END = "2013-04-01"
CASES = {
    "January to June, on July": ("2013-08-01", "31d"),
    "January to mid-April, on the rest of April": ("2013-05-01", "14d"),
}
"""End of the data, and what of it the gate alone sees."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the gates' reports")
    parser.add_argument("--epochs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flights-") as name:
        found = measure(Path(name), asked.epochs)
    if asked.json:
        print(json.dumps(found))
        return
    text = page(found, asked.epochs)
    RESULTS.write_text(text)
    print(text)


def measure(folder: Path, epochs: int) -> dict[str, dict[str, Any]]:
    """The gate's report of each case."""
    rows = flights_with_weather()[[*INPUTS, "time_hour", "arr_delay"]]
    rows = rows.sort_values("time_hour", kind="stable")
    first = folder / "live"
    train(first, until(rows, WINTER_END), epochs, "7d")
    found = {}
    for case, (end, period) in CASES.items():
        site = folder / f"case-{len(found)}"
        shutil.copytree(first, site)
        found[case] = train(site, until(rows, end), epochs, period)["gate"]
    return found


def until(rows: pd.DataFrame, end: str) -> pd.DataFrame:
    return rows[rows["time_hour"] < pd.Timestamp(end, tz="UTC")]


def train(site: Path, rows: pd.DataFrame, epochs: int, period: str) -> dict[str, Any]:
    site.mkdir(exist_ok=True)
    rows.to_parquet(site / "rows.parquet", index=False)
    (site / "trueup.toml").write_text(CONFIG.format(epochs=epochs, period=period))
    done = subprocess.run(
        [sys.executable, "-m", "trueup.cli.main", "train", "flights", "--json"],
        cwd=site, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not done.stdout:
        raise SystemExit(f"trueup train failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def page(found: dict[str, dict[str, Any]], epochs: int) -> str:
    lines = [
        "# Retrainings on real flights, and what the gate says",
        "",
        " ".join(__doc__.split("\n\n")[2].replace("``", "`").split()),
        "",
        f"`python benchmarks/gate/flights.py`, {epochs} epochs; log-loss in nats, limits of 95 % "
        "each.",
        "",
        "| retrained | rows | drawn | live | candidate | better by | from | to | the gate says |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for case, gate in found.items():
        against = gate["against_live"]
        limits = against["limits"]
        lines.append(
            f"| {case} | {gate['rows']:,} | {gate['grouped']} | {against['other']:.4f} | "
            f"{against['candidate']:.4f} | {against['improvement']:.4f} | {limits['low']:.4f} | "
            f"{limits['high']:.4f} | {against['clarity']}; {gate['verdict'].replace('_', ' ')} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
