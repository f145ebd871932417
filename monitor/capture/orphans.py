"""Files of the capture that the manifest does not name: leftovers of killed compactions.

A file is written before the transaction that names it, so one may be young and wanted. Hence a
grace time, and two rules that make it safe whatever is slow or stopped in between: who collects
holds the manifest (nobody can commit meanwhile), and who commits holds it too when it looks at the
clock, and gives up what is older than half the grace time (:func:`refuse_stale`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import islice

from sqlalchemy import Connection, Engine, select, text

from trueup.errors import ConflictError
from trueup.monitor.capture.parquet_file import PREFIX, blob_name
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading, writing
from trueup.store.tables import manifest
from trueup.store.uploaded import remove_unfinished

GRACE = timedelta(hours=24)
"""Age from which a file without a place in the manifest is an orphan."""

_AT_ONCE = 200


@dataclass
class OrphanReport:
    deleted: list[str] = field(default_factory=list)


def collect_orphans(
    engine: Engine, blobs: BlobRoot, now: datetime, *, grace: timedelta = GRACE
) -> OrphanReport:
    """Delete the capture's blobs that are older than ``grace`` and not in the manifest, and what
    killed writers left unfinished."""
    report = OrphanReport()
    elsewhere = _named_elsewhere(engine, blobs)
    stale = (name for name in blobs.stale(PREFIX, now - grace) if name not in elsewhere)
    while names := list(islice(stale, _AT_ONCE)):
        with writing(engine) as connection:
            _hold(connection)
            wanted = _named(connection, blobs, names)
            for name in names:
                if name not in wanted and blobs.delete(name):
                    report.deleted.append(name)
    report.deleted += remove_unfinished(blobs, now, grace)
    return report


def refuse_stale(began: datetime) -> None:
    """Called in the transaction that puts files into the manifest, after it wrote there.

    :param began: when the first of these files was written.
    :raises ConflictError: when they may be taken for orphans.
    """
    if datetime.now(timezone.utc) - began > GRACE / 2:
        raise ConflictError(
            f"files written since {began} were not in the manifest within {GRACE / 2}",
            remedy="they are written anew by the next run",
            retry=True,
        )


def _hold(connection: Connection) -> None:
    """Keep others from writing to the manifest until this transaction ends. SQLite's write lock
    does so by itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE manifest IN SHARE MODE"))


def _named(connection: Connection, blobs: BlobRoot, names: list[str]) -> set[str]:
    """Which of ``names`` are in the manifest."""
    uris = [blobs.uri(name) for name in names]
    found = connection.scalars(select(manifest.c.uri).where(manifest.c.uri.in_(uris)))
    return {blob_name(blobs, uri) for uri in found}


def _named_elsewhere(engine: Engine, blobs: BlobRoot) -> set[str]:
    """Names of files that were written when the blob root was another place."""
    here = blobs.uri(PREFIX).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    with reading(engine) as connection:
        found = connection.scalars(
            select(manifest.c.uri).where(~manifest.c.uri.like(f"{here}/%", escape="\\"))
        )
        return {blob_name(blobs, uri) for uri in found}
