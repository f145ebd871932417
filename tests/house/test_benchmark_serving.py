"""benchmarks/serving: what a page says of its results, and peers that can be brought back."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.house.conftest import Scripts

MODULES = ("environments", "load", "model", "picture", "report", "servers")


@pytest.fixture
def bench(scripts: Scripts) -> SimpleNamespace:
    """The benchmark's modules, which are scripts beside each other and no package."""
    return scripts("serving", MODULES)


@pytest.fixture
def results(root: Path) -> Path:
    return root / "docs" / "benchmarks" / "serving.json"


def some_results(rate: dict[str, float], *, pairs: list[float], failed: int = 0) -> dict[str, Any]:
    run = {
        "rows": 1, "connections": 64, "turn": 0, "seconds": 2.0, "p50_ms": 2.0, "p99_ms": 30.0,
        "failed": failed, "server_cpu_s": 2.0, "generator_cpu_s": 0.5, "rss_mb": 400,
    }  # fmt: skip
    return {
        "runs": [{**run, "server": who, "requests": each * 2} for who, each in rate.items()],
        "machine": {
            "processor": "p", "cores": 2, "memory_gib": 4, "python": "3.11",
            "taken": "2026-01-01", "load_before": 0.1,
        },
        "seconds": 2, "turns": 1,
        "overhead": {
            "pairs": [{"start": 0, "on": each, "off": 1.0} for each in pairs], "seconds": 2,
            "starts": 1,
        },
        "capture": {
            "rows": 1000, "spool_bytes": 340_000, "parquet_bytes": 30_000, "wall_s": 1.0,
            "cpu_s": 1.5,
        },
        "swaps": {
            "count": 50, "requests": 100, "failed": 0, "rss_mb": [500] * 50, "median_swap_s": 1.0,
            "steady_p99_ms": 5.0, "swapping_p99_ms": 12.5, "worst_slice_p99_ms": 20.0,
            "swapping_per_second": 10.0, "steady_per_second": 20.0,
        },
    }  # fmt: skip


class TestPage:
    def test_page_says_what_the_results_say(self, bench: SimpleNamespace, results: Path) -> None:
        found = json.loads(results.read_text())
        assert results.with_suffix(".md").read_text() == bench.report.page(found)

    def test_picture_shows_every_result(self, bench: SimpleNamespace, results: Path) -> None:
        rates = bench.report.rates(json.loads(results.read_text()))
        drawn = ElementTree.parse(results.with_suffix(".svg"))
        texts = {element.text for element in drawn.iter() if element.tag.endswith("text")}
        assert {row["case"] for row in rates} <= texts
        assert {row["who"] for row in rates} == set(bench.report.ORDER) <= texts

    def test_missed_bars_are_told(self, bench: SimpleNamespace) -> None:
        rate = {"Trueup, capture on": 600.0, "Trueup, capture off": 640.0, "ASGI echo": 1000.0,
                "FastAPI": 31.0, "BentoML": 50.0}  # fmt: skip
        text = bench.report.page(some_results(rate, pairs=[0.93, 0.94, 0.96], failed=1))
        for line in (
            "| requests/s against ASGI echo | ≥ 0.5 × | 0.60 × | yes |",
            "| requests/s against FastAPI | ≥ 20 × | 19.35 × | **no** |",
            "| requests/s against BentoML | ≥ 10 × | 12.00 × | yes |",
            "| capture on against off, median of 3 pairs, servers started once | ≥ 0.95 × "
            "| 0.940 × (0.935–0.950) | **no** |",
            "| p99 | ≤ 25 ms | 30.0 ms | **no** |",
            "| failed requests, all runs | 0 | 2 | **no** |",
            "| compaction of one process, rows/s, against the peak of requests of one row | ≥ 3 × "
            "| 1.7 × | **no** |",
            "| p99 while swapping (median of 2 s slices) against steady | ≤ 2 × | 2.50 × "
            "(12.5 / 5.0 ms) | **no** |",
        ):
            assert line in text


class TestPeers:
    def test_every_peer_has_pinned_versions(self, root: Path) -> None:
        folder = root / "benchmarks" / "serving" / "peers"
        for peer in ("fastapi", "bentoml"):
            wanted = (folder / f"{peer}.txt").read_text().split()
            assert any("==" in line for line in wanted)

    def test_bodies_are_the_same_each_time(self, bench: SimpleNamespace) -> None:
        body = json.loads(bench.load.body(32))
        assert len(body["instances"]) == 32
        assert bench.load.body(32) == bench.load.body(32)
