"""A registry with artifacts, and a loader whose models are files that say what they are."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.spine.conftest import (  # noqa: F401  fixtures
    database_names,
    engine,
    postgresql_server,
    store_url,
)
from trueup.records.registry import ModelRecord, RegistrySnapshot, VersionRecord
from trueup.serving.fleet import Fleet
from trueup.serving.loader import Loader
from trueup.serving.snapshot import SnapshotFile
from trueup.store.artifact_cache import fetch_verified, prune
from trueup.store.artifacts import publish
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading, shown, writing
from trueup.store.promotion import promote, rollback
from trueup.store.registry import (
    Author,
    ensure_model,
    mark_ready,
    register_version,
    snapshot,
)

AUTHOR = Author("ada", "a test", datetime(2024, 5, 1, tzinfo=timezone.utc))


def until(what: str, condition: Callable[[], Any], limit_s: float = 60.0) -> Any:
    """Wait until ``condition`` gives something true, and return that."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.005)
    raise AssertionError(f"{what}: not within {limit_s:g} s")


@dataclass(eq=False)
class Model:
    """A model that is a text."""

    text: str
    events: list[str]
    closed: bool = False

    def close(self) -> None:
        assert not self.closed
        self.closed = True
        self.events.append(f"close {self.text}")


@dataclass(eq=False)
class FakeLane:
    """A lane that is drained when it is told so."""

    model: Model
    busy: bool = False
    closed: bool = False

    def close(self, timeout_s: float) -> bool:
        assert not self.model.closed
        self.closed = True
        self.model.events.append(f"drain {self.model.text}")
        return not self.busy


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Port:
    """The worker's side of the loader, over a real registry and real artifacts."""

    engine: Engine
    blobs: BlobRoot
    cache: Path
    events: list[str] = field(default_factory=list)
    lanes: list[FakeLane] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    while_loading: Callable[[], object] = lambda: None
    while_settling: Callable[[], object] = lambda: None
    lane_fails: bool = False

    def prepare(self) -> None:
        self.events.append("prepare")

    def take(self) -> RegistrySnapshot:
        with reading(self.engine) as connection:
            return snapshot(connection, datetime.now(timezone.utc))

    def fetch(self, record: VersionRecord) -> AbstractContextManager[Path]:
        return fetch_verified(self.blobs, record, self.cache)

    def load(self, folder: Path) -> Model:
        self.while_loading()
        text = (folder / "saved_model.pb").read_text()
        if text.startswith("broken"):
            raise ValueError(f"{text}: no graph\nin two lines")
        self.models.append(Model(text, self.events))
        self.events.append(f"load {text}")
        return self.models[-1]

    def lane(self, loaded: Model, record: VersionRecord, model: ModelRecord) -> FakeLane:
        if self.lane_fails:
            raise RuntimeError("no thread could be started")
        self.lanes.append(FakeLane(loaded))
        return self.lanes[-1]

    def settle(self) -> None:
        self.while_settling()
        self.events.append("settle")

    def forget(self, keep: set[str]) -> None:
        prune(self.cache, keep)


@dataclass
class Site:
    """A registry, and a loader that follows it."""

    port: Port
    folder: Path
    fleet: Fleet
    clock: Clock
    loader: Loader

    @property
    def engine(self) -> Engine:
        return self.port.engine

    def add(self, text: str, model: str = "flights", alias: str | None = "stable") -> int:
        """Publish a version whose model is ``text``, and promote it."""
        folder = self.folder / "exported"
        folder.mkdir(exist_ok=True)
        (folder / "saved_model.pb").write_text(text)
        with writing(self.engine) as connection:
            ensure_model(connection, model, AUTHOR)
            version = register_version(connection, model, AUTHOR)
        found = publish(self.port.blobs, folder, model, version)
        with writing(self.engine) as connection:
            mark_ready(
                connection, model, version, artifact_uri=found.artifact_uri,
                manifest_sha256=found.manifest_sha256, details={},
            )  # fmt: skip
            if alias is not None:
                promote(connection, model, version, AUTHOR, alias=alias)
        return version

    def promote(self, version: int, model: str = "flights", alias: str = "stable") -> None:
        with writing(self.engine) as connection:
            promote(connection, model, version, AUTHOR, alias=alias)

    def rollback(self, model: str = "flights") -> None:
        with writing(self.engine) as connection:
            rollback(connection, model, AUTHOR)

    def damage(self, version: int, model: str = "flights") -> None:
        """Change a byte of a version's file in the blob root."""
        name = next(
            name
            for name in self.port.blobs.list(f"models/{model}/{version}")
            if name.endswith("saved_model.pb")
        )
        self.port.blobs.put_atomic(name, self.port.blobs.get(name)[:-1] + b"?")

    def texts(self, model: str = "flights") -> dict[str, str]:
        """What answers, by alias."""
        view = self.fleet.view.models.get(model)
        return {} if view is None else {a: s.loaded.text for a, s in view.aliases.items()}

    def states(self, model: str = "flights") -> dict[int, str]:
        found = self.fleet.statuses(model)
        assert isinstance(found, tuple), found
        return {status.version: status.state.value for status in found}

    def another_loader(self) -> Site:
        """That of another process, with the same spool."""
        return make_site(self.engine, self.folder, self.port.blobs)


def make_site(engine: Engine, folder: Path, blobs: BlobRoot) -> Site:  # noqa: F811
    port = Port(engine, blobs, folder / "cache")
    fleet, clock = Fleet(), Clock()
    loader = Loader(
        fleet, port, SnapshotFile(folder / "spool"),
        store=shown(engine), wait_s=0.01, drain_s=30.0, clock=clock,
    )  # fmt: skip
    return Site(port, folder, fleet, clock, loader)


@pytest.fixture
def site(engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Site:  # noqa: F811
    caplog.set_level(logging.INFO)
    return make_site(engine, tmp_path, BlobRoot(str(tmp_path / "blobs")))
