"""How far event time has come: behind the watermark of a model no rows are expected any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from trueup.config.settings import Settings
from trueup.monitor.capture.event_time import AHEAD
from trueup.store.tables import ManifestKind, SegmentState, manifest, segments

NOT_SERVERS = ("ingest", "labels", "merged")
"""Hosts of sources in ``segments`` that are none: rows that were brought in from elsewhere tell the
time only where no server does."""


@dataclass(frozen=True)
class Writer:
    """Who writes rows of a model: the servers of one host, or one segment of theirs that is known
    and not compacted yet.

    :param newest_event_at: of its rows, as far as is known.
    :param seen_at: when it last gave a sign of life.
    """

    name: str
    newest_event_at: datetime | None
    seen_at: datetime


def watermark(
    writers: Sequence[Writer], *, lateness: timedelta, now: datetime, idle_after: timedelta
) -> datetime | None:
    """The least of the newest event times of active writers, less ``lateness``.

    A writer that gave no sign of life for ``idle_after`` drops out, be it idle or dead, so that it
    does not hold the others up. Where all are idle the newest event time of any counts: nothing
    older is on its way. ``None`` where no row has been seen.

    >>> from datetime import timezone
    >>> noon = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
    >>> hour = timedelta(hours=1)
    >>> a, b = Writer("a", noon, noon), Writer("b", noon - hour, noon - 3 * hour)
    >>> str(watermark([a, b], lateness=hour, now=noon, idle_after=2 * hour))
    '2024-01-01 11:00:00+00:00'
    """
    known = [writer for writer in writers if writer.newest_event_at is not None]
    if not known:
        return None
    active = [writer for writer in known if now - writer.seen_at <= idle_after]
    times = [writer.newest_event_at for writer in active or known]
    chosen = min if active else max
    return chosen(time for time in times if time is not None) - lateness


def watermark_of(
    connection: Connection, settings: Settings, model: str, now: datetime
) -> datetime | None:
    """The watermark of ``model`` by what the store knows.

    Per host the newest event time of what was compacted counts: rows that are committed, and no
    heartbeat or clock. Segments that are registered and wait for compaction hold it back at the
    time at which they were opened. Rows from beyond ``now``, which came in under a clock that was
    wrong, do not count.
    """
    windows = settings.model(model).windows
    idle_after = windows.allowed_lateness + 2 * settings.capture.segment_age
    writers = _hosts(connection, model, now - idle_after, now + AHEAD)
    if not writers:
        newest = _newest(connection, model, now + AHEAD)
        if newest is not None:
            writers = [newest]
    else:
        writers += _waiting(connection, now - idle_after)
    return watermark(writers, lateness=windows.allowed_lateness, now=now, idle_after=idle_after)


def _hosts(connection: Connection, model: str, since: datetime, until: datetime) -> list[Writer]:
    newest, seen = func.max(manifest.c.last_event_at), func.max(segments.c.sealed_at)
    found = connection.execute(
        select(segments.c.host, newest, seen)
        .join(manifest, manifest.c.segment_id == segments.c.id)
        .where(
            manifest.c.model == model,
            manifest.c.kind == ManifestKind.ROWS.value,
            manifest.c.last_event_at <= until,
            segments.c.sealed_at >= since,
            segments.c.sealed_at <= until,
            segments.c.host.not_in(NOT_SERVERS),
        )
        .group_by(segments.c.host)
    )
    return [Writer(*row) for row in found]


def _waiting(connection: Connection, since: datetime) -> list[Writer]:
    found = connection.execute(
        select(segments.c.id, segments.c.opened_at, segments.c.sealed_at).where(
            segments.c.state == SegmentState.SEALED.value, segments.c.sealed_at >= since
        )
    )
    return [Writer(*row) for row in found]


def _newest(connection: Connection, model: str, until: datetime) -> Writer | None:
    newest = connection.execute(
        select(func.max(manifest.c.last_event_at)).where(
            manifest.c.model == model,
            manifest.c.kind == ManifestKind.ROWS.value,
            manifest.c.last_event_at <= until,
        )
    ).scalar()
    return Writer("", newest, newest) if newest is not None else None
