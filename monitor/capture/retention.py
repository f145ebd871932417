"""What is older than a model's retention time goes: files, manifest, profiles."""

from __future__ import annotations

import platform
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, Engine, delete, exists, select

from trueup.config.settings import Settings
from trueup.errors import StoreError
from trueup.monitor.capture.parquet_file import blob_name
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading, writing
from trueup.store.tables import SegmentState, manifest, profiles, segments

KEPT_AFTER = timedelta(days=1)
"""How long the record of a segment is kept after all its rows are gone."""

_AT_ONCE = 500


@dataclass
class RetentionReport:
    files: int = 0
    bytes: int = 0
    rows: int = 0
    profiles: int = 0
    segments: int = 0


def retention(
    settings: Settings, engine: Engine, blobs: BlobRoot, now: datetime
) -> RetentionReport:
    """Drop files all rows of which are older than their model's retention time, and profiles of
    windows that ended before it. The manifest forgets a file first; one that is left over then is
    an orphan."""
    report = RetentionReport()
    with reading(engine) as connection:
        names = set(connection.scalars(select(manifest.c.model).distinct()))
        names |= set(connection.scalars(select(profiles.c.model).distinct()))
    longest = settings.model("").windows.retention
    for model in sorted(names):
        kept = settings.model(model).windows.retention
        longest = max(longest, kept)
        _drop_files(engine, blobs, model, now - kept, report)
        with writing(engine) as connection:
            report.profiles += _drop_profiles(connection, model, now - kept)
    _drop_segments(engine, now - longest - KEPT_AFTER, report)
    return report


def _drop_files(
    engine: Engine, blobs: BlobRoot, model: str, before: datetime, report: RetentionReport
) -> None:
    old = manifest.c.last_event_at < before
    while True:
        with writing(engine) as connection:
            found = connection.execute(
                select(manifest.c.id, manifest.c.uri, manifest.c.rows, manifest.c.bytes)
                .where(manifest.c.model == model, old)
                .order_by(manifest.c.id)
                .limit(_AT_ONCE)
            ).all()
            ids = [row.id for row in found]
            connection.execute(delete(manifest).where(manifest.c.id.in_(ids)))
        for row in found:
            with suppress(StoreError):
                blobs.delete(blob_name(blobs, row.uri))
            report.files += 1
            report.bytes += row.bytes
            report.rows += row.rows
        if len(found) < _AT_ONCE:
            return


def _drop_profiles(connection: Connection, model: str, before: datetime) -> int:
    lengths = connection.scalars(
        select(profiles.c.window_seconds).where(profiles.c.model == model).distinct()
    ).all()
    dropped = 0
    for seconds in lengths:
        dropped += connection.execute(
            delete(profiles).where(
                profiles.c.model == model,
                profiles.c.window_seconds == seconds,
                profiles.c.window_start <= before - timedelta(seconds=seconds),
            )
        ).rowcount
    return dropped


def _drop_segments(engine: Engine, before: datetime, report: RetentionReport) -> None:
    """Records of segments without files; never of one whose file is still in this spool, which
    would be compacted again."""
    host = platform.node()
    used = exists().where(manifest.c.segment_id == segments.c.id)
    old = (
        segments.c.state == SegmentState.COMPACTED.value, segments.c.path != "",
        segments.c.compacted_at < before, ~used,
    )  # fmt: skip
    with writing(engine) as connection:
        found = connection.execute(
            select(segments.c.id, segments.c.host, segments.c.path).where(*old)
        ).all()
        ids = [row.id for row in found if row.host != host or not Path(row.path).exists()]
        for start in range(0, len(ids), _AT_ONCE):
            chosen = segments.c.id.in_(ids[start : start + _AT_ONCE])
            report.segments += connection.execute(delete(segments).where(chosen)).rowcount
