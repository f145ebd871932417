"""The example notebook runs as it stands, and its report shows itself in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.heavy

NOTEBOOK = Path(__file__).parents[2] / "examples" / "compare_flights.ipynb"

COLOURS = 20
"""An empty frame has five or so; a drawn report hundreds."""
PICTURES = 100


@pytest.fixture(scope="module")
def cells() -> list[Any]:
    """The notebook's code cells, run."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell: Any) -> str:
    return "".join(output["text"] for output in cell.outputs if output.output_type == "stream")


def test_what_it_says_comes_true(cells: list[Any]) -> None:
    assert printed(cells[2]).strip() == "drift"
    assert "dep_delay" in printed(cells[3])
    assert "windows of 1d by time_hour are the unit of evidence" in printed(cells[3])
    broken = printed(cells[4])
    assert broken.startswith("fault\n")
    assert "miles → kilometres" in broken
    assert "missing values of dep_delay were replaced by 0" in broken


def test_the_comparison_shows_itself(cells: list[Any], chromium: Any, tmp_path: Path) -> None:
    shown = next(o for o in cells[1].outputs if o.output_type == "execute_result")
    assert shown.data["text/plain"].startswith("<Comparison: drift: mean of temp rose")
    page = tmp_path / "notebook.html"
    page.write_text(
        f"<!doctype html><meta charset=utf-8><body>{shown.data['text/html']}", encoding="utf-8"
    )
    chromium.open(page, width=1000)
    frame = chromium.run(
        "(() => { const f = document.querySelector('iframe'); return [f.title, f.sandbox.value,"
        " f.getBoundingClientRect().width, f.getBoundingClientRect().height]; })()"
    )
    assert frame[:2] == ["Trueup report", "allow-scripts"]
    assert frame[2] > 900
    assert frame[3] >= 600
    picture = tmp_path / "notebook.png"
    for _ in range(PICTURES):  # the frame draws itself after the page around it has loaded
        chromium.picture(picture)
        if colours(picture) > COLOURS:
            break
    assert colours(picture) > COLOURS, "the frame stays empty"
    assert chromium.console == []
    assert [url for url in chromium.requests if not url.startswith(("file:", "about:"))] == []


def test_the_committed_notebook_has_no_outputs() -> None:
    """Outputs would go stale, and hold a report of 200 kB."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def colours(picture: Path) -> int:
    """Number of different colours; of plain PNG rows, by their bytes."""
    import struct
    import zlib

    data, place, packed, depth = picture.read_bytes(), 8, b"", 3
    while place < len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        if kind == b"IHDR":
            depth = {2: 3, 6: 4}[data[place + 17]]
        elif kind == b"IDAT":
            packed += data[place + 8 : place + 8 + size]
        place += size + 12
    raw = zlib.decompress(packed)
    return len({raw[i : i + depth] for i in range(0, len(raw) - depth, 97)})
