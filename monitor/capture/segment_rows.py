"""A segment in the store: registered, and moved to *compacted* with all that it became, at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from trueup.frames.segment_files import SegmentFile
from trueup.monitor.capture.orphans import refuse_stale
from trueup.monitor.capture.parquet_file import NewFile
from trueup.monitor.capture.window_profiles import Partial
from trueup.records.keys import EPOCH
from trueup.store.engine import writing
from trueup.store.tables import SegmentState, manifest, profiles, segments
from trueup.store.updates import insert_if_absent, must_update, try_update

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32


@dataclass(frozen=True)
class FoundSegment:
    """A sealed segment in the spool of ``host``."""

    id: str
    host: str
    path: str
    opened_at: datetime
    sealed_at: datetime
    bytes: int
    lost_bytes: int


def found_segment(segment: SegmentFile, host: str, place: str, now: datetime) -> FoundSegment:
    """With the times that its name and its file tell; none is later than ``now``, or a clock that
    was wrong would make its host an active writer for as long as it was wrong.

    :param place: the path or URL at which ``host`` has left it.
    """
    try:
        changed = segment.path.stat().st_mtime
    except FileNotFoundError:  # compacted meanwhile
        changed = 0.0
    sealed = min(datetime.fromtimestamp(changed, timezone.utc), now)
    opened = min(minted_at(segment.segment_id) or sealed, sealed)
    return FoundSegment(
        segment.segment_id, host, place, opened, sealed, segment.bytes, segment.loss.lost_bytes
    )


def minted_at(segment_id: str) -> datetime | None:
    """When a segment's id was minted (:func:`~trueup.frames.segment_files.mint_segment_id`).

    >>> str(minted_at("0189w6xpg00000000000000000"))
    '2013-11-21 02:13:20+00:00'
    """
    digits = segment_id[:10]
    if len(segment_id) != 26 or not set(digits) <= set(_DIGITS):
        return None
    milliseconds = 0
    for digit in digits:
        milliseconds = milliseconds * 32 + _DIGITS.index(digit)
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def register(engine: Engine, found: Sequence[FoundSegment]) -> set[str]:
    """Make the store know of sealed segments; which of them it knows as compacted already."""
    done = set()
    with writing(engine) as connection:
        for segment in found:
            values = {**vars(segment), "state": SegmentState.SEALED.value}
            if insert_if_absent(connection, segments, values):
                continue
            if not try_update(
                connection,
                segments,
                where={"id": segment.id, "state": SegmentState.OPEN.value},
                values=values,
            ) and is_compacted(connection, segment.id):
                done.add(segment.id)
    return done


def is_compacted(connection: Connection, segment_id: str) -> bool:
    state = connection.execute(select(segments.c.state).where(segments.c.id == segment_id)).scalar()
    return state == SegmentState.COMPACTED.value


@dataclass(frozen=True)
class Compacted:
    """What a segment became.

    :param began: when the first of ``files`` was written, or before.
    :param details: what was counted. :param partials: with the model of each.
    """

    segment_id: str
    began: datetime
    newest_event_at: datetime | None
    frames: int
    lost_bytes: int
    details: dict[str, Any]
    files: Sequence[NewFile]
    partials: Sequence[tuple[str, Partial]]


def commit(engine: Engine, done: Compacted, now: datetime) -> None:
    """Move the segment to *compacted*, with its files and partial profiles, in one transaction.

    :raises ConflictError: another process compacted it first; nothing was changed.
    """
    rows = [
        {"segment_id": done.segment_id, "created_at": now, **file.values} for file in done.files
    ]
    parts = [
        partial_row(model, partial, source=done.segment_id, now=now)
        for model, partial in done.partials
    ]
    with writing(engine) as connection:
        must_update(
            connection,
            segments,
            where={"id": done.segment_id, "state": SegmentState.SEALED.value},
            values={
                "state": SegmentState.COMPACTED.value,
                "compacted_at": now,
                "newest_event_at": done.newest_event_at,
                "frames": done.frames,
                "lost_bytes": done.lost_bytes,
                "details": done.details,
            },
        )
        if rows:
            connection.execute(insert(manifest), rows)
            refuse_stale(done.began)
        if parts:
            connection.execute(insert(profiles), parts)


def partial_row(model: str, partial: Partial, *, source: str, now: datetime) -> dict[str, Any]:
    """A partial profile's row in ``profiles``."""
    return {
        "model": model,
        "window_start": partial.window.start,
        "window_seconds": int(partial.window.length.total_seconds()),
        "version": partial.version,
        "arm": partial.arm,
        "edges_id": partial.edges_id,
        "source": source,
        "rows": partial.rows,
        "profile": partial.data,
        "created_at": now,
    }
