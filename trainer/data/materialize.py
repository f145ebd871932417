"""Training data as files: TFRecord shards of Examples to train and tune on, Parquet for the gate.

All rows pass through once, a batch at a time; memory does not grow with their number.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from trueup.errors import BadInputError, DataError, StoreError
from trueup.records.input_spec import InputSpec, Role, Variable
from trueup.records.training import Shard, SourceData, Split, SplitData
from trueup.trainer.data.declared import Declared, declared, declared_schema
from trueup.trainer.data.disk import why
from trueup.trainer.data.event_times import moment_of
from trueup.trainer.data.example_encoder import ExampleEncoder
from trueup.trainer.data.gate_rows import GateWriter
from trueup.trainer.data.label_facts import LabelFacts
from trueup.trainer.data.shards import ShardWriter
from trueup.trainer.data.sources import Source, raise_absent
from trueup.trainer.data.splits import FIRST_REASON, REASONS, SPLITS, SplitRule, reason_of
from trueup.trainer.data.survey import PARTITIONS, Progress, Survey

_FEWEST_ROWS = 1 << 13  # smaller batches are put together: a call per column costs the same

_TRIED_ROWS = 1000
"""How large a row is, the first ones tell."""


@dataclass(frozen=True)
class Materialized:
    """What was written, and of what.

    :param labels: of the rows to train on. :param misfits: values that could not be read as
        declared, and are missing, by variable.
    """

    splits: dict[Split, SplitData]
    sources: tuple[SourceData, ...]
    dropped: dict[str, int]
    labels: LabelFacts
    misfits: dict[str, int]


@dataclass
class _Span:
    """Rows, and their first and last event time in microseconds."""

    rows: int = 0
    first: int | None = None
    last: int | None = None

    def add(self, rows: int, times: np.ndarray) -> None:
        self.rows += rows
        if times.size:
            low, high = int(times.min()), int(times.max())
            self.first = low if self.first is None else min(self.first, low)
            self.last = high if self.last is None else max(self.last, high)

    @property
    def between(self) -> dict[str, datetime | None]:
        return {
            "first_event_at": None if self.first is None else moment_of(self.first),
            "last_event_at": None if self.last is None else moment_of(self.last),
        }


@dataclass
class _Tally:
    """What is counted on the way."""

    labels: LabelFacts
    splits: list[_Span] = field(default_factory=lambda: [_Span() for _ in SPLITS])
    sources: list[_Span] = field(default_factory=list)
    present: list[Counter[str]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    misfits: Counter[str] = field(default_factory=Counter)


def written_variables(spec: InputSpec, more: Sequence[str] = ()) -> tuple[Variable, ...]:
    """What an Example holds: features and the label, each under its name; timestamps, ids and
    ignored variables only where ``more`` names them.

    :raises DataError: ``more`` names a variable that is not there.
    """
    for name in more:
        if name not in spec.by_name:
            raise DataError(f"there is no variable {name!r} to write", remedy="check the name")
    return tuple(
        v for v in spec.variables if v.name in more or (v.compared and v.dtype != "timestamp")
    )


def materialize(
    sources: Sequence[Source],
    spec: InputSpec,
    found: Survey,
    folder: Path,
    *,
    model: str,
    shard_rows: int,
    more: Sequence[str] = (),
    seed: int = 1,
    checked: Callable[[LabelFacts], None] | None = None,
    progress: Progress | None = None,
) -> Materialized:
    """Write the rows of ``sources`` (of one schema) to ``folder``, which is made here, or empty.

    :param found: of these sources. :param more: variables that Examples hold besides.
    :param checked: is given the labels of the rows to train on, and may refuse them.
    :raises DataError: a split is empty, a feature has no value in one of the sources, or a file
        cannot be read.
    :raises StoreError: it cannot be written. After any error nothing is left in ``folder``.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BadInputError(f"{folder} is not empty", remedy="name a new folder")
    work = _Work(sources, spec, found, folder, shard_rows, more, seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        work.run(progress)
        result = work.result(model)
        if checked is not None:
            checked(result.labels)
    except BaseException as error:
        work.abandon()
        with suppress(OSError):
            shutil.rmtree(folder)
        if isinstance(error, OSError):
            raise StoreError(
                f"training data of {model} cannot be written to {folder}: {why(error)}",
                remedy="free space on that disk; nothing of them was left there",
                retry=True,
            ) from error
        raise
    return result


class _Work:
    def __init__(
        self,
        sources: Sequence[Source],
        spec: InputSpec,
        found: Survey,
        folder: Path,
        shard_rows: int,
        more: Sequence[str],
        seed: int,
    ) -> None:
        self._sources, self._spec, self._rule = sources, spec, found.rule
        self._tally = _Tally(LabelFacts(spec[found.rule.label], found.labels.positive_above))
        self._encoder = ExampleEncoder(written_variables(spec, more))
        self._written = [variable.name for variable in written_variables(spec, more)]
        self._shards = [
            ShardWriter(folder, split, max(found.expected[place], 1), shard_rows, seed)
            for place, split in enumerate(SPLITS[:2])
        ]
        self._schema = declared_schema(spec)
        self._gate = GateWriter(folder, self._schema, shard_rows)
        self._finished: list[tuple[Shard, ...]] = []

    def run(self, progress: Progress | None) -> None:
        total, done = sum(source.dataset.rows for source in self._sources), 0
        for source in self._sources:
            self._tally.sources.append(_Span())
            self._tally.present.append(Counter())
            for part in source.dataset.partitions(PARTITIONS):
                for batch in _sized(part.batches()):
                    self._add(declared(batch, self._spec))
                    done += batch.num_rows
                    if progress is not None:
                        progress(done, total)
        self._finished = [*(writer.finish() for writer in self._shards), self._gate.finish()]

    def _add(self, rows: Declared) -> None:
        tally = self._tally
        codes, times = self._rule.assign(rows.columns)
        tally.misfits.update(rows.misfits)
        timed = self._rule.time is not None
        known = _known_times(rows, self._rule, times)
        tally.sources[-1].add(rows.rows, known)
        for name, array in rows.columns.items():
            tally.present[-1][name] += rows.rows - array.null_count
        counts = np.bincount(codes, minlength=FIRST_REASON + len(REASONS)).tolist()
        for code, count in enumerate(counts):
            if not count:
                continue
            if code >= FIRST_REASON:
                tally.dropped[reason_of(code)] += count
                continue
            chosen = np.flatnonzero(codes == code)
            tally.splits[code].add(count, times[chosen] if timed else times[:0])
            if SPLITS[code] is Split.GATE:
                arrays = [rows.columns[name].take(pa.array(chosen)) for name in self._schema.names]
                self._gate.add(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            else:
                self._add_examples(code, rows, chosen)

    def _add_examples(self, code: int, rows: Declared, chosen: np.ndarray) -> None:
        writer = self._shards[code]
        if not writer.planned:
            few = {n: rows.columns[n].take(pa.array(chosen[:_TRIED_ROWS])) for n in self._written}
            tried = self._encoder.encode(few, min(len(chosen), _TRIED_ROWS))
            writer.plan(len(tried.data) / len(tried))
        shards = writer.dealt(len(chosen))
        order = np.argsort(shards, kind="stable")
        places = pa.array(chosen[order])
        columns = {name: rows.columns[name].take(places) for name in self._written}
        writer.add(self._encoder.encode(columns, len(chosen)), shards[order])
        if SPLITS[code] is Split.TRAIN:
            self._tally.labels.add(columns[self._rule.label])

    def abandon(self) -> None:
        for writer in self._shards:
            writer.abandon()
        self._gate.abandon()

    def result(self, model: str) -> Materialized:
        tally = self._tally
        self._refuse_silent(model)
        _refuse_empty(tally.splits, self._rule, model)
        splits = {
            split: SplitData(rows=span.rows, shards=shards, **span.between)
            for split, span, shards in zip(SPLITS, tally.splits, self._finished, strict=True)
        }
        sources = tuple(
            SourceData(
                kind=source.kind, name=source.name, rows=source.rows,
                fingerprint=source.fingerprint, **span.between,
            )
            for source, span in zip(self._sources, tally.sources, strict=True)
        )  # fmt: skip
        dropped = Counter(tally.dropped)
        for source in self._sources:
            dropped.update(source.left_out)
        return Materialized(splits, sources, dict(dropped), tally.labels, dict(tally.misfits))

    def _refuse_silent(self, model: str) -> None:
        """A feature that one source has, and another has no value of."""
        for variable in self._spec.variables:
            if variable.role is not Role.FEATURE:
                continue
            counts = [present[variable.name] for present in self._tally.present]
            for source, span, count in zip(self._sources, self._tally.sources, counts, strict=True):
                if span.rows and not count and any(counts):
                    raise_absent(source, variable.name, model)


def _refuse_empty(spans: Sequence[_Span], rule: SplitRule, model: str) -> None:
    where = f"[models.{model}.training.data]"
    train, tune, gate = spans
    if not train.rows:
        raise DataError(
            f"no row of {model} is left to train on: {tune.rows:,} are for tuning and "
            f"{gate.rows:,} for the gate",
            remedy=f"bring more rows, or lower tune_share, gate_share and gate_period in {where}",
        )
    if not tune.rows and rule.tune_share > 0:
        raise DataError(
            f"no row of {model} is left for early stopping: all {train.rows:,} rows to train on "
            "are of one moment or one key",
            remedy=f"bring more rows, or set tune_share in {where} to 0",
        )
    if not gate.rows:
        raise DataError(
            f"no row of {model} is kept for the gate, which must judge on rows that no version "
            "was trained on",
            remedy=f"bring more rows, or raise gate_share in {where}",
        )


def _known_times(rows: Declared, rule: SplitRule, times: np.ndarray) -> np.ndarray:
    """The times of rows that have one, also of those that are in no split."""
    if rule.time is None:
        return times[:0]
    column = rows.columns[rule.time]
    return times[np.asarray(column.is_valid())] if column.null_count else times


def _sized(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows; small batches put together."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if not waiting and batch.num_rows >= _FEWEST_ROWS:
            yield batch
            continue
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= _FEWEST_ROWS:
            yield _one(waiting)
            waiting, rows = [], 0
    if waiting:
        yield _one(waiting)


def _one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    table = pa.Table.from_batches(batches).combine_chunks()
    return table.to_batches()[0]
