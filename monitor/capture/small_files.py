"""Which small files of captured rows to put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, select

from trueup.monitor.capture.labels_store import LOOKED_UP, Snapshot
from trueup.monitor.capture.merged_partials import partial_keys
from trueup.store.engine import reading
from trueup.store.tables import ManifestKind, manifest

MOST_FILES = 16
"""Files of about one size and of one day, from which they are put together."""

MOST_AT_ONCE = 512
"""Files that one transaction replaces, at most."""

SMALL_ROWS, SMALL_BYTES = 1 << 16, 8 << 20
_MOST_ROWS, _MOST_BYTES, _MOST_COLUMNS = 1 << 18, 32 << 20, 2000  # of a file that comes of it
_QUIET = timedelta(days=1)
_PER_SIZE = 4  # bits of the number of rows: files of one size differ by less than sixteen times
_IDS_AT_ONCE = 500


@dataclass(frozen=True)
class Small:
    id: int
    source: str
    rows: int
    bytes: int
    first: datetime
    last: datetime
    created_at: datetime


@dataclass
class Group:
    """Files that become one."""

    edges: frozenset[tuple[str, int]]
    looked_up: bool
    columns: dict[str, str] = field(default_factory=dict)
    files: list[Detailed] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0

    def fits(self, file: Detailed) -> bool:
        if (file.edges, file.looked_up) != (self.edges, self.looked_up):
            return False
        if len(self.files) >= MOST_AT_ONCE or self.rows + file.small.rows > _MOST_ROWS:
            return False
        if self.bytes + file.small.bytes > _MOST_BYTES:
            return False
        if any(self.columns.get(name, kind) != kind for name, kind in file.columns.items()):
            return False
        return len(self.columns.keys() | file.columns.keys()) <= _MOST_COLUMNS or not self.files

    def add(self, file: Detailed) -> None:
        self.files.append(file)
        self.columns |= file.columns
        self.rows += file.small.rows
        self.bytes += file.small.bytes


@dataclass(frozen=True)
class Detailed:
    """:param edges: id of edges and length of windows of the profiles that its source has."""

    small: Small
    uri: str
    columns: dict[str, str]
    details: dict[str, Any]
    looked_up: bool
    edges: frozenset[tuple[str, int]]


def small_files(connection: Connection, model: str, settled: datetime) -> list[Small]:
    """Small files whose source has no other file."""
    columns = manifest.c
    found = [
        Small(*row)
        for row in connection.execute(
            select(
                columns.id, columns.segment_id, columns.rows, columns.bytes,
                columns.first_event_at, columns.last_event_at, columns.created_at,
            )
            .where(columns.model == model, columns.kind == ManifestKind.ROWS.value)
            .order_by(columns.first_event_at, columns.id)
        )
    ]  # fmt: skip
    count: dict[str, int] = {}
    for file in found:
        count[file.source] = count.get(file.source, 0) + 1
    return [
        file for file in found
        if count[file.source] == 1 and file.created_at < settled
        and file.rows < SMALL_ROWS and file.bytes < SMALL_BYTES
    ]  # fmt: skip


def sets(small: Iterable[Small], now: datetime) -> Iterator[list[Small]]:
    """Which to put together, oldest first."""
    days: dict[str, list[Small]] = {}
    for file in small:
        wide = file.last - file.first > timedelta(days=1)
        days.setdefault(f"{file.first:%Y-%m}" if wide else f"{file.first:%Y-%m-%d}", []).append(
            file
        )
    for files in days.values():
        if max(file.created_at for file in files) < now - _QUIET:
            yield files
            continue
        sizes: dict[int, list[Small]] = {}
        for file in files:
            sizes.setdefault(file.rows.bit_length() // _PER_SIZE, []).append(file)
        yield from (same for same in sizes.values() if len(same) >= MOST_FILES)


def detailed(engine: Engine, model: str, chosen: Sequence[Small], seen: Snapshot) -> list[Detailed]:
    ids = [file.id for file in chosen]
    with reading(engine) as connection:
        more = {
            row.id: row
            for start in range(0, len(ids), _IDS_AT_ONCE)
            for row in connection.execute(
                select(manifest.c.id, manifest.c.uri, manifest.c.details).where(
                    manifest.c.id.in_(ids[start : start + _IDS_AT_ONCE]),
                    manifest.c.kind == ManifestKind.ROWS.value,
                )
            )
        }
        keys = partial_keys(connection, model, [file.source for file in chosen])
    edges: dict[str, set[tuple[str, int]]] = {}
    for key in keys:
        edges.setdefault(key.source, set()).add((key.edges_id, key.window_seconds))
    found = []
    for file in chosen:
        if file.id in more:
            details = more[file.id].details or {}
            looked_up = file.id <= seen.scanned_to or bool(details.get(LOOKED_UP))
            found.append(
                Detailed(
                    file, more[file.id].uri, details.get("columns", {}), details, looked_up,
                    frozenset(edges.get(file.source, ())),
                )
            )  # fmt: skip
    return found
