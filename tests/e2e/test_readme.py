"""The README's commands as they stand: typed into a shell in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.heavy

README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = re.search(r"^## Compare two data sets\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)

EXIT_CODES = {
    "python - <<'PYTHON'": 0,
    "trueup compare winter.parquet july.parquet --spec flights.toml --html report.html": 3,
    "trueup compare winter.parquet july.parquet --time time_hour": 3,
    "trueup compare training.parquet served.parquet --key request_id": 4,
    "trueup profile winter.parquet -o winter.profile --write-spec columns.toml": 0,
    "trueup compare winter.profile july.parquet": 3,
}

SIDES = """
from trueup.datasets.flights import flights_with_weather
few = flights_with_weather().head(2000).reset_index(names="request_id")
few.to_parquet("training.parquet", index=False)
few.assign(distance=few["distance"] * 1.609344).to_parquet("served.parquet", index=False)
"""


def commands() -> list[str]:
    """Every command of the section, with its here-document."""
    assert SECTION is not None
    found = []
    for block in BLOCK.findall(SECTION[1]):
        found += [text for text in re.split(r"^\$ ", block, flags=re.MULTILINE) if text]
    return found


def test_every_command_ends_as_it_says(tmp_path: Path) -> None:
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([sys.executable, "-c", SIDES], cwd=tmp_path, check=True)
    ended = {}
    for command in commands():
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        ended[command.splitlines()[0]] = done.returncode
        assert done.stderr == "", done.stderr
    assert ended == EXIT_CODES
    assert (tmp_path / "report.html").stat().st_size > 100_000
