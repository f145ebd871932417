"""Rows that were served elsewhere, as the compactor takes rows: refused ones counted, the others
with their event times, in frames.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.datasets.column_policies import ColumnPolicies
from trueup.datasets.column_policies_arrow import apply_to_batch
from trueup.datasets.encoding import encodable
from trueup.frames.capture_codec import BODY_CODES, KIND_CODES
from trueup.monitor.capture.decode import UNNAMED_OUTPUT, Part
from trueup.monitor.capture.event_time import AHEAD, NONE, as_microseconds, microseconds
from trueup.monitor.capture.frame_block import FrameBlock
from trueup.monitor.capture.ingest_columns import fitted
from trueup.monitor.capture.kept_rows import MOST_UNDECLARED
from trueup.records.capture import Body, FrameKind
from trueup.records.input_spec import InputSpec, Variable

EXAMPLES = 3
"""Rows that are shown of each reason for which rows were refused."""

NO_TIME = "the time is missing or none"
TOO_OLD = "the time is older than the retention time"
IN_FUTURE = "the time is in the future"
NO_VALUES = "no variable has a value"

_ANSWERED = 200


@dataclass(frozen=True)
class Wanted:
    """Which columns are what.

    :param time: the variable of the event time, as it is in the data; ``None``: rows are of now.
    :param predictions: name of the output → column.
    :param left_out: columns that are no inputs, besides those named here.
    """

    time: Variable | None = None
    predictions: dict[str, str] = field(default_factory=dict)
    request_id: str | None = None
    version: int = 0
    left_out: frozenset[str] = frozenset()

    @property
    def no_inputs(self) -> set[str]:
        named = {*self.predictions.values(), *self.left_out}
        return named | ({self.request_id} if self.request_id is not None else set())


@dataclass
class RefusedRows:
    """Counts of refused rows by reason, with the numbers of the first ones (from 1)."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[int]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def add(self, reason: str, rows: np.ndarray, first: int) -> None:
        """:param rows: which of a batch, bool ``(n,)``. :param first: the number of its first."""
        count = int(np.count_nonzero(rows))
        if not count:
            return
        self.counts[reason] = self.counts.get(reason, 0) + count
        shown = self.examples.setdefault(reason, [])
        missing = EXAMPLES - len(shown)
        shown += [first + place for place in np.flatnonzero(rows)[:missing].tolist()]


class RowsIn:
    """Turns the batches of one data set into parts.

    :param policies: of the model's columns; undeclared columns go where one is at work.
    :param spec: the variables as the capture has them.
    """

    def __init__(
        self,
        model: str,
        wanted: Wanted,
        spec: InputSpec | None,
        policies: ColumnPolicies | None,
        *,
        now: datetime,
        retention: timedelta,
        textual: bool,
    ) -> None:
        self._model, self._wanted, self._policies = model, wanted, policies
        self._variables = spec.by_name if spec is not None else {}
        self._now_us = microseconds(now)
        self._oldest, self._newest = microseconds(now - retention), microseconds(now + AHEAD)
        self._textual = textual
        self._frames = self._rows = 0
        self._undeclared: set[str] = set()
        self.refused = RefusedRows()
        self.misfits: dict[str, int] = {}

    def parts(
        self, batches: Iterable[pa.RecordBatch], done: Callable[[int], None] | None = None
    ) -> Iterator[Part]:
        """Parts of all rows that are not refused."""
        held: pa.Table | None = None
        for batch in batches:
            table = self._admitted(pa.Table.from_batches([batch]))
            self._rows += batch.num_rows
            if done is not None:
                done(batch.num_rows)
            if self._wanted.request_id is not None:
                table, held = self._whole_requests(held, table)
            if table.num_rows:
                yield self._part(table)
        if held is not None and held.num_rows:
            yield self._part(held)

    def _whole_requests(
        self, held: pa.Table | None, table: pa.Table
    ) -> tuple[pa.Table, pa.Table | None]:
        """Rows of whole requests, and those of the last one, which may go on in what comes next."""
        if held is not None:
            table = pa.concat_tables([held, table])
        if not table.num_rows:
            return table, None
        starts = _runs(_texts(table.column(str(self._wanted.request_id))))
        last = int(starts[-1])
        if not last:  # one request that is longer than a batch: it is cut
            return table, None
        return table.slice(0, last), table.slice(last)

    def _admitted(self, table: pa.Table) -> pa.Table:
        """``table`` without refused rows, with the event times as ``_US``."""
        first = self._rows + 1
        us = np.full(table.num_rows, self._now_us)
        keep = np.ones(table.num_rows, bool)

        def refuse(reason: str, rows: np.ndarray) -> None:
            self.refused.add(reason, rows & keep, first)
            keep[rows] = False

        if self._wanted.time is not None:
            us = as_microseconds(
                table.column(self._wanted.time.name).combine_chunks(), self._wanted.time
            )
            refuse(NO_TIME, us == NONE)
            refuse(TOO_OLD, us < self._oldest)
            refuse(IN_FUTURE, us > self._newest)
        names = [name for name in table.column_names if name not in self._wanted.no_inputs]
        refuse(NO_VALUES, _all_null(table.select(names)))
        table = table.append_column(_US, pa.array(us))
        return table if keep.all() else table.filter(pa.array(keep))

    def _part(self, table: pa.Table) -> Part:
        wanted = self._wanted
        us = table.column(_US).to_numpy()
        ids, starts = None, np.arange(table.num_rows)
        if wanted.request_id is not None:
            ids = _texts(table.column(wanted.request_id))
            starts = _runs(ids)
        counts = np.diff(np.append(starts, table.num_rows))
        no_inputs = {*wanted.no_inputs, _US}
        named = [name for name in table.column_names if name not in no_inputs]
        inputs, misfits, raw = self._inputs(table.select(named))
        outputs = {
            name: _whole(table.column(column)) for name, column in wanted.predictions.items()
        }
        block = self._block(starts, counts, us[starts], ids)
        return Part(self._model, block, counts, inputs, outputs, None, raw, misfits)

    def _inputs(
        self, table: pa.Table
    ) -> tuple[dict[str, pa.Array], dict[int, list[str]], dict[int, str]]:
        if self._policies is not None and self._policies.active:
            table = apply_to_batch(self._policies, table)
            if self._variables:  # nobody said what else may be written down
                table = table.select([n for n in table.column_names if n in self._variables])
        inputs: dict[str, pa.Array] = {}
        misfits: dict[int, list[str]] = {}
        for name in table.column_names:
            column = _whole(table.column(name))
            variable = self._variables.get(name)
            if variable is None:
                if self._admits(name):
                    inputs[name] = column
                continue
            inputs[name], wrong = fitted(column, variable, textual=self._textual)
            if wrong is not None:
                places = np.flatnonzero(wrong).tolist()
                self.misfits[name] = self.misfits.get(name, 0) + len(places)
                for row in places:
                    misfits.setdefault(row, []).append(name)
        return inputs, misfits, {row: _json(table, row) for row in misfits}

    def _admits(self, name: str) -> bool:
        if name not in self._undeclared and len(self._undeclared) < MOST_UNDECLARED:
            self._undeclared.add(name)
        return name in self._undeclared

    def _block(
        self, starts: np.ndarray, counts: np.ndarray, us: np.ndarray, ids: pa.Array | None
    ) -> FrameBlock:
        frames = len(starts)
        number = np.arange(self._frames, self._frames + frames)
        self._frames += frames
        request_ids = _repeated("", frames)
        if ids is not None:
            request_ids = ids.take(pa.array(starts)).fill_null("")
        timed = self._wanted.time is not None
        head = pa.table(
            {
                "model": _repeated(self._model, frames),
                "version": pa.array(np.full(frames, self._wanted.version)),
                "arrival_us": pa.array(us),
                "status": pa.array(np.full(frames, _ANSWERED)),
                "rows": pa.array(counts),
                "request_id": request_ids,
                "signature": _repeated("", frames),
                "alias": _repeated("", frames),
                "arm": _repeated("", frames),
                "event_us": pa.array(us) if timed else pa.nulls(frames, pa.int64()),
                "latency_us": pa.array(np.zeros(frames, np.int64)),
                "sample_rate": pa.array(np.ones(frames)),
                "error": _repeated("", frames),
            }
        )
        nothing = [b""] * frames
        return FrameBlock(
            number, np.full(frames, KIND_CODES[FrameKind.LOGGED], np.uint8),
            np.full(frames, BODY_CODES[Body.ROWS], np.uint8), np.zeros(frames, bool),
            head, nothing, nothing,
        )  # fmt: skip


_US = "\0event_us"  # no column of a file is called so


def _runs(ids: pa.Array) -> np.ndarray:
    """Where each run of equal ids begins, int64; a missing id is a run of its own."""
    if len(ids) < 2:
        return np.arange(len(ids))
    same = pc.fill_null(pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1)), False)
    return np.flatnonzero(np.append(True, ~np.asarray(same)))


def _texts(column: pa.ChunkedArray) -> pa.Array:
    """Request ids as texts; an empty one is none."""
    whole = _whole(column)
    texts = whole if pa.types.is_string(whole.type) else whole.cast(pa.string())
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _repeated(text: str, rows: int) -> pa.Array:
    return pa.array([text], pa.string()).take(pa.array(np.zeros(rows, np.int64)))


def _all_null(table: pa.Table) -> np.ndarray:
    rows = np.ones(table.num_rows, bool)
    for column in table.columns:
        if not column.null_count:
            return np.zeros(table.num_rows, bool)
        rows &= np.asarray(column.is_null())
    return rows


def _json(table: pa.Table, row: int) -> str:
    """A row as JSON text, as it came."""
    values = {name: table.column(name)[row].as_py() for name in table.column_names}
    present = {name: value for name, value in values.items() if value is not None}
    return encodable(json.dumps(present, default=_plain, ensure_ascii=False))


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value.isoformat() if isinstance(value, datetime) else str(value)


def outputs_of(predictions: Sequence[str]) -> dict[str, str]:
    """``COLUMN`` or ``OUTPUT=COLUMN``, as users give them: output → column. One column without a
    name is the output of a model with a single one.

    >>> outputs_of(["score"]), outputs_of(["p=score", "class"])
    ({'outputs': 'score'}, {'p': 'score', 'class': 'class'})
    """
    named = [each.partition("=") for each in predictions]
    found = {name: column if sign else name for name, sign, column in named}
    if len(found) == 1 and not named[0][1]:
        return {UNNAMED_OUTPUT: named[0][0]}
    return found
