"""From docs/benchmarks/profile.json to the page and the picture beside it.

python benchmarks/profile/report.py    write both anew, without measuring
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import wording

RESULTS = Path(__file__).parent.parent.parent / "docs" / "benchmarks" / "profile.json"

WINDOW, BASELINE = "a window", "a baseline"
_PHASES = {WINDOW: ("profile",), BASELINE: ("open", "first pass", "profile")}
"""What Trueup does for one window of traffic, and for training data."""

BARS = (("TFDV", 5.0), ("whylogs", 25.0))
"""How many times faster Trueup's profile must be."""

MEMORY_BAR_MB = 400


def write(results: Path = RESULTS) -> None:
    """Write ``profile.md`` and ``profile.svg`` beside ``results``."""
    import picture

    found = json.loads(results.read_text())
    results.with_suffix(".md").write_text(page(found))
    results.with_suffix(".svg").write_text(picture.svg(rates(found)))


def page(found: dict[str, Any]) -> str:
    """The page, in Markdown, of the results ``found``."""
    parts = [
        wording.HEAD,
        _machine(found),
        *_cases(found["runs"]),
        wording.BARS,
        _bars(found["runs"]),
    ]
    if "memory" in found:
        parts += [wording.MEMORY.format(bar=MEMORY_BAR_MB), *_elsewhere(found["memory"])]
        parts += [_memory(found["memory"])]
    if "limits" in found:
        parts += [wording.LIMITS, *_elsewhere(found["limits"]), _limits(found["limits"])]
        parts += [wording.LIMITS_READ]
    return "\n\n".join(parts) + "\n"


def rates(found: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per bar of the picture: case, who, and millions of cells per second of processor."""
    return [
        {"case": run["case"], "who": who, "rate": round(_rate(run, seconds), 2)}
        for run in found["runs"]
        if run["outcome"] == "ok" and (run.get("workers") or 1) == 1
        for who, seconds in _tasks(run, "cpu_s")
    ]


def _tasks(run: dict[str, Any], clock: str) -> Iterable[tuple[str, float]]:
    """What a run did, by name, and how long it took."""
    if run["peer"] != "trueup":
        return [(run["name"], run["phases"]["profile"][clock])]
    return [
        (f"{run['name']}: {task}", sum(run["phases"][phase][clock] for phase in phases))
        for task, phases in _PHASES.items()
    ]


def _rate(run: dict[str, Any], seconds: float) -> float:
    return float(run["rows"] * run["columns"] / seconds / 1e6)


def _machine(found: dict[str, Any]) -> str:
    measured = [*found["runs"], *found.get("memory", [])]
    versions = {run["peer"]: run["version"] for run in found["runs"] if "version" in run}
    told = ", ".join(f"{peer} {version}" for peer, version in sorted(versions.items()))
    dates = sorted({run["taken"] for run in measured})
    elsewhere = any("machine" in run for run in [*measured, *found.get("limits", [])])
    unless = "unless a section names another machine, " if elsewhere else ""
    return (
        f"Taken {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}, {unless}on "
        f"{_described(found['machine'])}; {told}."
    )


def _described(machine: dict[str, Any]) -> str:
    return (
        f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB, "
        f"Python {machine['python']}"
    )


def _elsewhere(entries: list[dict[str, Any]]) -> list[str]:
    """A line that names the machine of a section which was taken on another one."""
    machines = dict.fromkeys(_described(e["machine"]) for e in entries if "machine" in e)
    return [f"Taken on {' and on '.join(machines)}."] if machines else []


def _cases(runs: list[dict[str, Any]]) -> Iterable[str]:
    for case in dict.fromkeys(run["case"] for run in runs):
        yield f"### {case}"
        of_case = [run for run in runs if run["case"] == case]
        yield from _elsewhere(of_case)
        rows = [row for run in of_case for row in _rows(run)]
        yield _table(
            ("", "rows", "CPU s", "wall s", "Mcells per CPU s", "peak MB"), rows, numbers_from=1
        )


def _rows(run: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    if run["outcome"] == "not run":
        return [(run["name"], f"not run: {run['why']}", "", "", "", "")]
    if run["outcome"] != "ok":
        told = {
            "time limit": f"stopped after {run['limit_s']:.0f} s",
            "memory limit": f"stopped at {run['together_mb'] / 1000:.0f} GB",
        }.get(run["outcome"], run["outcome"])
        return [(run["name"], told, "", "", "", f"{run['together_mb']:,}")]
    peak = run["together_mb"] if (run.get("workers") or 1) > 1 else run["peak_rss_mb"]
    return [
        (
            who, f"{run['rows']:,}", f"{cpu:.2f}", f"{wall:.2f}",
            f"{_rate(run, cpu):.3g}", f"{peak:,.0f}",
        )
        for (who, cpu), (_, wall) in zip(_tasks(run, "cpu_s"), _tasks(run, "wall_s"), strict=True)
    ]  # fmt: skip


def _bars(runs: list[dict[str, Any]]) -> str:
    rows = []
    for case in dict.fromkeys(run["case"] for run in runs):
        done = {r["name"]: r for r in runs if r["case"] == case and r["outcome"] == "ok"}
        ours = done.get("Trueup, frame")
        for peer, bar in BARS:
            theirs = done.get(peer)
            if ours is None or theirs is None:
                continue
            ratios = {
                (task, clock): ratio(ours, theirs, task, clock)
                for task in _PHASES
                for clock in ("cpu_s", "wall_s")
            }
            held = min(ratios[WINDOW, "cpu_s"], ratios[WINDOW, "wall_s"]) >= bar
            rows.append((
                case, f"{peer}, ≥ {bar:g} ×",
                *(f"{ratio:.1f} ×" for ratio in ratios.values()),
                "yes" if held else "**no**",
            ))  # fmt: skip
    header = (
        "frame", "bar", "window, CPU", "window, wall", "baseline, CPU", "baseline, wall", "held",
    )  # fmt: skip
    return _table(header, rows, numbers_from=2)


def ratio(ours: dict[str, Any], theirs: dict[str, Any], task: str, clock: str) -> float:
    """How many times as many cells per second ``ours`` gives; rows may differ."""
    seconds = sum(ours["phases"][phase][clock] for phase in _PHASES[task])
    return _rate(ours, seconds) / _rate(theirs, theirs["phases"]["profile"][clock])


def _memory(runs: list[dict[str, Any]]) -> str:
    rows = [
        (
            run["groups"],
            str(run["workers"]),
            f"{sum(phase['wall_s'] for phase in run['phases'].values()):.0f}",
            f"{run['parent_mb']:,}",
            ", ".join(f"{peak:,}" for peak in run["workers_mb"]) or "–",
            f"{run['together_mb']:,}",
            f"{run['shared_once_mb']:,}",
            "yes" if run["shared_once_mb"] <= MEMORY_BAR_MB else "**no**",
        )
        for run in runs
    ]
    header = (
        "row groups", "processes", "wall s", "first process, MB", "workers, MB", "sum of RSS, MB",
        "sum of PSS, MB", f"≤ {MEMORY_BAR_MB} MB",
    )  # fmt: skip
    return _table(header, rows, numbers_from=1)


def _limits(limits: list[dict[str, Any]]) -> str:
    rows = [(row["what"], f"{row['ns']:.2f}", f"{1e3 / row['ns']:.3g}") for row in limits]
    return _table(("one thread", "ns per cell", "Mcells/s"), rows, numbers_from=1)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]], numbers_from: int) -> str:
    rule = ["---" if i < numbers_from else "---:" for i in range(len(header))]
    lines = [header, tuple(rule), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    write()
