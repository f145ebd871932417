"""One Chromium for all tests that open a page."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def load(path: Path) -> Any:
    """A module that is no part of a package, by its file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """CI installs Chromium and sets REQUIRE_CHROMIUM; elsewhere its absence is said."""
    module = load(ROOT / "scripts" / "chromium.py")
    if module.found() is None and not os.environ.get("REQUIRE_CHROMIUM"):
        pytest.skip("needs a browser: apt-get install chromium")
    browser = module.Chromium()
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def samples() -> Any:
    return load(Path(__file__).with_name("report_samples.py"))
