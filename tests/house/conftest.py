"""A copy of the source tree that a test may break."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("trueup", "monitor", "serving", "trainer", "alerts", "scripts", "constraints")
FILES = ("pyproject.toml", "README.md", "LICENSE", "Makefile", "conftest.py")


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources, links kept as links, in a folder of its own."""
    copy = tmp_path / "tree"
    for name in SOURCES:
        shutil.copytree(
            ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in FILES:
        shutil.copy2(ROOT / name, copy / name)
    return copy
