"""Training rows on disk, and a machine whose capture has labelled rows."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from trueup.config.settings import ModelSettings, Settings, StoreSettings
from trueup.datasets.infer import infer_spec
from trueup.frames.capture_codec import encode_frame
from trueup.frames.segment_files import mint_segment_id, sealed_path
from trueup.frames.writer import FrameWriter
from trueup.monitor.capture.compact import compact_once
from trueup.monitor.capture.labels_join import join_labels
from trueup.monitor.capture.labels_sink import label_sinks
from trueup.records.capture import Body, CaptureFrame, FrameKind
from trueup.records.keys import EPOCH
from trueup.store.blobs import BlobRoot
from trueup.store.engine import open_engine, writing
from trueup.store.registry import Author, ensure_model
from trueup.store.schema import upgrade
from trueup.trainer.data.event_times import microseconds
from trueup.trainer.data.materialize import Materialized, materialize
from trueup.trainer.data.sources import Source, files_source, together
from trueup.trainer.data.splits import Quarantine, SplitRule, broken_intervals
from trueup.trainer.data.survey import Survey, survey

START = datetime(2024, 1, 1, tzinfo=timezone.utc)
NOW = datetime(2024, 6, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)
MODEL = "flights"


def flights(rows: int, *, first: int = 0, days: float = 30.0, seed: int = 1) -> pa.Table:
    """Rows evenly spread over ``days``, in order of time; ``number`` names each of them."""
    random = np.random.default_rng([seed, first])
    number = np.arange(first, first + rows)
    seconds = (number - first) * (days * 86_400 / max(rows, 1)) + first
    at = microseconds(START) + (seconds * 1e6).astype(np.int64)
    distance = random.normal(800, 300, rows)
    late = (distance + random.normal(0, 300, rows) > 1000).astype(np.int64)
    return pa.table(
        {
            "number": pa.array(number),
            "tail": pa.array([f"N{n}" for n in random.integers(0, 400, rows)]),
            "at": pa.array(at).cast(pa.timestamp("us", "UTC")),
            "distance": pa.array(distance),
            "temp": pa.array(random.normal(50, 10, rows), mask=random.random(rows) < 0.1),
            "carrier": pa.array(random.choice(["AA", "B6", "UA"], rows)),
            "late": pa.array(late),
        }
    )


@dataclass
class Made:
    """What came of writing one data set."""

    sources: tuple[Source, ...]
    found: Survey
    result: Materialized
    folder: Path
    spec: Any


@pytest.fixture
def write_parquet(tmp_path: Path) -> Callable[..., Path]:
    def write(table: pa.Table, name: str = "rows.parquet") -> Path:
        path = tmp_path / name
        pq.write_table(table, path, row_group_size=20_000)
        return path

    return write


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Made]:
    """Splits and writes the rows of files."""
    numbers = itertools.count()

    def made(
        paths: Sequence[Path],
        *,
        time: str | None = "at",
        keys: tuple[str, ...] = (),
        gate_share: float = 0.05,
        tune_share: float = 0.1,
        gate_period: timedelta = 7 * DAY,
        shard_rows: int = 10_000,
        quarantined: Sequence[Quarantine] = (),
        overrides: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        **options: Any,
    ) -> Made:
        own = [files_source([str(path)]) for path in paths]
        dataset, sources = together(own, "the rows")
        said = {"number": {"role": "id"}, **(overrides or {})}
        known = {name: table for name, table in said.items() if name in dataset.schema.names}
        spec = infer_spec(dataset, overrides=known, time=time, label="late", keys=keys)
        rule = SplitRule(
            "late", time, keys, gate_share, tune_share, microseconds(NOW),
            broken=broken_intervals(quarantined, spec),
        )  # fmt: skip
        found = survey(sources, spec, rule, model=MODEL, gate_period=gate_period)
        target = folder or tmp_path / f"data-{next(numbers)}"
        result = materialize(
            sources, spec, found, target, model=MODEL, shard_rows=shard_rows, **options
        )
        return Made(sources, found, result, target, spec)

    return made


@dataclass
class World:
    """One machine with a store, a spool and a capture."""

    folder: Path
    engine: Engine
    blobs: BlobRoot
    settings: Settings
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def told(self, **model: Any) -> Settings:
        """The settings with those of the model."""
        self.settings = self.settings.model_copy(
            update={"models": {MODEL: ModelSettings.model_validate(model)}}
        )
        return self.settings

    def serve(
        self,
        instances: Sequence[Mapping[str, Any]],
        labels: Sequence[Any],
        at: datetime,
        *,
        every: timedelta = timedelta(minutes=1),
        **changes: Any,
    ) -> None:
        """Rows of one request each, with their labels (``None``: none is known); one frame after
        the other, ``every`` apart."""
        frames, sent = [], []
        for place, (instance, label) in enumerate(zip(instances, labels, strict=True)):
            moment = at + place * every
            request = f"r{next(self.numbers)}"
            body = json.dumps({"instances": [instance]}).encode()
            said = {
                "kind": FrameKind.SERVED, "model": MODEL, "version": 1, "arrival_us": us(moment),
                "status": 200, "rows": 1, "body": Body.PREDICT, "request": body,
                "request_bytes": len(body), "response": b'{"predictions": [0.5]}',
                "request_id": request, "signature": "serving_default", **changes,
            }  # fmt: skip
            frames.append(CaptureFrame(**said))
            if label is not None:
                sent.append({"id": f"{request}/0", "label": label})
        if sent:
            body = json.dumps(sent).encode()
            frames.append(
                CaptureFrame(
                    FrameKind.LABELS, MODEL, 0, us(NOW), 200, len(sent), Body.ROWS, body, len(body)
                )
            )
        number = next(self.numbers)
        segment = mint_segment_id(us(START) // 1000 + number, number.to_bytes(10, "big"))
        self.settings.spool_dir.mkdir(parents=True, exist_ok=True)
        hidden = self.settings.spool_dir / f"{segment}.partial"
        with FrameWriter(hidden) as writer:
            for first in range(0, len(frames), 64):
                writer.append([encode_frame(frame) for frame in frames[first : first + 64]])
        hidden.rename(sealed_path(self.settings.spool_dir, segment))
        sinks = label_sinks(self.settings, self.engine, self.blobs)
        report = compact_once(self.settings, self.engine, self.blobs, NOW, labels=sinks)
        assert not report.failed, report.failed
        join_labels(self.engine, self.blobs, MODEL, now=NOW, retention=timedelta(days=900))


def us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    folder = tmp_path / "world"
    folder.mkdir()
    url = f"sqlite:///{folder}/store.db"
    engine = open_engine(url)
    upgrade(engine)
    settings = Settings(
        blob_root=str(folder / "blobs"),
        spool_dir=folder / "spool",
        store=StoreSettings(url=SecretStr(url)),
    )
    with writing(engine) as connection:
        ensure_model(connection, MODEL, Author("test", "", NOW))
    yield World(folder, engine, BlobRoot(settings.blob_root), settings)
    engine.dispose()
