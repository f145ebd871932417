"""Stores of each supported kind, a blob root, and SavedModels as users export them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.spine.conftest import (  # noqa: F401  fixtures
    database_names,
    engine,
    postgresql_server,
    store_url,
)
from trueup.store.blobs import BlobRoot
from trueup.store.engine import writing
from trueup.store.registry import Author, ensure_model, mark_ready, register_version

HERE = Path(__file__).parent
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
AUTHOR = Author("ada", "a test", datetime(2024, 5, 1, tzinfo=timezone.utc))


@pytest.fixture
def blobs(tmp_path: Path) -> BlobRoot:
    return BlobRoot(str(tmp_path / "blobs"))


@pytest.fixture
def add_ready(engine: Engine) -> Callable[..., int]:  # noqa: F811
    """Registers a version that is ready; returns its number."""

    def add(model: str = "flights", **details: object) -> int:
        with writing(engine) as connection:
            ensure_model(connection, model, AUTHOR)
            version = register_version(connection, model, AUTHOR)
            mark_ready(
                connection, model, version,
                artifact_uri=f"file:///blobs/models/{model}/{version}/{version:032x}",
                manifest_sha256=f"{version:064x}", details=details,
            )  # fmt: skip
        return version

    return add


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of SavedModels (registry_models.py)."""
    folder = tmp_path_factory.mktemp("exported")
    subprocess.run(
        [sys.executable, str(HERE / "registry_models.py"), str(folder)],
        check=True, timeout=200, env={**os.environ, **QUIET},
    )  # fmt: skip
    return folder
