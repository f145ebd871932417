"""The rows of one segment on their way into files: gathered per model, in bounded memory."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.errors import StoreError
from trueup.monitor.capture.decode import Part
from trueup.monitor.capture.event_time import (
    RETIMED,
    EventTimes,
    as_microseconds,
    event_times,
    microseconds,
    time_variable,
)
from trueup.monitor.capture.model_facts import ModelFacts
from trueup.monitor.capture.parquet_file import NewFile, write_rows, written
from trueup.monitor.capture.row_table import arrival_us, header_us, row_table, whole_table
from trueup.monitor.capture.set_aside import SetAside, halves_of, in_parts
from trueup.monitor.capture.window_profiles import ANSWERED, Partial, PartialsBuilder
from trueup.store.blobs import BlobRoot

MOST_ROWS = 1 << 18
MOST_BYTES = 64 << 20
"""Rows, and bytes of Arrow, that are gathered before a file is written."""


@dataclass
class Counts:
    """What was found among the rows of one model in one segment."""

    rows: int = 0
    answered: int = 0
    refused: int = 0
    shadow: int = 0
    unreadable: int = 0
    type_errors: int = 0
    retimed: int = 0
    late: int = 0

    def add(self, other: Counts) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def take_back(self, table: pa.Table) -> None:
        """Rows that could not be written after all."""
        answered = pc.sum(pc.equal(table.column("status"), ANSWERED)).as_py() or 0
        self.rows -= table.num_rows
        self.answered -= answered
        self.refused -= table.num_rows - answered


@dataclass(frozen=True)
class Ready:
    """Rows of frames of one model that can be written."""

    model: str
    table: pa.Table
    newest_us: int
    counts: Counts


@dataclass
class _Gathered:
    facts: ModelFacts
    watermark: datetime | None
    counts: Counts = field(default_factory=Counts)
    tables: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    partials: PartialsBuilder | None = None
    newest_us: int | None = None


class Collector:
    """Collects the rows of segment ``segment``.

    :param watermark_of: that of a model, behind which rows are late.
    """

    def __init__(
        self,
        segment: str,
        blobs: BlobRoot,
        now: datetime,
        facts_of: Callable[[str], ModelFacts],
        watermark_of: Callable[[str], datetime | None],
    ) -> None:
        self._segment, self._blobs, self._now = segment, blobs, now
        self._facts_of, self._watermark_of = facts_of, watermark_of
        self._models: dict[str, _Gathered] = {}
        self.aside = SetAside()
        self.files: list[NewFile] = []

    def add(self, part: Part) -> None:
        """Take the rows of ``part``; all of them, or none where it fails."""
        self.take(self.ready(part))

    def ready(self, part: Part) -> Ready:
        """The rows of ``part`` as they will be written. What can fail on a value fails here, and
        nothing is changed."""
        gathered = self._of(part.model)
        times = self._times(part, gathered.facts)
        table = row_table(part, times)
        return Ready(
            part.model, table, int(times.us.max()), _counts(part, table, times, gathered.watermark)
        )

    def take(self, ready: Ready) -> None:
        gathered = self._of(ready.model)
        gathered.tables.append(ready.table)
        gathered.rows += ready.table.num_rows
        gathered.bytes += ready.table.nbytes
        gathered.newest_us = max(ready.newest_us, gathered.newest_us or ready.newest_us)
        gathered.counts.add(ready.counts)
        if gathered.rows >= MOST_ROWS or gathered.bytes >= MOST_BYTES:
            self._write(gathered)

    def _of(self, model: str) -> _Gathered:
        gathered = self._models.get(model)
        if gathered is None:
            facts = self._facts_of(model)
            gathered = _Gathered(facts, self._watermark_of(model))
            if facts.edges is not None:
                gathered.partials = PartialsBuilder(facts.edges, facts.windows.length)
            self._models[model] = gathered
        return gathered

    def finish(self) -> None:
        """Write what is left."""
        for gathered in self._models.values():
            self._write(gathered)

    def partials(self) -> list[tuple[str, Partial]]:
        """With the model that each is of."""
        return [
            (model, partial)
            for model, gathered in self._models.items()
            if gathered.partials is not None
            for partial in gathered.partials.partials()
        ]

    def counts(self) -> dict[str, Counts]:
        return {model: gathered.counts for model, gathered in self._models.items()}

    def newest_us(self) -> int | None:
        """The newest event time, microseconds since 1970."""
        found = [g.newest_us for g in self._models.values() if g.newest_us is not None]
        return max(found, default=None)

    def problems(self) -> list[str]:
        """What a person should know."""
        found = [g.facts.problem for g in self._models.values() if g.facts.problem]
        for gathered in self._models.values():
            if gathered.partials is not None and gathered.partials.left_out:
                found.append(gathered.partials.sentence(gathered.facts.name))
        return found

    def _times(self, part: Part, facts: ModelFacts) -> EventTimes:
        variable = time_variable(facts.spec)
        given = None
        if variable is not None and variable.name in part.inputs:
            given = as_microseconds(part.inputs[variable.name], variable)
        return event_times(
            given, header_us(part), arrival_us(part), now=self._now,
            retention=facts.windows.retention,
        )  # fmt: skip

    def _write(self, gathered: _Gathered) -> None:
        if not gathered.tables:
            return
        model, tables = gathered.facts.name, gathered.tables
        gathered.tables, gathered.rows, gathered.bytes = [], 0, 0

        tables_written: list[pa.Table] = []

        def write(some: Sequence[pa.Table]) -> None:
            if not some:
                return
            table = whole_table(some, segment=self._segment, model=model)
            unique = f"{self._segment}-{uuid.uuid4().hex[:12]}"
            self.files.append(write_rows(self._blobs, table, model, unique))
            tables_written.append(table)

        def leave(some: Sequence[pa.Table], error: Exception) -> None:
            self.aside.add_error(some[0].column("frame")[0].as_py(), error)
            gathered.counts.take_back(some[0])

        try:
            write(tables)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001  of one frame, or of some that do not go together
            in_parts(_sound(tables, self._segment, model, leave), write, _split, leave)
        if gathered.partials is not None:
            for table in tables_written:
                gathered.partials.add(table)


def _sound(
    tables: Sequence[pa.Table],
    segment: str,
    model: str,
    leave: Callable[[Sequence[pa.Table], Exception], None],
) -> Sequence[pa.Table]:
    """Those of ``tables`` that can be written, without the frames that cannot."""
    found: list[pa.Table] = []

    def attempt(some: Sequence[pa.Table]) -> None:
        written(whole_table(some, segment=segment, model=model))
        found.extend(some)

    in_parts(tables, attempt, _split, leave)
    return found


def _split(
    tables: Sequence[pa.Table],
) -> tuple[Sequence[pa.Table], Sequence[pa.Table]] | None:
    """Half of the tables, or of the frames of one."""
    if len(tables) > 1:
        return halves_of(tables)
    frame = tables[0].column("frame").to_numpy()
    known = np.unique(frame)
    if len(known) < 2:
        return None
    early = frame < known[len(known) // 2]
    return [tables[0].filter(pa.array(early))], [tables[0].filter(pa.array(~early))]


def _counts(part: Part, table: pa.Table, times: EventTimes, watermark: datetime | None) -> Counts:
    shadow = int(part.counts[part.block.shadow].sum())
    status = table.column("status")
    answered = pc.sum(pc.equal(status, ANSWERED)).as_py() or 0
    return Counts(
        rows=part.rows,
        answered=answered,
        refused=part.rows - answered,
        shadow=shadow,
        unreadable=0 if part.readable is None else int(np.count_nonzero(~part.readable)),
        type_errors=sum(map(len, part.misfits.values())),
        retimed=int(np.count_nonzero(times.source == RETIMED)),
        late=0 if watermark is None else int((times.us < microseconds(watermark)).sum()),
    )


def summed(counts: dict[str, Counts]) -> dict[str, Any]:
    """For the store: of all models together, and of each."""
    total: Counter[str] = Counter()
    for each in counts.values():
        total.update(vars(each))
    return {**total, "models": {model: vars(each) for model, each in counts.items()}}
