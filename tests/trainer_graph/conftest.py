"""TensorFlow is imported once; models of the same rows are trained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainer_graph.samples import Rows, examples, make_rows


@pytest.fixture(scope="session")
def tf() -> Any:
    pytest.importorskip("tf_keras")
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="session")
def rows() -> Rows:
    return make_rows(3000)


@pytest.fixture(scope="session")
def serialized(rows: Rows) -> list[bytes]:
    return examples(rows)


@pytest.fixture
def own_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Callable[[str], str]:
    """Writes a module of the user's, and gives its name."""

    def write(text: str) -> str:
        name = f"own_{abs(hash((request.node.nodeid, text)))}"
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        return name

    return write
