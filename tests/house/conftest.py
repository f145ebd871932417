"""A copy of the source tree that a test may break."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Protocol

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


class Scripts(Protocol):
    """Loads modules ``names`` of ``benchmarks/FOLDER`` for one test, and no other finds them."""

    def __call__(self, folder: str, names: Sequence[str]) -> SimpleNamespace: ...


@pytest.fixture
def scripts(root: Path, monkeypatch: pytest.MonkeyPatch) -> Scripts:
    """Of benchmarks, which are scripts beside each other and no package."""

    def load(folder: str, names: Sequence[str]) -> SimpleNamespace:
        monkeypatch.syspath_prepend(str(root / "benchmarks" / folder))
        modules: dict[str, ModuleType] = {}
        for name in names:
            monkeypatch.delitem(sys.modules, name, raising=False)
            modules[name] = import_module(name)
        for name in names:  # undone at the end, so that no other test finds them
            monkeypatch.delitem(sys.modules, name)
            monkeypatch.setitem(sys.modules, name, modules[name])
        return SimpleNamespace(**modules)

    return load
