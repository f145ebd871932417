"""The rows of one segment on their way into files: gathered per model, in bounded memory."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
from trueup.monitor.capture.parquet_file import NewFile, write_rows
from trueup.monitor.capture.row_table import arrival_us, header_us, row_table, whole_table
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
        self.files: list[NewFile] = []

    def add(self, part: Part) -> None:
        gathered = self._models.get(part.model)
        if gathered is None:
            facts = self._facts_of(part.model)
            gathered = _Gathered(facts, self._watermark_of(part.model))
            if facts.edges is not None:
                gathered.partials = PartialsBuilder(facts.edges, facts.windows.length)
            self._models[part.model] = gathered
        times = self._times(part, gathered.facts)
        table = row_table(part, times)
        gathered.tables.append(table)
        gathered.rows += table.num_rows
        gathered.bytes += table.nbytes
        newest = int(times.us.max())
        gathered.newest_us = max(newest, gathered.newest_us or newest)
        gathered.counts.add(_counts(part, table, times, gathered.watermark))
        if gathered.rows >= MOST_ROWS or gathered.bytes >= MOST_BYTES:
            self._write(gathered)

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
        return [g.facts.problem for g in self._models.values() if g.facts.problem]

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
        model = gathered.facts.name
        table = whole_table(gathered.tables, segment=self._segment, model=model)
        gathered.tables, gathered.rows, gathered.bytes = [], 0, 0
        unique = f"{self._segment}-{uuid.uuid4().hex[:12]}"
        self.files.append(write_rows(self._blobs, table, model, unique))
        if gathered.partials is not None:
            gathered.partials.add(table)


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
