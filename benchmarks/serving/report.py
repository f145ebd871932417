"""From docs/benchmarks/serving.json to the page and the picture beside it.

python benchmarks/serving/report.py    write both anew, without measuring
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent.parent / "docs" / "benchmarks" / "serving.json"

ON, OFF, ECHO = "Trueup, capture on", "Trueup, capture off", "ASGI echo"
FASTAPI, BENTOML = "FastAPI", "BentoML"
ORDER = (ON, OFF, ECHO, BENTOML, FASTAPI)

HEAD = """\
# Serving, side by side

One model (8 numbers and 4 strings with vocabularies and embeddings → 64 → 32 → 1), one server
process and one TensorFlow thread each, one after the other on one machine, with `wrk -t1` beside
them on the same cores (`python benchmarks/serving/run.py`, benchmarks/serving/README.md).

- *Trueup*: `trueup serve`, TensorFlow Serving's REST contract whole; *capture on* writes every
  request down before it is answered.
- *ASGI echo*: uvicorn, uvloop and httptools; parses the JSON and writes it back. No model.
- *FastAPI*: one call of the model per request. *BentoML*: adaptive batching on.
- Requests of the same body; 64 connections and one row are measured {turns} times in turn, and the
  median counts. Capture on against off: both servers up, loaded in turn for 2 s each, by pairs
  (`overhead.py`), since the machine's speed changes by more than the capture costs. CPU: seconds of
  all threads and processes, per second of the clock.

![Requests per second](serving.svg)"""


def write(results: Path = RESULTS) -> None:
    """Write ``serving.md`` and ``serving.svg`` beside ``results``."""
    import picture

    found = json.loads(results.read_text())
    results.with_suffix(".md").write_text(page(found))
    results.with_suffix(".svg").write_text(picture.svg(rates(found)))


def page(found: dict[str, Any]) -> str:
    """The page, in Markdown, of the results ``found``."""
    return (
        "\n\n".join(
            [
                HEAD.format(turns=found["turns"]),
                _machine(found["machine"], found["seconds"]),
                _table(found),
                _bars(found),
                _capture(found["capture"]),
                _swaps(found["swaps"]),
            ]
        )
        + "\n"
    )


def rates(found: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per bar of the picture: case, who, and requests per second."""
    return [
        {"case": _case(rows, connections), "who": who, "rate": round(run["per_second"], 1)}
        for rows, connections in ((1, 64), (1, 8), (1, 1), (32, 64))
        for who in ORDER
        if (run := _median(found, who, rows, connections)) is not None
    ]


def _case(rows: int, connections: int) -> str:
    what = "1 row" if rows == 1 else f"{rows} rows"
    return f"{what} a request, {connections} connection{'s' if connections > 1 else ''}"


def _median(found: dict[str, Any], who: str, rows: int, connections: int) -> dict[str, Any] | None:
    """The run with the median rate of a case."""
    runs = [
        {**run, "per_second": run["requests"] / run["seconds"]}
        for run in found["runs"]
        if (run["server"], run["rows"], run["connections"]) == (who, rows, connections)
    ]
    if not runs:
        return None
    middle = statistics.median_low([run["per_second"] for run in runs])
    return next(run for run in runs if run["per_second"] == middle)


def _machine(machine: dict[str, Any], seconds: float) -> str:
    return (
        f"Taken {machine['taken']} on {machine['cores']} cores of {machine['processor']}, "
        f"{machine['memory_gib']} GiB, Python {machine['python']}; {seconds:g} s a run, load of "
        f"the machine before: {machine['load_before']}."
    )


def _table(found: dict[str, Any]) -> str:
    lines = []
    for rows in (1, 32):
        for connections in (1, 8, 64):
            lines += [
                f"### {_case(rows, connections)}",
                "",
                "| | requests/s | rows/s | p50 ms | p99 ms | failed | server CPU | wrk CPU | MB |",
                "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            ]
            for who in ORDER:
                run = _median(found, who, rows, connections)
                if run is None:
                    continue
                lines.append(
                    f"| {who} | {run['per_second']:,.0f} | {run['per_second'] * rows:,.0f} "
                    f"| {run['p50_ms']:.2f} | {run['p99_ms']:.2f} | {run['failed']} "
                    f"| {run['server_cpu_s'] / run['seconds']:.2f} "
                    f"| {run['generator_cpu_s'] / run['seconds']:.2f} | {run['rss_mb']:,} |"
                )
            lines.append("")
    return "\n".join(lines).rstrip()


def _bars(found: dict[str, Any]) -> str:
    rate = {who: _median(found, who, 1, 64) for who in ORDER}
    ours = rate[ON]
    assert ours is not None
    lines = [
        "## The bars",
        "",
        "One row a request, 64 connections.",
        "",
        "| what | bar | here | held |",
        "| --- | --- | ---: | ---: |",
    ]
    for who, bar in ((ECHO, 0.5), (FASTAPI, 20.0), (BENTOML, 10.0)):
        other = rate[who]
        if other is None:
            continue
        ratio = ours["per_second"] / other["per_second"]
        lines.append(
            f"| requests/s against {who} | ≥ {bar:g} × | {ratio:.2f} × | {_held(ratio >= bar)} |"
        )
    ratios = sorted(pair["on"] / pair["off"] for pair in found["overhead"]["pairs"])
    ratio = statistics.median(ratios)
    lines.append(
        f"| capture on against off, median of {len(ratios)} pairs, servers started "
        f"{_times(found['overhead']['starts'])} | ≥ 0.95 × | {ratio:.3f} × "
        f"({_quartile(ratios, 1):.3f}–{_quartile(ratios, 3):.3f}) | {_held(ratio >= 0.95)} |"
    )
    p99 = ours["p99_ms"]
    lines.append(f"| p99 | ≤ 25 ms | {p99:.1f} ms | {_held(p99 <= 25)} |")
    failed = sum(run["failed"] for run in found["runs"] if run["server"] in (ON, OFF))
    lines.append(f"| failed requests, all runs | 0 | {failed} | {_held(failed == 0)} |")
    capture = found["capture"]
    peak = max(
        run["requests"] * run["rows"] / run["seconds"]
        for run in found["runs"]
        if run["server"] == ON and run["rows"] == 1
    )
    ratio = capture["rows"] / capture["wall_s"] / peak
    lines.append(
        f"| compaction of one process, rows/s, against the peak of requests of one row | ≥ 3 × "
        f"| {ratio:.1f} × | {_held(ratio >= 3)} |"
    )
    return "\n".join(lines)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _quartile(ordered: list[float], which: int) -> float:
    return statistics.quantiles(ordered, n=4, method="inclusive")[which - 1]


def _held(holds: bool) -> str:
    return "yes" if holds else "**no**"


def _capture(capture: dict[str, Any]) -> str:
    rows = capture["rows"]
    return (
        "## The capture\n\n"
        f"{rows:,} rows were in the spool: {capture['spool_bytes'] / rows:,.0f} bytes per row, and "
        f"{capture['parquet_bytes'] / rows:,.0f} in Parquet (of bodies that repeat: real ones "
        f"compress less). `trueup compact` took {capture['wall_s']:.1f} s of the clock and "
        f"{capture['cpu_s']:.1f} s of CPU, its start included: "
        f"{rows / capture['wall_s']:,.0f} rows/s."
    )


def _swaps(swaps: dict[str, Any]) -> str:
    memory = swaps["rss_mb"]
    fifth, last = memory[min(4, len(memory) - 1)], memory[-1]
    ratio = swaps["swapping_p99_ms"] / swaps["steady_p99_ms"]
    lines = [
        "## Versions swapped under load",
        "",
        f"{swaps['count']} promotions, each as soon as the one before was live "
        f"({swaps['median_swap_s']} s at the median), with 64 connections asking all the time.",
        "",
        "| what | bar | here | held |",
        "| --- | --- | ---: | ---: |",
        f"| failed of {swaps['requests']:,} requests | 0 | {swaps['failed']} "
        f"| {_held(swaps['failed'] == 0)} |",
        f"| p99 while swapping (median of 2 s slices) against steady | ≤ 2 × | {ratio:.2f} × "
        f"({swaps['swapping_p99_ms']:.1f} / {swaps['steady_p99_ms']:.1f} ms) "
        f"| {_held(ratio <= 2)} |",
        f"| resident memory after the last against after the fifth | ≤ 1.1 × "
        f"| {last / fifth:.2f} × ({last:,} / {fifth:,} MB) | {_held(last <= 1.1 * fifth)} |",
        "",
        f"Requests/s while swapping: {swaps['swapping_per_second']:,.0f}, steady "
        f"{swaps['steady_per_second']:,.0f}. Worst p99 of a slice: "
        f"{swaps['worst_slice_p99_ms']:.1f} ms.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    write()
