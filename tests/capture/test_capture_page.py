"""docs/capture.md says what a row has."""

from __future__ import annotations

import re
from pathlib import Path

from trueup.monitor.capture.row_schema import FIXED

PAGE = Path(__file__).parents[2] / "docs" / "capture.md"


def test_every_column_is_documented() -> None:
    text = PAGE.read_text(encoding="utf-8")
    table = text.partition("### Columns of a row")[2].partition("###")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    assert named == [*FIXED.names, "in.VARIABLE", "out.OUTPUT"]
