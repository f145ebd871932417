"""``trueup train`` as a user types it: rows in, a version live, gate and job on record."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from tests.shop import shop_config, shop_rows

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "trueup.cli.main", *arguments],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200,
        )  # fmt: skip

    return run


@pytest.mark.heavy
def test_a_first_version_goes_live_and_a_worse_one_does_not(tmp_path: Path, run: Run) -> None:
    shop_rows(per_day=400).to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "trueup.toml").write_text(shop_config(epochs=8, margin=0.05))
    done = run("train", "shop", "--json", "--reason", "the first")
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)
    assert (first["version"], first["live"], first["gate"]["verdict"]) == (1, True, "pass")
    assert first["gate"]["against_live"] is None
    rules = {rule["rule"]: rule["outcome"] for rule in first["gate"]["rules"]}
    assert rules["replay_equality"] == "pass"
    assert any("since nothing is captured yet" in note for note in first["gate"]["notes"])
    with closing(sqlite3.connect(tmp_path / ".trueup" / "store.db")) as store:
        (details,) = store.execute("select details from baselines").fetchone()
    taken = json.loads(details)["importances"]
    by_name = {one["feature"]: one["increase"] for one in taken["importances"]}
    assert set(by_name) == {"price", "kind"}
    assert by_name["price"] > by_name["kind"] > 0.02
    curve = next(c for c in taken["partial_dependence"] if c["feature"] == "price")
    answers = [point[0] for point in curve["answers"]]
    assert curve["values"][-1] is None and answers[0] < 0.1 < 0.8 < answers[-2]
    (job,) = json.loads(run("jobs", "shop", "--json").stdout)
    assert (job["state"], job["version"], job["reason"]) == ("succeeded", 1, "the first")
    (told,) = json.loads(run("versions", "shop", "--json").stdout)
    assert told["aliases"] == ["stable"]

    # The same rows with labels that say nothing: the candidate must lose against version 1.
    frame = pd.read_parquet(tmp_path / "rows.parquet")
    learnt = frame["at"] < frame["at"].max() - pd.Timedelta(days=3)
    shuffled = frame.loc[learnt, "bought"].sample(frac=1.0, random_state=2).to_numpy()
    frame.loc[learnt, "bought"] = shuffled
    frame.to_parquet(tmp_path / "rows.parquet")
    done = run("train", "shop", "--json")
    assert done.returncode == 5, done.stderr
    second = json.loads(done.stdout)
    assert (second["version"], second["live"]) == (2, False)
    assert second["gate"]["verdict"] == "fail"
    assert second["gate"]["against_live"]["clarity"] == "clearly worse"
    newest, live = json.loads(run("versions", "shop", "--json").stdout)
    assert (newest["version"], newest["aliases"], live["aliases"]) == (2, [], ["stable"])


@pytest.mark.heavy
def test_bad_wishes_are_one_sentence_and_leave_no_version(tmp_path: Path, run: Run) -> None:
    shop_rows(days=5, per_day=400).to_parquet(tmp_path / "rows.parquet")
    config = shop_config(epochs=1)
    cases = {
        config.replace('label = "bought"', 'label = "sold"'): "sold",
        config.replace("rows.parquet", "absent.parquet"): "absent.parquet",
        config.replace('gate_period = "3d"', 'gate_period = "30d"'): "gate_period",
    }
    for text, word in cases.items():
        (tmp_path / "trueup.toml").write_text(text)
        done = run("train", "shop")
        assert done.returncode in (1, 2), done.stderr
        assert word in done.stderr.strip().splitlines()[-1]
        assert "Traceback" not in done.stderr
    assert json.loads(run("versions", "shop", "--json").stdout) == []
    assert {job["state"] for job in json.loads(run("jobs", "--json").stdout)} == {"failed"}
    assert run("train", "shop", "--strategy", "magic").returncode == 2
    assert run("cancel", "nothing").returncode == 2
