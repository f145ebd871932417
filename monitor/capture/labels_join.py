"""Joining labels to captured rows.

Labels and rows come in any order, over weeks. A run looks up

* labels that are new among all rows, and
* labels from before, waiting or resolved, among rows that are new,

so that every label meets every row once, whichever was first. Each side is read in one scan of the
columns that name rows, as long as the labels (or rows) that are new fit into memory together
(:data:`MOST_HELD`); there is one scan per so many, never one per label. A label that finds a row
moves from a file of waiting labels to one of resolved labels. All files change in one transaction
with the manifest: killed anywhere, a run is done again by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine, select

from trueup.config.settings import Settings
from trueup.errors import ConflictError, StoreError
from trueup.monitor.capture.labels_files import RESOLVED, LabelFile, read_tables
from trueup.monitor.capture.labels_found import FoundPairs, Verdicts
from trueup.monitor.capture.labels_items import WAITING
from trueup.monitor.capture.labels_output import ResolvedOutput, WaitingOutput
from trueup.monitor.capture.labels_refs import By
from trueup.monitor.capture.labels_rules import Cardinality, overall
from trueup.monitor.capture.labels_sides import (
    HeldSide,
    Way,
    refs_of_labels,
    refs_of_rows,
    row_columns,
    ways_of,
)
from trueup.monitor.capture.labels_store import (
    Change,
    Snapshot,
    are_there,
    delete_blobs,
    snapshot,
)
from trueup.monitor.capture.labels_store import commit as commit
from trueup.profile.hashing import hash_strings
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading
from trueup.store.tables import ManifestKind, manifest

MOST_HELD = 500_000
"""Labels, or rows, that are held in memory to be looked up."""

MOST_FILES = 16
"""Small files (of waiting labels; of resolved ones of a day) from which they are put together."""

_ATTEMPTS = 5
_FACTS = ("row_id", "event_time", "shadow")

Progress = Callable[[int, int], None]


@dataclass
class JoinReport:
    """What a run did.

    :param labelled: pairs of a label and a row that were found.
    :param resolved: labels that found their first row.
    :param refused: labels that were given up, for their key is many-to-many.
    :param expired: labels that were given up, for they waited longer than the retention time.
    :param waiting: labels that wait now: too early, or of an unknown id.
    :param cardinality: of the join by key, by key columns.
    :param sentences: on what a person should know.
    """

    labelled: int = 0
    resolved: int = 0
    refused: int = 0
    expired: int = 0
    waiting: int = 0
    files_scanned: int = 0
    cardinality: dict[str, str] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)


def join_labels(
    engine: Engine,
    blobs: BlobRoot,
    model: str,
    *,
    now: datetime,
    retention: timedelta,
    progress: Progress | None = None,
) -> JoinReport:
    """Join all labels of ``model`` that can be joined now.

    :param retention: how long a label waits for its row.
    :raises ConflictError: others changed the model's labels each time that it was tried.
    """
    for attempt in range(_ATTEMPTS):
        seen = snapshot(engine, model, now)
        run = _Run(blobs, seen, now - retention, progress)
        try:
            return run.into(engine, now)
        except StoreError as error:
            conflict = isinstance(error, ConflictError)
            changed = conflict or not are_there(engine, (*seen.rows, *seen.waiting, *seen.resolved))
            if attempt == _ATTEMPTS - 1 or not changed:
                raise
    raise AssertionError("unreachable")


def join_all_labels(
    settings: Settings, engine: Engine, blobs: BlobRoot, now: datetime
) -> dict[str, JoinReport]:
    """:func:`join_labels` for each model that has labels."""
    kinds = (ManifestKind.WAITING_LABELS.value, ManifestKind.LABELS.value)
    with reading(engine) as connection:
        names = connection.scalars(
            select(manifest.c.model).where(manifest.c.kind.in_(kinds)).distinct()
        ).all()
    return {
        name: join_labels(
            engine, blobs, name, now=now, retention=settings.model(name).windows.retention
        )
        for name in sorted(names)
    }


class _Run:
    def __init__(
        self, blobs: BlobRoot, seen: Snapshot, cutoff: datetime, progress: Progress | None
    ) -> None:
        self.blobs, self.seen, self.cutoff = blobs, seen, cutoff
        self.report = JoinReport()
        self.resolved = ResolvedOutput(blobs, seen.model)
        self.merged = ResolvedOutput(blobs, seen.model)
        self.waiting = WaitingOutput(blobs, seen.model)
        self.fresh = [file for file in seen.waiting if not file.details.get("tried")]
        self.tried = [file for file in seen.waiting if file.details.get("tried")]
        self.new_rows = seen.new_rows
        self.kinds: dict[str, set[Cardinality]] = {}
        self.gone: dict[int, set[int]] = {}  # places in files of waiting labels, by file
        self._progress = progress
        self._done = 0

    def into(self, engine: Engine, now: datetime) -> JoinReport:
        began = datetime.now(timezone.utc)
        try:
            self._look_up_fresh()
            self._look_up_old()
            change = Change(replaced=[*self.fresh, *self._rewrite_tried(), *self._merge_small()])
            change.added = [*self.resolved.flush(), *self.merged.flush(), *self.waiting.flush()]
            self.report.labelled = sum(file.values["rows"] for file in self.resolved.files)
            replaced = {file.id for file in change.replaced}
            kept = sum(file.rows for file in self.seen.waiting if file.id not in replaced)
            self.report.waiting = kept + self.waiting.rows
            self._say()
            if change.added or change.replaced or self.seen.upto != self.seen.scanned_to:
                state = self._state()
                commit(engine, self.seen, change, began=began, now=now, state=state)
        except BaseException:
            written = [*self.resolved.files, *self.merged.files, *self.waiting.files]
            delete_blobs(self.blobs, [file.values["uri"] for file in written])
            raise
        delete_blobs(self.blobs, [file.uri for file in change.replaced])
        return self.report

    def _state(self) -> dict[str, int]:
        state = {"scanned_to": self.seen.upto}
        for name in ("labelled", "resolved", "refused", "expired"):
            state[name] = self.seen.state.get(name, 0) + getattr(self.report, name)
        return state

    def _look_up_fresh(self) -> None:
        """New labels among all rows, a share of them at a time; labels of one key together."""
        shares = -(-sum(file.rows for file in self.fresh) // MOST_HELD)
        for share in range(shares):
            labels = self._fresh_labels(share, shares)
            if not labels.num_rows:
                continue
            with FoundPairs() as found:
                matched = self._among_rows(labels, found)
                self._note_siblings(labels, found)
                verdicts = found.judge()
                self._write_pairs(found, verdicts)
            refused = np.asarray(verdicts.refuses(labels), bool)
            self.report.refused += int(refused.sum())
            self.report.resolved += int((matched & ~refused).sum())
            self._wait(labels.filter(pa.array(~matched & ~refused)))

    def _fresh_labels(self, share: int, shares: int) -> pa.Table:
        parts = [WAITING.empty_table()]
        for file in self.fresh:
            for batch in read_tables(self.blobs, file.uri, WAITING.names):
                if shares > 1:
                    hashes = hash_strings(batch.column("ref").combine_chunks())
                    batch = batch.filter(pa.array(hashes % np.uint64(shares) == share))
                parts.append(batch.cast(WAITING))
        return pa.concat_tables(parts).combine_chunks()

    def _among_rows(self, labels: pa.Table, found: FoundPairs) -> np.ndarray:
        """Adds pairs to ``found``; which labels have one, bool ``(n,)``."""
        ways = ways_of(self.fresh)
        held = HeldSide(refs_of_labels(labels, ways))
        by_key = [way for way in ways if way.by is not By.ROW]
        sources = _sources(labels)
        matched = np.zeros(labels.num_rows, bool)
        for file in self.seen.rows:
            direct = [Way(By.ROW)] if file.may_hold(sources) else []
            if wanted := direct + by_key:
                for rows in self._rows(file, wanted):
                    ours, theirs = held.pairs(refs_of_rows(rows, wanted))
                    if len(ours):
                        matched[ours] = True
                        found.add(labels.take(pa.array(ours)), rows.take(pa.array(theirs)))
        return matched

    def _rows(self, file: LabelFile, ways: Sequence[Way]) -> Iterator[pa.Table]:
        self.report.files_scanned += 1
        yield from read_tables(self.blobs, file.uri, row_columns(ways))
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, max(len(self.seen.rows) + len(self.new_rows), self._done))

    def _note_siblings(self, labels: pa.Table, found: FoundPairs) -> None:
        """Labels from before with the same keys, which count in their cardinality."""
        ways = [way for way in ways_of(self.fresh, direct=False) if way.by is By.KEY]
        if not ways or not found.count:
            return
        held = HeldSide(refs_of_labels(labels, ways))
        for file in _with_ways([*self.seen.resolved, *self.tried], ways):
            for before in read_tables(self.blobs, file.uri, WAITING.names):
                _, theirs = held.pairs(refs_of_labels(before, ways))
                if len(theirs):
                    found.note_labels(before.take(pa.array(np.unique(theirs))))

    def _look_up_old(self) -> None:
        """Labels from before among new rows."""
        again = ways_of(self.seen.resolved, direct=False)
        ways = list(dict.fromkeys([*ways_of(self.tried), *again]))
        if not ways:
            return
        for rows in self._held_rows(ways):
            held = HeldSide(refs_of_rows(rows, ways))
            with FoundPairs() as found:
                places = {
                    file.id: self._pairs_of(file, rows, held, ways, found)
                    for file in _with_ways([*self.tried, *self.seen.resolved], ways)
                }
                verdicts = found.judge()
                self._write_pairs(found, verdicts)
            for file in self.tried:
                if file.id in places:
                    self._note_resolved(file, places[file.id], verdicts)

    def _held_rows(self, ways: Sequence[Way]) -> Iterator[pa.Table]:
        parts: list[pa.Table] = []
        for file in self.new_rows:
            for rows in self._rows(file, ways):
                parts.append(rows)
                if sum(part.num_rows for part in parts) >= MOST_HELD:
                    yield _together(parts)
                    parts = []
        if parts:
            yield _together(parts)

    def _pairs_of(
        self,
        file: LabelFile,
        rows: pa.Table,
        held: HeldSide,
        ways: Sequence[Way],
        found: FoundPairs,
    ) -> list[int]:
        """Adds the pairs of one file's labels to ``found``; places of its labels that have one."""
        waits = file in self.tried
        wanted = list(ways) if waits else [way for way in ways if way.by is not By.ROW]
        columns = WAITING.names if waits else [*WAITING.names, *_FACTS]
        places: list[int] = []
        start = 0
        for labels in read_tables(self.blobs, file.uri, columns):
            ours, theirs = held.pairs(refs_of_labels(labels, wanted))
            if len(theirs):
                chosen = labels.take(pa.array(theirs))
                found.add(chosen, rows.take(pa.array(ours)))
                if waits:
                    places += (start + np.unique(theirs)).tolist()
                else:  # the rows that they are of already
                    found.note_rows(chosen.filter(pc.equal(chosen.column("by"), By.KEY.value)))
            start += labels.num_rows
        return places

    def _note_resolved(self, file: LabelFile, places: list[int], verdicts: Verdicts) -> None:
        gone = self.gone.setdefault(file.id, set())
        start = 0
        chosen = np.array(sorted(set(places)), np.int64)
        for labels in read_tables(self.blobs, file.uri, WAITING.names):
            inside = chosen[(chosen >= start) & (chosen < start + labels.num_rows)] - start
            refused = np.asarray(verdicts.refuses(labels.take(pa.array(inside))), bool)
            fresh = set((start + inside).tolist()) - gone
            self.report.refused += len(fresh & set((start + inside[refused]).tolist()))
            self.report.resolved += len(fresh & set((start + inside[~refused]).tolist()))
            gone.update(fresh)
            start += labels.num_rows

    def _write_pairs(self, found: FoundPairs, verdicts: Verdicts) -> None:
        for pairs in found.kept(verdicts):
            self.resolved.add(pairs)
        for key, kinds in verdicts.found.items():
            self.kinds.setdefault(key, set()).update(kinds)

    def _wait(self, labels: pa.Table) -> None:
        keep = pc.greater_equal(
            labels.column("arrived_at"), pa.scalar(self.cutoff, pa.timestamp("us", "UTC"))
        )
        kept = labels.filter(keep)
        self.report.expired += labels.num_rows - kept.num_rows
        self.waiting.add(kept)

    def _rewrite_tried(self) -> list[LabelFile]:
        """Write anew what is left of files of which labels were resolved or are too old, and of
        small ones where there are many."""
        small = _small(self.tried)
        many = {file.id for file in small} if len(small) > MOST_FILES else set()
        replaced = []
        for file in self.tried:
            gone = self.gone.get(file.id, set())
            if not gone and file.first_at >= self.cutoff and file.id not in many:
                continue
            replaced.append(file)
            start = 0
            for labels in read_tables(self.blobs, file.uri, WAITING.names):
                here = np.array([start + i not in gone for i in range(labels.num_rows)], bool)
                self._wait(labels.filter(pa.array(here)).cast(WAITING))
                start += labels.num_rows
        return replaced

    def _merge_small(self) -> list[LabelFile]:
        """Put small files of resolved labels of one day together: those that it was done to."""
        by_day: dict[date, list[LabelFile]] = {}
        for file in _small(self.seen.resolved):
            by_day.setdefault(file.first_at.date(), []).append(file)
        merged = [file for each in by_day.values() if len(each) > MOST_FILES for file in each]
        for file in merged:
            for labels in read_tables(self.blobs, file.uri, RESOLVED.names):
                self.merged.add(labels.cast(RESOLVED))
        return merged

    def _say(self) -> None:
        for key, kinds in sorted(self.kinds.items()):
            columns = ", ".join(Way(By.KEY, key).variables)
            whole = overall(kinds)
            self.report.cardinality[columns] = whole.value
            if Cardinality.MANY_TO_MANY in kinds:
                self.report.sentences.append(
                    f"labels by the key {columns} are many-to-many: values of it have several "
                    "different labels and several rows, and those were refused; give a key that "
                    "names one row, or send labels by request id and row"
                )


def _sources(labels: pa.Table) -> set[str]:
    """The segments whose rows are named by row id."""
    direct = labels.filter(pc.equal(labels.column("by"), By.ROW.value)).column("ref")
    return set(pc.unique(pc.utf8_slice_codeunits(direct, 0, 26)).to_pylist())


def _small(files: Iterable[LabelFile]) -> list[LabelFile]:
    return [file for file in files if file.rows < MOST_HELD // MOST_FILES]


def _with_ways(files: Sequence[LabelFile], ways: Sequence[Way]) -> list[LabelFile]:
    wanted = set(ways)
    return [file for file in files if wanted & set(ways_of([file]))]


def _together(parts: Sequence[pa.Table]) -> pa.Table:
    """Files differ in their columns (a key that one lacks is null), and may in types."""
    kinds = {field.name: field.type for part in parts for field in part.schema}
    odd = {field.name for part in parts for field in part.schema if kinds[field.name] != field.type}
    same = []
    for part in parts:
        columns = []
        for name, kind in kinds.items():
            if name not in part.column_names:
                columns.append(pa.nulls(part.num_rows, pa.string() if name in odd else kind))
            else:
                column = part.column(name)
                columns.append(column.cast(pa.string()) if name in odd else column)
        same.append(pa.table(columns, names=list(kinds)))
    return pa.concat_tables(same).combine_chunks()
