"""``trueup retrain`` with real clusters: two at once, and what is kept of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.shop import shop_config, shop_rows

COMMAND = (sys.executable, "-m", "trueup.cli.main")


def run(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [*COMMAND, *arguments, "--json"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.heavy
def test_two_at_once_start_one_job(tmp_path: Path) -> None:
    shop_rows().to_parquet(tmp_path / "rows.parquet")
    config = shop_config(epochs=2, margin=5.0, more="replay_rows = 0\n")
    (tmp_path / "trueup.toml").write_text(config)

    code, told = run(tmp_path, "retrain", "shop", "--dry-run")
    assert (code, told["decision"]["start"], told["trained"]) == (0, True, None)
    assert json.loads(subprocess.check_output([*COMMAND, "jobs", "--json"], cwd=tmp_path)) == []

    both = [
        subprocess.Popen(
            [*COMMAND, "retrain", "shop", "--json", "--reason", "at once"],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    ended = []
    for process in both:
        out, _ = process.communicate(timeout=200)
        ended.append((process.returncode, json.loads(out)))
    held, done = sorted(ended, key=lambda each: each[1]["trained"] is not None)
    assert done[0] == 0
    assert done[1]["trained"]["live"] is True
    assert held[0] == 5
    assert held[1]["decision"]["held_by"] == ["running"]
    (job,) = json.loads(subprocess.check_output([*COMMAND, "jobs", "--json"], cwd=tmp_path))
    assert job["state"] == "succeeded"
    assert job["reason"].startswith("at once: ")

    code, told = run(tmp_path, "retrain", "shop", "--if-due")
    assert (code, told["decision"]["start"]) == (0, False)
    assert told["decision"]["triggers"] == []
