"""Profiles of rows that were compacted before their model had a baseline, or by other edges."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, select

from trueup.config.settings import Settings
from trueup.errors import StoreError
from trueup.monitor.capture.model_facts import FactsBook, ModelFacts
from trueup.monitor.capture.parquet_file import read_file
from trueup.monitor.capture.segment_rows import partial_row
from trueup.monitor.capture.window_profiles import Partial, PartialsBuilder, table_of
from trueup.profile.edges import Edges
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading, writing
from trueup.store.tables import ManifestKind, manifest, profiles
from trueup.store.updates import insert_if_absent


@dataclass
class BackfillReport:
    """:param sources: segments whose rows were profiled; ``changed``: those whose files changed
    meanwhile, for the next run."""

    sources: int = 0
    rows: int = 0
    partials: int = 0
    changed: int = 0
    problem: str = ""


def profile_missing(
    settings: Settings,
    engine: Engine,
    blobs: BlobRoot,
    model: str,
    now: datetime,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> BackfillReport:
    """Profile what has no profile against the edges of the newest baseline (and the length of
    windows that is set). Any number of processes may do so at once."""
    report = BackfillReport()
    facts = FactsBook(engine, settings).of(model)
    if facts.edges is None:
        report.problem = facts.problem
        return report
    with reading(engine) as connection:
        missing = _without_profile(connection, facts, facts.edges)
    for done, source in enumerate(missing, 1):
        _profile_source(engine, blobs, facts, facts.edges, source, now, report)
        if progress is not None:
            progress(done, len(missing))
    return report


def partials_of(
    blobs: BlobRoot, uris: Iterable[str], edges: Edges, length: timedelta
) -> list[Partial]:
    """Partial profiles of the rows in files of one source."""
    builder = PartialsBuilder(edges, length)
    for uri in uris:
        for batch in read_file(blobs, uri):
            builder.add(table_of(batch))
    return builder.partials()


def replace_partials(
    connection: Connection,
    model: str,
    source: str,
    edges: Edges,
    partials: Iterable[Partial],
    now: datetime,
) -> None:
    """Put ``partials`` in the place of what ``source`` had, after its files were rewritten.
    Profiles against other edges go: :func:`profile_missing` makes them anew if they are wanted."""
    connection.execute(
        delete(profiles).where(profiles.c.model == model, profiles.c.source == source)
    )
    for partial in partials:
        insert_if_absent(connection, profiles, partial_row(model, partial, source=source, now=now))


def _without_profile(connection: Connection, facts: ModelFacts, edges: Edges) -> list[str]:
    """Sources of the model's rows that have no profile, oldest rows first."""
    done = select(profiles.c.source).where(  # once for all: there is no index for each
        profiles.c.model == facts.name,
        profiles.c.edges_id == edges.edges_id,
        profiles.c.window_seconds == int(facts.windows.length.total_seconds()),
    )
    found = connection.scalars(
        select(manifest.c.segment_id)
        .where(
            manifest.c.model == facts.name,
            manifest.c.kind == ManifestKind.ROWS.value,
            manifest.c.segment_id.not_in(done),
        )
        .order_by(manifest.c.first_event_at, manifest.c.id)
    )
    return list(dict.fromkeys(found))


def _profile_source(
    engine: Engine,
    blobs: BlobRoot,
    facts: ModelFacts,
    edges: Edges,
    source: str,
    now: datetime,
    report: BackfillReport,
) -> None:
    files = (
        select(manifest.c.id, manifest.c.uri, manifest.c.rows)
        .where(
            manifest.c.model == facts.name,
            manifest.c.segment_id == source,
            manifest.c.kind == ManifestKind.ROWS.value,
        )
        .order_by(manifest.c.id)
    )
    with reading(engine) as connection:
        seen = connection.execute(files).all()
    try:
        partials = partials_of(blobs, [row.uri for row in seen], edges, facts.windows.length)
    except StoreError:
        with reading(engine) as connection:
            if connection.execute(files).all() == seen:
                raise
        report.changed += 1
        return
    with writing(engine) as connection:
        # Locked, so that who rewrites these files waits, and then replaces these profiles too.
        if connection.execute(files.with_for_update()).all() != seen:
            report.changed += 1
            return
        for partial in partials:
            row = partial_row(facts.name, partial, source=source, now=now)
            report.partials += insert_if_absent(connection, profiles, row)
    report.sources += 1
    report.rows += sum(row.rows for row in seen)
