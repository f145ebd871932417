"""SavedModels of one number, and a folder of replays."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Programs, and no modules with doctests.
collect_ignore = ["make_models.py", "holds_server.py"]
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``plain`` (2 x), ``noisy`` (2 x and a random part) and ``slow``."""
    folder = tmp_path_factory.mktemp("replayed")
    subprocess.run([sys.executable, str(HERE / "make_models.py"), str(folder)], check=True)
    return folder


def processes_in(folder: Path) -> list[int]:
    """Processes whose command names something in ``folder``, or whose folder it is."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            named = str(folder) in (entry / "cmdline").read_text()
            inside = (entry / "cwd").readlink().is_relative_to(folder)
            dead = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if (named or inside) and not dead:
            found.append(int(entry.name))
    return found


@pytest.fixture
def leaves_nothing(tmp_path: Path) -> Iterator[None]:
    yield
    assert processes_in(tmp_path) == []
