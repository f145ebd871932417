"""The whole way: a model is trained, served and asked; its successor has to answer the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.trainer_task.conftest import wait_until

CONFIG = """\
[capture]
segment_age = "1s"
[models.shop.windows]
retention = "3650d"
[models.shop.training]
label = "bought"
model = "linear"
epochs = 4
batch_size = 256
learning_rate = 0.05
[models.shop.training.data]
sources = ["rows.parquet"]
time = "at"
gate_period = "3d"
gate_share = 0.0
[models.shop.gate]
margin = 0.5
drop_since_best = 0.5
max_slowdown = 50.0
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trueup.cli.main", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip


def trained(folder: Path) -> dict[str, Any]:
    done = run(folder, "train", "shop", "--json")
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found["gate"]


def rule_of(gate: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [rule for rule in gate["rules"] if rule["rule"] == name]
    return found


def write_rows(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda r: r) -> None:
    chance = np.random.default_rng(1)
    count = 3600
    price, kind = chance.normal(10.0, 3.0, count), chance.choice(["a", "b", "c"], count)
    odds = 0.8 * (price - 10.0) + np.where(kind == "a", 2.0, -1.0)
    rows = pd.DataFrame({
        "at": pd.Timestamp("2026-01-01", tz="UTC")
        + pd.to_timedelta(np.sort(chance.integers(0, 12 * 86_400, count)), "s"),
        "price": np.where(chance.random(count) < 0.05, np.nan, price),
        "kind": kind,
        "shop": "downtown",  # says nothing: no feature, and clients send it all the same
        "bought": (chance.random(count) < 1.0 / (1.0 + np.exp(-odds))).astype(int),
    })  # fmt: skip
    change(rows).to_parquet(folder / "rows.parquet")


def ask(folder: Path) -> int:
    """Serve, and send requests of one to three rows; how many rows."""
    chance = np.random.default_rng(2)
    log = folder / "serve.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "trueup.cli.main", "serve", "--rest-port", "0"],
            cwd=folder, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        port = wait_until(lambda: re.search(r"127\.0\.0\.1:(\d+) with", log.read_text()))[1]
        rows = 0
        for number in range(120):
            count = number % 3 + 1
            instances = [
                {
                    "price": None if chance.random() < 0.1 else float(chance.normal(10, 3)),
                    "kind": str(chance.choice(["a", "b", "é"])), "shop": "downtown",
                }
                for _ in range(count)
            ]  # fmt: skip
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/models/shop:predict",
                json.dumps({"instances": instances}).encode(),
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert len(json.loads(answer.read())["predictions"]) == count
            rows += count
    finally:
        server.terminate()
        assert server.wait(60) == 0
    return rows


@pytest.mark.heavy
def test_successor_answers_what_was_captured(tmp_path: Path) -> None:
    write_rows(tmp_path)
    (tmp_path / "trueup.toml").write_text(CONFIG)
    first = trained(tmp_path)
    assert first["verdict"] == "pass"
    assert any("rows of the gate, since nothing is captured yet" in n for n in first["notes"])
    rows = ask(tmp_path)
    assert run(tmp_path, "compact").returncode == 0
    second = trained(tmp_path)
    assert second["verdict"] == "pass", second["reasons"]
    said = f"the server was asked with 120 captured requests ({rows:,} rows)"
    assert said in second["notes"]
    equality = rule_of(second, "replay_equality")
    assert (equality["rows"], equality["outcome"]) == (120, "pass")
    assert rule_of(second, "replay_slowdown")["estimate"] > 0
    assert rule_of(second, "replay_memory")["estimate"] > 0

    # A candidate that no longer takes what clients send is refused, by the server's own words.
    write_rows(tmp_path, lambda frame: frame.drop(columns="shop"))
    third = trained(tmp_path)
    assert third["verdict"] == "fail"
    refused = rule_of(third, "replay_equality")
    assert refused["outcome"] == "fail"
    assert "120 of 120 replayed requests failed" in refused["reason"]
    assert "shop" in refused["reason"]
