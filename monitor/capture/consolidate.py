"""Small files of captured rows, put together: a server of little traffic makes one per minute.

Files of one day of event time are put together once there are :data:`MOST_FILES` of about one size
(so that a row is written anew only a few times, however many files come), and all small ones of a
day when nothing has come for a day. What is put together becomes one *source*: its partial
profiles are merged likewise, and change places with those of before in the same transaction.
Columns keep their types: files in which a variable has different ones are not put together.

Files that are replaced stay as ``retired`` for as long as orphans do, for those who are reading
them; then :func:`drop_retired` deletes them.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection, Engine, delete, exists, insert, select, update

from trueup.config.settings import Settings
from trueup.errors import ConflictError, StoreError
from trueup.monitor.capture.labels_store import (
    LOOKED_UP,
    bump,
    delete_blobs,
    source_state,
)
from trueup.monitor.capture.merged_partials import MergedPartials, merge_partials, partial_keys
from trueup.monitor.capture.orphans import GRACE, refuse_stale
from trueup.monitor.capture.parquet_file import (
    SEGMENTS,
    NewFile,
    blob_name,
    read_file,
    write_rows,
)
from trueup.monitor.capture.row_schema import FIXED
from trueup.monitor.capture.row_table import concatenated
from trueup.monitor.capture.small_files import (
    MOST_AT_ONCE,
    Detailed,
    Group,
    Small,
    detailed,
    sets,
    small_files,
)
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading, writing
from trueup.store.tables import ManifestKind, SegmentState, manifest, profiles, segments

MOST_PER_RUN = 4096
"""Files that one run replaces, at most."""

MOST_HELD_BYTES = 256 << 20
"""Of Arrow, of the rows that are put together at once."""

_IDS_AT_ONCE = 500

HOST = "merged"
"""In place of a host, of the source of rows that were put together."""


@dataclass
class ConsolidationReport:
    """:param replaced: files; ``files``: what they became. :param changed: groups of files that
    others changed meanwhile, for the next run. :param unreadable: files that are left as they are,
    and why."""

    replaced: int = 0
    files: int = 0
    rows: int = 0
    changed: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


def consolidate(
    settings: Settings,
    engine: Engine,
    blobs: BlobRoot,
    model: str,
    now: datetime,
    *,
    most: int = MOST_PER_RUN,
) -> ConsolidationReport:
    """Put small files of ``model`` together, at most ``most`` in one run; any number of processes
    may do so at once.

    Files of the last hour stay as they are: by them is known who writes
    (:mod:`trueup.monitor.capture.watermark`).
    """
    report = ConsolidationReport()
    lateness = settings.model(model).windows.allowed_lateness
    settled = now - max(timedelta(hours=1), 2 * (lateness + 2 * settings.capture.segment_age))
    with reading(engine) as connection:
        small = small_files(connection, model, settled)
    left = most
    for chosen in sets(small, now):
        if left < 2:
            break
        for start in range(0, len(chosen), MOST_AT_ONCE):
            some = chosen[start : start + min(MOST_AT_ONCE, max(left, 0))]
            if len(some) < 2:
                break
            left -= len(some)
            _put_together(engine, blobs, model, some, now, report)
    return report


def consolidate_all(
    settings: Settings, engine: Engine, blobs: BlobRoot, now: datetime
) -> dict[str, ConsolidationReport]:
    """:func:`consolidate` for each model that has rows."""
    with reading(engine) as connection:
        names = connection.scalars(
            select(manifest.c.model).where(manifest.c.kind == ManifestKind.ROWS.value).distinct()
        ).all()
    return {name: consolidate(settings, engine, blobs, name, now) for name in sorted(names)}


def _put_together(
    engine: Engine,
    blobs: BlobRoot,
    model: str,
    chosen: Sequence[Small],
    now: datetime,
    report: ConsolidationReport,
) -> None:
    groups: list[Group] = []
    for file in detailed(engine, model, chosen, source_state(engine, model, now)):
        group = next((each for each in groups if each.fits(file)), None)
        if group is None:
            group = Group(file.edges, file.looked_up)
            groups.append(group)
        group.add(file)
    for group in groups:
        began = datetime.now(timezone.utc)
        tables = _readable(engine, blobs, group, report)
        if len(group.files) < 2:
            continue
        try:
            _replace(engine, blobs, model, group, _merged_table(tables), began, now)
        except ConflictError:
            report.changed += 1
            continue
        report.replaced += len(group.files)
        report.files += 1
        report.rows += sum(table.num_rows for table in tables)


def _readable(
    engine: Engine, blobs: BlobRoot, group: Group, report: ConsolidationReport
) -> list[pa.Table]:
    """The rows of the files of ``group``, which loses files that cannot be read, or are too much
    for memory."""
    tables: list[pa.Table] = []
    kept: list[Detailed] = []
    size = 0
    for file in group.files if len(group.files) > 1 else ():
        try:
            batches = list(read_file(blobs, file.uri))
        except StoreError as error:
            if _is_there(engine, file):
                report.unreadable[file.uri] = str(error)
            continue
        size += sum(batch.nbytes for batch in batches)
        if size > MOST_HELD_BYTES:
            break
        kept.append(file)
        tables += [pa.Table.from_batches([batch]) for batch in batches]
    group.files = kept
    return tables


def _is_there(engine: Engine, file: Detailed) -> bool:
    with reading(engine) as connection:
        found = select(manifest.c.id).where(
            manifest.c.id == file.small.id, manifest.c.kind == ManifestKind.ROWS.value
        )
        return connection.execute(found).first() is not None


def _replace(
    engine: Engine,
    blobs: BlobRoot,
    model: str,
    group: Group,
    table: pa.Table,
    began: datetime,
    now: datetime,
) -> None:
    """Write the file of ``group``, and let it change places with those that it is made of.

    :raises ConflictError: others changed one of them, or labels of the model, meanwhile.
    """
    seen = source_state(engine, model, now)
    sources = [file.small.source for file in group.files]
    for file in group.files:
        known = file.small.id <= seen.scanned_to or bool(file.details.get(LOOKED_UP))
        if known is not group.looked_up:
            raise ConflictError("labels were looked up meanwhile", retry=True)
    with reading(engine) as connection:
        partials = merge_partials(connection, model, sources)
    name = f"{HOST}-{uuid.uuid4().hex}"
    new = write_rows(blobs, table, model, name)
    bounds = _segments(table)
    new.values["details"] |= {SEGMENTS: bounds, LOOKED_UP: group.looked_up}
    try:
        with writing(engine) as connection:
            bump(connection, seen, {})
            _retire(connection, [file.small.id for file in group.files], now)
            connection.execute(insert(segments).values(_source(name, group, new, now)))
            row = {"segment_id": name, "created_at": now, **new.values}
            connection.execute(insert(manifest), [row])
            _move_partials(connection, model, sources, name, partials, now)
            refuse_stale(began)
    except BaseException:
        delete_blobs(blobs, [new.values["uri"]])
        raise


def _merged_table(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows, in order of event time, then of segment, frame and row."""
    table = concatenated(tables)
    event = table.column("event_time").cast(pa.int64()).to_numpy()
    segment = table.column("segment").combine_chunks().dictionary_encode()
    places = np.argsort(np.argsort(segment.dictionary.to_pylist()))[segment.indices.to_numpy()]
    frame, row = (table.column(column).to_numpy() for column in ("frame", "row"))
    table = table.take(pa.array(np.lexsort((row, frame, places, event)))).combine_chunks()
    beside = sorted(name for name in table.column_names if name not in FIXED.names)
    fields = [*FIXED, *(pa.field(n, table.schema.field(n).type) for n in beside)]
    return table.select([each.name for each in fields]).cast(pa.schema(fields))


def _segments(table: pa.Table) -> list[str]:
    bounds = pa.compute.unique(table.column("segment")).to_pylist()
    return [min(bounds), max(bounds)]


def _source(name: str, group: Group, new: NewFile, now: datetime) -> dict[str, Any]:
    return {
        "id": name, "host": HOST, "path": HOST, "state": SegmentState.COMPACTED.value,
        "opened_at": now, "sealed_at": now, "compacted_at": now,
        "newest_event_at": new.values["last_event_at"], "frames": 0, "bytes": new.values["bytes"],
        "details": {"rows": new.values["rows"], "files": len(group.files)},
    }  # fmt: skip


def _retire(connection: Connection, ids: Sequence[int], now: datetime) -> None:
    """:raises ConflictError: one of them is not there any more."""
    changed = 0
    for start in range(0, len(ids), _IDS_AT_ONCE):
        changed += connection.execute(
            update(manifest)
            .where(
                manifest.c.id.in_(ids[start : start + _IDS_AT_ONCE]),
                manifest.c.kind == ManifestKind.ROWS.value,
            )
            .values(kind=ManifestKind.RETIRED.value, created_at=now)
        ).rowcount
    if changed != len(ids):
        raise ConflictError("files were changed meanwhile", retry=True)


def _move_partials(
    connection: Connection,
    model: str,
    sources: Sequence[str],
    name: str,
    partials: MergedPartials,
    now: datetime,
) -> None:
    """:raises ConflictError: the profiles are not those that were merged."""
    if set(partial_keys(connection, model, sources)) != partials.keys:
        raise ConflictError("profiles were changed meanwhile", retry=True)
    for start in range(0, len(sources), _IDS_AT_ONCE):
        connection.execute(
            delete(profiles).where(
                profiles.c.model == model,
                profiles.c.source.in_(sources[start : start + _IDS_AT_ONCE]),
            )
        )
    rows = [{"model": model, "source": name, "created_at": now, **each} for each in partials.rows]
    if rows:
        connection.execute(insert(profiles), rows)


def drop_retired(engine: Engine, blobs: BlobRoot, now: datetime) -> int:
    """Delete files that were put together with others longer ago than anybody reads them; how
    many. The manifest forgets a file first; one that is left over then is an orphan."""
    dropped = 0
    while True:
        with writing(engine) as connection:
            found = connection.execute(
                select(manifest.c.id, manifest.c.uri)
                .where(
                    manifest.c.kind == ManifestKind.RETIRED.value,
                    manifest.c.created_at < now - GRACE,
                )
                .limit(_IDS_AT_ONCE)
            ).all()
            connection.execute(delete(manifest).where(manifest.c.id.in_([r.id for r in found])))
        for row in found:
            with suppress(StoreError):
                blobs.delete(blob_name(blobs, row.uri))
        dropped += len(found)
        if len(found) < _IDS_AT_ONCE:
            break
    with writing(engine) as connection:
        used = exists().where(manifest.c.segment_id == segments.c.id)
        connection.execute(delete(segments).where(segments.c.host == HOST, ~used))
    return dropped
