"""benchmarks/profile: seeded frames, runs with limits, and a page that says what was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest

from tests.house.conftest import Scripts

MODULES = (
    "cases", "data", "environments", "peers", "peers.measured", "picture", "report", "run",
    "watch", "wording",
)  # fmt: skip


@pytest.fixture
def bench(scripts: Scripts) -> SimpleNamespace:
    """The benchmark's modules, which are scripts beside each other and no package."""
    return scripts("profile", MODULES)


@pytest.fixture
def results(root: Path) -> Path:
    return root / "docs" / "benchmarks" / "profile.json"


def a_run(name: str, cpu_s: float, **more: object) -> dict[str, object]:
    peer = name.partition(",")[0].lower()
    phases = {
        phase: {"cpu_s": cpu_s, "wall_s": cpu_s} for phase in ("open", "first pass", "profile")
    }
    return {
        "case": "c", "peer": peer, "name": name, "outcome": "ok", "rows": 1000, "columns": 10,
        "phases": phases, "peak_rss_mb": 100.0, "together_mb": 100, "workers": None,
    } | more  # fmt: skip


class TestResults:
    def test_page_says_what_the_results_say(self, bench: SimpleNamespace, results: Path) -> None:
        found = json.loads(results.read_text())
        assert results.with_suffix(".md").read_text() == bench.report.page(found)

    def test_picture_shows_every_result(self, bench: SimpleNamespace, results: Path) -> None:
        rates = bench.report.rates(json.loads(results.read_text()))
        drawn = ElementTree.parse(results.with_suffix(".svg"))
        texts = [element.text for element in drawn.iter() if element.tag.endswith("text")]
        assert {row["case"] for row in rates} | {row["who"] for row in rates} <= set(texts)
        assert len(rates) > 5
        for row in rates:
            label = format(float(format(row["rate"], ".3g")), "g")
            assert label in texts, row

    def test_results_hold_both_bars_on_the_flights(
        self, bench: SimpleNamespace, results: Path
    ) -> None:
        """statistics.md, section 6: same frame, same run."""
        runs = json.loads(results.read_text())["runs"]
        flights = {run["name"]: run for run in runs if "flights" in run["case"]}
        assert (flights["TFDV"]["rows"], flights["TFDV"]["columns"]) == (1_010_328, 19)
        for peer, bar in bench.report.BARS:
            for clock in ("cpu_s", "wall_s"):
                ours, theirs = flights["Trueup, frame"], flights[peer]
                assert bench.report.ratio(ours, theirs, bench.report.WINDOW, clock) >= bar

    def test_picture_is_the_same_each_time_and_fits_dark_pages(
        self, bench: SimpleNamespace
    ) -> None:
        rates = [{"case": "c", "who": "TFDV", "rate": 8.5}]
        drawn = bench.picture.svg(rates)
        assert drawn == bench.picture.svg(rates)
        assert "prefers-color-scheme: dark" in drawn
        assert ">8.5<" in drawn

    def test_page_tells_missed_bars_and_stopped_runs(self, bench: SimpleNamespace) -> None:
        runs = [
            a_run("Trueup, frame", 1.0, version="1", taken="2026-01-01"),
            a_run("TFDV", 4.9, version="2", taken="2026-01-02"),
            a_run("whylogs", 2.6, version="3", taken="2026-01-02", rows=100),
            {"case": "c", "peer": "evidently", "name": "Evidently", "outcome": "time limit",
             "limit_s": 60.0, "together_mb": 7, "taken": "2026-01-02"},
        ]  # fmt: skip
        machine = {"cores": 2, "processor": "p", "memory_gib": 4, "python": "3.11"}
        lines = bench.report.page({"runs": runs, "machine": machine}).splitlines()
        assert "| c | TFDV, ≥ 5 × | 4.9 × | 4.9 × | 1.6 × | 1.6 × | **no** |" in lines
        assert "| c | whylogs, ≥ 25 × | 26.0 × | 26.0 × | 8.7 × | 8.7 × | yes |" in lines
        assert "| Evidently | stopped after 60 s |  |  |  | 7 |" in lines

    def test_page_names_the_machine_of_a_case_that_was_taken_on_another(
        self, bench: SimpleNamespace, tmp_path: Path
    ) -> None:
        results = tmp_path / "profile.json"
        elsewhere = {"cores": 96, "processor": "p", "memory_gib": 4, "python": "3.11"}
        before = [a_run("TFDV", 4.9, version="2", taken="2026-01-02")]
        results.write_text(json.dumps({"runs": before, "machine": elsewhere}))
        new = [a_run("TFDV", 1.0, version="2", taken="2026-01-03") | {"case": "d"}]
        bench.run.add_results(results, "d", new)
        found = json.loads(results.read_text())
        assert found["machine"] == elsewhere
        page = bench.report.page(found)
        first, second = page.split("### c")[1].split("### d")
        assert "Taken on" not in first
        assert f"Taken on {bench.run.machine()['cores']} cores of" in second
        assert "unless a section names another machine, on 96 cores of p" in page


class TestFrames:
    def test_same_rows_each_time_however_many(self, bench: SimpleNamespace, tmp_path: Path) -> None:
        rows = bench.data.BLOCK_ROWS + 1000
        one = pq.read_table(bench.data.write_synthetic(tmp_path / "a.parquet", rows, 4))
        two = pq.read_table(bench.data.write_synthetic(tmp_path / "b.parquet", rows + 5, 6))
        assert one.num_rows == rows
        assert two.num_rows == rows + 5
        assert two.slice(0, rows).select(one.schema.names).equals(one)
        assert one.column(0).null_count > 0

    def test_groups_are_as_large_as_asked(self, bench: SimpleNamespace, tmp_path: Path) -> None:
        size = bench.data.BLOCK_ROWS
        path = bench.data.write_synthetic(tmp_path / "a.parquet", 3 * size, 2, group_rows=2 * size)
        meta = pq.ParquetFile(path).metadata
        assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [2 * size, size]


class TestRuns:
    def test_every_peer_has_a_script_and_pinned_versions(
        self, bench: SimpleNamespace, root: Path
    ) -> None:
        peers = {entry.peer for case in bench.cases.FULL for entry in case.entries}
        assert peers == {"trueup", "tfdv", "whylogs", "evidently"}
        folder = root / "benchmarks" / "profile" / "peers"
        for peer in peers:
            assert (folder / f"run_{peer}.py").is_file()
            if peer != "trueup":
                wanted = (folder / f"{peer}.txt").read_text().split()
                assert any("==" in line for line in wanted)

    def test_ends_runs_that_take_too_much_memory(
        self, bench: SimpleNamespace, tmp_path: Path
    ) -> None:
        code = "import signal; x = b'x' * 80_000_000; signal.pause()"
        found = bench.watch.watched(
            [sys.executable, "-c", code], tmp_path, limit_s=60.0, limit_mb=80.0
        )
        assert found.outcome == "memory limit"
        assert found.together_mb > 80.0
        assert max(found.peaks_mb.values()) > 80.0

    @pytest.mark.parametrize(
        ("code", "limit_s", "outcome"),
        [
            ("import signal; signal.pause()", 0.2, "time limit"),
            ("raise SystemExit(3)", 60.0, "failed"),
            ("print('done')", 60.0, "ok"),
        ],
    )
    def test_ends_runs_and_says_how(
        self, bench: SimpleNamespace, tmp_path: Path, code: str, limit_s: float, outcome: str
    ) -> None:
        found = bench.watch.watched(
            [sys.executable, "-c", code], tmp_path, limit_s=limit_s, limit_mb=4000.0
        )
        assert found.outcome == outcome
        assert found.output == ("done\n" if outcome == "ok" else "")
