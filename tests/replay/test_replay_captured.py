"""The whole way: a model is trained, served and asked; its successor has to answer the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.shop import shop_config, shop_rows
from tests.trainer_task.conftest import wait_until

CONFIG = (
    shop_config(more="drop_since_best = 0.5\nmax_slowdown = 50.0\n")
    + """
[capture]
segment_age = "1s"
[models.shop.windows]
retention = "3650d"
"""
)


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
    # "shop" says nothing: it is no feature, and clients send it all the same.
    rows_with_shop = shop_rows().assign(shop="downtown")
    rows_with_shop.to_parquet(tmp_path / "rows.parquet")
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
    shop_rows().to_parquet(tmp_path / "rows.parquet")
    third = trained(tmp_path)
    assert third["verdict"] == "fail"
    refused = rule_of(third, "replay_equality")
    assert refused["outcome"] == "fail"
    assert "120 of 120 replayed requests failed" in refused["reason"]
    assert "shop" in refused["reason"]
