"""Erasing a person's rows: from captured rows, labels and window profiles.

Files that hold such rows are written anew without them, and change places with the old ones in one
transaction, together with the partial profiles of their sources and a record of what was decided.
The record holds a keyed hash of whom it was about, never who. Killed before the transaction nothing
has changed, and the next run does it all; killed after it, the old files are orphans that nobody
reads, and are deleted by the next run that collects orphans.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, Engine, delete, insert, select

from trueup.config.settings import Settings
from trueup.errors import ConflictError, StoreError
from trueup.monitor.capture.backfill import partials_of, replace_partials
from trueup.monitor.capture.forget_match import (
    LABEL_COLUMNS,
    Person,
    TheirRows,
    matching_frames,
    matching_labels,
    matching_rows,
)
from trueup.monitor.capture.labels_files import (
    RESOLVED,
    LabelFile,
    read_tables,
    write_resolved,
    write_waiting,
)
from trueup.monitor.capture.labels_items import WAITING
from trueup.monitor.capture.labels_store import (
    LOOKED_UP,
    Snapshot,
    are_there,
    bump,
    remove_files,
    snapshot,
    unnamed_aside,
)
from trueup.monitor.capture.model_facts import FactsBook, ModelFacts
from trueup.monitor.capture.orphans import refuse_stale
from trueup.monitor.capture.parquet_file import (
    REPLACES,
    SEGMENTS,
    NewFile,
    blob_name,
    write_rows,
)
from trueup.monitor.capture.set_aside import put_quarantine
from trueup.monitor.capture.window_profiles import Partial
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading, writing
from trueup.store.tables import ManifestKind, decisions, manifest, models, profiles
from trueup.store.updates import insert_if_absent

KIND = "forget"
"""Of the decision that is recorded."""

_ATTEMPTS = 5
_ROWS = (ManifestKind.ROWS, ManifestKind.RETIRED)
_ASIDE = ManifestKind.QUARANTINE

Progress = Callable[[int, int], None]


@dataclass
class ForgetReport:
    """What was erased (or would be).

    :param aside: frames that could not be read and had been set aside.
    :param labels: resolved labels; :param waiting: those that waited for their row.
    :param left: URLs of old files that could not be deleted: collecting orphans does it.
    """

    rows: int = 0
    labels: int = 0
    waiting: int = 0
    aside: int = 0
    files: int = 0
    profiles: int = 0
    digest: str = ""
    left: list[str] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        return not (self.rows or self.labels or self.waiting or self.aside)


@dataclass(frozen=True)
class Decision:
    """Who decided it, and why.

    :param secret: of the keyed hash that stands for the person in the record.
    """

    made_by: str
    reason: str
    secret: bytes


def find(
    engine: Engine,
    blobs: BlobRoot,
    model: str,
    person: Person,
    *,
    now: datetime,
    progress: Progress | None = None,
) -> ForgetReport:
    """What :func:`forget` would erase; nothing is changed."""
    for attempt in range(_ATTEMPTS):
        run = _Run(blobs, *_seen(engine, model, now), person, progress)
        try:
            run.look()
        except StoreError:
            if attempt == _ATTEMPTS - 1 or are_there(engine, run.files):
                raise
        else:
            return run.report
    raise AssertionError("unreachable")


def _seen(engine: Engine, model: str, now: datetime) -> tuple[Snapshot, list[LabelFile]]:
    """Files of the model, and of frames of which it is not known of which model they are."""
    with reading(engine) as connection:
        unnamed = unnamed_aside(connection)
    return snapshot(engine, model, now), unnamed


def forget(
    settings: Settings,
    engine: Engine,
    blobs: BlobRoot,
    model: str,
    person: Person,
    decision: Decision,
    *,
    now: datetime,
    progress: Progress | None = None,
) -> ForgetReport:
    """Erase all rows and labels of ``person`` that are in the manifest of ``model``.

    What is still in a spool is not: seal and compact it first.

    :raises ConflictError: others changed the same files each time that it was tried.
    """
    facts = FactsBook(engine, settings).of(model)
    for attempt in range(_ATTEMPTS):
        run = _Run(blobs, *_seen(engine, model, now), person, progress)
        try:
            run.look()
            run.report.digest = person.digest(decision.secret)
            run.erase(engine, facts, decision, now)
        except StoreError as error:
            changed = isinstance(error, ConflictError) or not are_there(engine, run.files)
            if attempt == _ATTEMPTS - 1 or not changed:
                raise
        else:
            return run.report
    raise AssertionError("unreachable")


class _Run:
    def __init__(
        self,
        blobs: BlobRoot,
        seen: Snapshot,
        unnamed: list[LabelFile],
        person: Person,
        progress: Progress | None,
    ) -> None:
        self.blobs, self.seen, self.person = blobs, seen, person
        self.unnamed = {file.id for file in unnamed}
        self.files = [
            *seen.rows, *seen.retired, *seen.resolved, *seen.waiting, *seen.aside, *unnamed
        ]  # fmt: skip
        self.report = ForgetReport()
        self.touched: list[LabelFile] = []
        self.theirs = TheirRows.none()
        self.written: list[tuple[LabelFile, NewFile]] = []
        self._progress = progress

    def look(self) -> None:
        """Count what is theirs, and note the files that hold it."""
        for done, file in enumerate(self.files, 1):  # rows come first: they tell whose labels are
            if self._count(file):
                self.touched.append(file)
            if self._progress is not None:
                self._progress(done, len(self.files))
        self.report.files = len(self.touched)

    def _count(self, file: LabelFile) -> int:
        if file.kind in _ROWS:
            return self._count_rows(file)
        return self._count_frames(file) if file.kind is _ASIDE else self._count_labels(file)

    def _count_rows(self, file: LabelFile) -> int:
        count = 0
        for rows in read_tables(self.blobs, file.uri, self.person.columns):
            theirs = matching_rows(self.person, rows)
            if theirs.any():
                count += int(theirs.sum())
                self.theirs = self.theirs.and_of(rows.filter(pa.array(theirs)))
        if file.kind is ManifestKind.ROWS:
            self.report.rows += count
        return count

    def _count_frames(self, file: LabelFile) -> int:
        count = sum(
            int(matching_frames(self.person, frames).sum())
            for frames in read_tables(self.blobs, file.uri, ("payload",))
        )
        self.report.aside += count
        return count

    def _count_labels(self, file: LabelFile) -> int:
        count = sum(
            int(matching_labels(self.person, labels, self.theirs).sum())
            for labels in read_tables(self.blobs, file.uri, (*LABEL_COLUMNS, "row_id"))
        )
        if file.kind is ManifestKind.LABELS:
            self.report.labels += count
        else:
            self.report.waiting += count
        return count

    def erase(self, engine: Engine, facts: ModelFacts, decision: Decision, now: datetime) -> None:
        """Write anew what is left of the files that were noted, and change them for the old."""
        began = datetime.now(timezone.utc)
        try:
            for file in self.touched:
                for new in self._rewritten(file):
                    self.written.append((file, new))
            partials = self._partials(facts)
            with writing(engine) as connection:
                self._change(connection, facts, partials, now)
                _record(connection, self.seen.model, decision, self.report, self.person, now)
                refuse_stale(began)
        except BaseException:
            self._delete(new.values["uri"] for _, new in self.written)
            raise
        self.report.left = self._delete(file.uri for file in self.touched)

    def _rewritten(self, file: LabelFile) -> Iterator[NewFile]:
        model = self.seen.model
        if file.kind in _ROWS:
            kept = [self._without(rows) for rows in read_tables(self.blobs, file.uri, None)]
            table = pa.concat_tables(kept).combine_chunks()
            if table.num_rows:
                yield write_rows(self.blobs, table, model, uuid.uuid4().hex, file.kind)
            return
        if file.kind is _ASIDE:
            frames = pa.concat_tables(
                each.filter(pa.array(~matching_frames(self.person, each)))
                for each in read_tables(self.blobs, file.uri, None)
            )
            if frames.num_rows:
                named = "" if file.id in self.unnamed else model
                yield put_quarantine(self.blobs, named, frames, file.first_at, uuid.uuid4().hex)
            return
        resolved = file.kind is ManifestKind.LABELS
        columns = RESOLVED.names if resolved else WAITING.names
        parts = []
        for labels in read_tables(self.blobs, file.uri, columns):
            theirs = matching_labels(self.person, labels, self.theirs)
            parts.append(labels.filter(pa.array(~theirs)))
        table = pa.concat_tables(parts).combine_chunks()
        if not table.num_rows:
            return
        if resolved:
            yield write_resolved(self.blobs, model, table)
        else:
            tried = bool(file.details.get("tried"))
            yield write_waiting(self.blobs, model, table, tried=tried)

    def _without(self, rows: pa.Table) -> pa.Table:
        return rows.filter(pa.array(~matching_rows(self.person, rows)))

    def _partials(self, facts: ModelFacts) -> dict[str, list[Partial]]:
        """Of each source whose rows change, of what is left of it."""
        gone = {file.id for file in self.touched if file.kind is ManifestKind.ROWS}
        sources = {file.segment_id for file in self.touched if file.id in gone}
        found: dict[str, list[Partial]] = {}
        for source in sorted(sources):
            uris = [
                file.uri
                for file in self.seen.rows
                if file.segment_id == source and file.id not in gone
            ]
            uris += [
                new.values["uri"] for file, new in self.written
                if file.id in gone and file.segment_id == source
            ]  # fmt: skip
            edges, length = facts.edges, facts.windows.length
            found[source] = partials_of(self.blobs, uris, edges, length) if edges else []
        return found

    def _change(
        self,
        connection: Connection,
        facts: ModelFacts,
        partials: dict[str, list[Partial]],
        now: datetime,
    ) -> None:
        bump(connection, self.seen, {})
        rows = []
        for old, new in self.written:
            details = new.values["details"]
            at = now
            if old.kind in _ROWS:
                before = old.id <= self.seen.scanned_to or bool(old.details.get(LOOKED_UP))
                kept = {name: old.details[name] for name in (SEGMENTS,) if name in old.details}
                replaces = [*old.details.get(REPLACES, ()), old.uri]
                details = {**details, **kept, LOOKED_UP: before, REPLACES: replaces}
            if old.kind is ManifestKind.RETIRED and old.created_at is not None:
                at = old.created_at  # it goes when it would have gone
            values = {**new.values, "details": details}
            rows.append({"segment_id": old.segment_id, "created_at": at, **values})
        if rows:
            connection.execute(insert(manifest), rows)
        remove_files(connection, self.touched)
        for source, parts in partials.items():
            self._require_all(connection, source)
            if facts.edges is not None:
                replace_partials(connection, facts.name, source, facts.edges, parts, now)
            else:
                connection.execute(_profiles_of(facts.name, source))
            self.report.profiles += len(parts)

    def _require_all(self, connection: Connection, source: str) -> None:
        """That a source has the files that its profiles were made of, and no others."""
        gone = {file.id for file in self.touched}
        expected = {
            file.uri for file in self.seen.rows
            if file.segment_id == source and file.id not in gone
        }  # fmt: skip
        expected |= {
            new.values["uri"] for old, new in self.written
            if old.segment_id == source and old.kind is ManifestKind.ROWS
        }  # fmt: skip
        found = connection.scalars(
            select(manifest.c.uri)
            .where(
                manifest.c.model == self.seen.model, manifest.c.segment_id == source,
                manifest.c.kind == ManifestKind.ROWS.value,
            )
            .with_for_update()
        )  # fmt: skip
        if set(found) != expected:
            raise ConflictError(f"files of source {source} changed meanwhile", retry=True)

    def _delete(self, uris: Iterable[str]) -> list[str]:
        """Those that could not be deleted."""
        left = []
        for uri in uris:
            try:
                self.blobs.delete(blob_name(self.blobs, uri))
            except StoreError:
                left.append(uri)
        return left


def _profiles_of(model: str, source: str) -> Any:
    return delete(profiles).where(profiles.c.model == model, profiles.c.source == source)


def _record(
    connection: Connection,
    model: str,
    decision: Decision,
    report: ForgetReport,
    person: Person,
    now: datetime,
) -> None:
    insert_if_absent(
        connection, models, {"name": model, "created_at": now, "created_by": decision.made_by}
    )
    connection.execute(
        insert(decisions).values(
            model=model, kind=KIND, subject=None, made_at=now, made_by=decision.made_by,
            reason=decision.reason,
            details={
                "who_hash": report.digest, "by": sorted(person.key),
                "request_ids": len(person.request_ids), "rows": report.rows,
                "labels": report.labels, "waiting_labels": report.waiting,
                "set_aside": report.aside,
                "files": report.files, "profiles": report.profiles,
            },
        )
    )  # fmt: skip
