"""What the gate says of two retrainings on real flights, as the benchmark measures it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "gate" / "flights.py"


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_half_a_year_more_is_clearly_better_and_two_weeks_are_not() -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    july, april = found.values()

    assert july["verdict"] == "pass"
    compared = july["against_live"]
    assert compared["clarity"] == "clearly better"
    assert 0.0 < compared["limits"]["low"] < compared["improvement"] < compared["limits"]["high"]
    assert july["rows"] > 28_000
    assert compared["sentence"].startswith("clearly better: log_loss is better by ")

    compared = april["against_live"]
    assert compared["clarity"] == "no clear difference"
    assert compared["limits"]["low"] < 0.0 < compared["limits"]["high"]
