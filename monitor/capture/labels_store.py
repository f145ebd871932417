"""What the store knows of a model's captured rows and labels, and the transactions that change it.

Joins of a model share one row of ``segments``: the source of resolved labels. Its details hold up
to which file of the manifest everything was looked at, and counts. Who changes a model's labels
changes that row in the same transaction, under the condition that it is as it was when they began
to look; so of two at once one is refused as a whole, and begins again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select, text

from trueup.errors import ConflictError, StoreError
from trueup.monitor.capture.labels_files import LabelFile
from trueup.monitor.capture.orphans import refuse_stale
from trueup.monitor.capture.parquet_file import NewFile, blob_name
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading, writing
from trueup.store.tables import ManifestKind, SegmentState, manifest, segments
from trueup.store.updates import insert_if_absent, must_update

HOST = "labels"
"""In place of a host, of the source of resolved labels."""

LOOKED_UP = "looked_up"
"""In the details of a file of rows that was written anew: whether all labels that there were had
been looked up in the one before it."""

_IDS_AT_ONCE = 500


@dataclass(frozen=True)
class Snapshot:
    """Files of a model at one moment.

    :param upto: the newest id in the manifest; all files with a smaller one are in here.
    :param state: details of the source of resolved labels, as they were.
    :param retired: files of rows that are in others now. :param aside: of frames that were set
        aside.
    """

    model: str
    source: str
    state: dict[str, Any]
    upto: int
    rows: tuple[LabelFile, ...] = ()
    waiting: tuple[LabelFile, ...] = ()
    resolved: tuple[LabelFile, ...] = ()
    retired: tuple[LabelFile, ...] = ()
    aside: tuple[LabelFile, ...] = ()

    @property
    def scanned_to(self) -> int:
        """Rows in files up to this id were looked at with all labels that there were then."""
        return int(self.state.get("scanned_to", 0))

    @property
    def new_rows(self) -> list[LabelFile]:
        """Files with rows that labels from before were not looked up in."""
        newer = (file for file in self.rows if file.id > self.scanned_to)
        return [file for file in newer if not file.details.get(LOOKED_UP)]


@dataclass
class Change:
    """New files, and those that they replace."""

    added: list[NewFile] = field(default_factory=list)
    replaced: list[LabelFile] = field(default_factory=list)


def source_id(model: str) -> str:
    """The id of a model's source of resolved labels."""
    return f"labels-{hashlib.sha256(model.encode()).hexdigest()[:24]}"


def snapshot(engine: Engine, model: str, now: datetime) -> Snapshot:
    """All files of ``model`` in the manifest.

    Ids are handed out before transactions end: on PostgreSQL a file with a smaller id may appear
    later. So writers of the manifest are waited for, for as long as their transactions last.
    """
    source = source_id(model)
    with writing(engine) as connection:
        insert_if_absent(connection, segments, _new_source(source, model, now))
        if connection.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE manifest IN SHARE MODE"))
        state = connection.execute(
            select(segments.c.details).where(segments.c.id == source)
        ).scalar_one()
        upto = connection.execute(select(func.max(manifest.c.id))).scalar_one() or 0
        files = [_file(row) for row in connection.execute(_files_of(model))]
    by_kind = {kind: tuple(file for file in files if file.kind is kind) for kind in ManifestKind}
    return Snapshot(
        model, source, state, upto,
        by_kind[ManifestKind.ROWS], by_kind[ManifestKind.WAITING_LABELS],
        by_kind[ManifestKind.LABELS], by_kind[ManifestKind.RETIRED],
        by_kind[ManifestKind.QUARANTINE],
    )  # fmt: skip


def source_state(engine: Engine, model: str, now: datetime) -> Snapshot:
    """:func:`snapshot` without the files."""
    source = source_id(model)
    with writing(engine) as connection:
        insert_if_absent(connection, segments, _new_source(source, model, now))
        state = connection.execute(
            select(segments.c.details).where(segments.c.id == source)
        ).scalar_one()
    return Snapshot(model, source, state, 0)


def are_there(engine: Engine, files: Iterable[LabelFile]) -> bool:
    """Whether the manifest names all of ``files`` still. If not, one that cannot be read is no
    failure: others replaced or dropped it."""
    ids = [file.id for file in files]
    found = 0
    with reading(engine) as connection:
        for start in range(0, len(ids), _IDS_AT_ONCE):
            chosen = manifest.c.id.in_(ids[start : start + _IDS_AT_ONCE])
            found += len(connection.scalars(select(manifest.c.id).where(chosen)).all())
    return found == len(ids)


def _new_source(source: str, model: str, now: datetime) -> dict[str, Any]:
    return {
        "id": source, "host": HOST, "path": "", "state": SegmentState.COMPACTED.value,
        "opened_at": now, "sealed_at": now, "compacted_at": now,
        "details": {"model": model, "scanned_to": 0, "revision": 0},
    }  # fmt: skip


def _files_of(model: str) -> Any:
    columns = manifest.c
    return (
        select(
            columns.id, columns.segment_id, columns.kind, columns.uri, columns.rows,
            columns.first_event_at, columns.last_event_at, columns.details, columns.created_at,
        )
        .where(columns.model == model)
        .order_by(columns.id)
    )  # fmt: skip


def unnamed_aside(connection: Connection) -> list[LabelFile]:
    """Files of frames that were set aside, and of which it is not known of which model they are."""
    chosen = manifest.c.kind == ManifestKind.QUARANTINE.value
    return [_file(row) for row in connection.execute(_files_of("").where(chosen))]


def _file(row: Any) -> LabelFile:
    return LabelFile(
        row.id, row.segment_id, ManifestKind(row.kind), row.uri, row.rows,
        row.first_event_at, row.last_event_at, row.details or {}, row.created_at,
    )  # fmt: skip


def commit(
    engine: Engine,
    seen: Snapshot,
    change: Change,
    *,
    began: datetime,
    now: datetime,
    state: dict[str, Any] | None = None,
) -> None:
    """Put ``change`` into the manifest, in one transaction.

    :param began: when the first of the new files was written, or before.
    :param state: new details of the source of resolved labels, besides its revision.
    :raises ConflictError: another process changed the model's labels since ``seen``.
    """
    with writing(engine) as connection:
        bump(connection, seen, state or {})
        add_files(connection, change.added, seen.source, now)
        remove_files(connection, change.replaced)
        refuse_stale(began)


def bump(connection: Connection, seen: Snapshot, state: dict[str, Any]) -> None:
    """Change the source of resolved labels, if it is as it was in ``seen``."""
    details = {**seen.state, **state, "revision": seen.state.get("revision", 0) + 1}
    must_update(
        connection,
        segments,
        where={"id": seen.source, "details": seen.state},
        values={"details": details},
    )


def add_files(connection: Connection, files: Iterable[NewFile], source: str, now: datetime) -> None:
    rows = [{"segment_id": source, "created_at": now, **file.values} for file in files]
    if rows:
        connection.execute(insert(manifest), rows)


def remove_files(connection: Connection, files: Sequence[LabelFile]) -> None:
    """:raises ConflictError: one of them is gone already."""
    ids = [file.id for file in files]
    gone = 0
    for start in range(0, len(ids), _IDS_AT_ONCE):
        chosen = manifest.c.id.in_(ids[start : start + _IDS_AT_ONCE])
        gone += connection.execute(delete(manifest).where(chosen)).rowcount
    if gone != len(ids):
        raise ConflictError(
            f"{len(ids) - gone} of the files to be replaced are gone: another process was first",
            remedy="look again and repeat",
            retry=True,
        )


def delete_blobs(blobs: BlobRoot, uris: Iterable[str]) -> None:
    """Delete files that the manifest no longer names; what cannot be deleted now is an orphan, and
    collected later."""
    for uri in uris:
        with suppress(StoreError):
            blobs.delete(blob_name(blobs, uri))
