"""The README's section on serving, as it stands: a model is trained, imported, served, captured."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.conftest import LONG_S, QUIET, until

pytestmark = pytest.mark.heavy

README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = re.search(
    r"^## Serve a model, and keep every request\n(.*?)^## ", README, re.MULTILINE | re.DOTALL
)
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)

WINTER = """
from trueup.datasets.flights import flights_with_weather
flights = flights_with_weather()
flights[flights.month <= 3].to_parquet("winter.parquet", index=False)
"""


def commands() -> list[str]:
    assert SECTION is not None
    blocks = BLOCK.findall(SECTION[1])
    return [text for block in blocks for text in re.split(r"^\$ ", block, flags=re.M) if text]


def test_every_command_does_what_is_said(tmp_path: Path) -> None:
    bin_folder = Path(sys.executable).parent
    environment = {
        **os.environ, **QUIET, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "TRUEUP_SERVING__REST_PORT": "0",
    }  # fmt: skip
    log = tmp_path / "serve.log"

    def run(command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True,
            check=False, timeout=LONG_S,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    subprocess.run([sys.executable, "-c", WINTER], cwd=tmp_path, check=True, timeout=LONG_S)
    train, bring_in, serve, predict, label, *reading = commands()
    run(train)
    assert "version 1 is live" in run(bring_in)
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {serve}"], cwd=tmp_path, env=environment, stdout=output,
            stderr=output,
        )  # fmt: skip
    try:
        found = until("the address", lambda: re.search(r"http://(\S+)", log.read_text()))
        ask = f"curl -fs {found[0]}/readyz"
        until("readiness", lambda: subprocess.run(["bash", "-c", ask], check=False).returncode == 0)
        answer = json.loads(run(predict.replace("localhost:8501", found[1])))
        assert len(answer["predictions"]) == 1
        taken = json.loads(run(label.replace("localhost:8501", found[1])))
        assert taken["accepted"] == 1
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(LONG_S) == 0
    compact, rows, parquet = reading
    assert "1 rows found their labels" in run(compact)
    row = json.loads(run(rows))
    assert (row["request_id"], row["in.carrier"], row["label.arr_delay"]) == ("UA-1545", "UA", 11)
    assert row["out.outputs"] == answer["predictions"][0]
    run(parquet)
    assert (tmp_path / "rows.parquet").stat().st_size > 1000
