"""The labelled capture as a source of training data: fresh rows whose labels are mature.

Rows are copied out of the capture into one Parquet file of the job, under the names of the raw
variables: compaction, retention and ``trueup forget`` may go on meanwhile, and what was trained on
is what is in the file.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Engine, select

from trueup.config.settings import Settings
from trueup.datasets.columns import TIME, coerce, leaf_type, unify
from trueup.datasets.nested import some
from trueup.datasets.open import open_dataset
from trueup.monitor.capture.labels_files import LABEL
from trueup.monitor.capture.labels_items import DEFAULT_NAME
from trueup.monitor.capture.labels_read import labels_of
from trueup.monitor.capture.read import Capture, read_capture
from trueup.monitor.capture.row_schema import INPUT
from trueup.monitor.capture.watermark import watermark_of
from trueup.monitor.capture.window_profiles import ANSWERED
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading
from trueup.store.tables import ManifestKind, manifest
from trueup.trainer.data.sources import Source
from trueup.trainer.data.splits import NO_LABEL

SHADOW = "shadow duplicate"
REFUSED = "refused request"
_LEFT_OUT = (SHADOW, REFUSED, NO_LABEL)

_GROUP_ROWS = 1 << 16
_NEEDED = ("event_time", "shadow", "status", "readable")
_TICKS = {"s": 1_000_000, "ms": 1_000, "us": 1}


@dataclass(frozen=True)
class CaptureWish:
    """What is wanted of the capture.

    :param label: the variable that labels are of. :param time: the variable that is to hold the
        event time, if any; ``time_type`` and ``time_unit``: how other sources write it.
    :param start: rows from here on.
    :param variables: those that are wanted; all when absent. What clients send besides is not what
        the other data have, and is left out with a note.
    """

    model: str
    label: str
    time: str | None = None
    time_type: pa.DataType = TIME
    time_unit: str = ""
    start: datetime | None = None
    variables: frozenset[str] | None = None

    def wants(self, variable: str) -> bool:
        return self.variables is None or variable in self.variables


@dataclass(frozen=True)
class CapturedRows:
    """:param source: absent where there are none; ``notes`` say why. :param mature_before: rows
    from here on have no mature label yet."""

    source: Source | None
    notes: tuple[str, ...] = ()
    mature_before: datetime | None = None


def captured_rows(
    settings: Settings,
    engine: Engine,
    blobs: BlobRoot,
    wish: CaptureWish,
    folder: Path,
    now: datetime,
) -> CapturedRows:
    """Answered, labelled rows of ``wish.model`` that are no shadows, with event times from
    ``wish.start`` until the watermark less the model's ``label_delay``.

    :param folder: an empty one that holds the rows as long as they are used.
    """
    windows = settings.model(wish.model).windows
    with reading(engine) as connection:
        seen = watermark_of(connection, settings, wish.model, now)
    if seen is None:
        return CapturedRows(None, (f"nothing of {wish.model} is in the capture",))
    end = seen - windows.label_delay
    until = f"{end.astimezone(timezone.utc):%Y-%m-%d %H:%M}"
    if wish.start is not None and wish.start >= end:
        return CapturedRows(
            None, (f"no captured row of {wish.model} is fresh and has a mature label: labels are "
            f"mature before {until}",), end,
        )  # fmt: skip
    labels = labels_of(engine, blobs, wish.model, wish.start, end)
    named = [f"{LABEL}{name}" for name in dict.fromkeys((wish.label, DEFAULT_NAME))]
    known = [name for name in named if name in labels.schema.names]
    capture = read_capture(engine, blobs, wish.model, wish.start, end, labels=labels)
    known += [name for name in (f"{INPUT}{wish.label}",) if name in capture.schema.names]
    if not known:
        return CapturedRows(
            None,
            (f"captured rows of {wish.model} until {until} have no label {wish.label!r}",),
            end,
        )
    sent = [name for name in capture.schema.names if name.startswith(INPUT)]
    inputs = [name for name in sent if wish.wants(name.removeprefix(INPUT))]
    columns = list(dict.fromkeys((*_NEEDED, *known, *inputs)))
    capture = read_capture(
        engine, blobs, wish.model, wish.start, end, columns=columns, labels=labels
    )
    writer = _Copy(wish, known, capture)
    kept = writer.copy(folder / "captured.parquet")
    if not kept:
        why = ", ".join(f"{reason}: {count:,}" for reason, count in writer.left_out.items())
        return CapturedRows(
            None,
            (f"no captured row of {wish.model} until {until} can be trained on ({why})",),
            end,
        )
    since = "" if wish.start is None else f" from {wish.start:%Y-%m-%d %H:%M}"
    source = Source(
        "capture",
        f"capture of {wish.model}{since} until {until}",
        open_dataset(folder / "captured.parquet", name=f"the capture of {wish.model}"),
        _fingerprint(engine, wish, end),
        dict(writer.left_out),
    )
    return CapturedRows(source, _besides(sent, inputs, wish), end)


def _besides(sent: Sequence[str], inputs: Sequence[str], wish: CaptureWish) -> tuple[str, ...]:
    names = [name.removeprefix(INPUT) for name in sent if name not in inputs]
    names = [name for name in names if name not in (wish.label, wish.time)]
    if not names:
        return ()
    return (
        f"captured rows of {wish.model} have {some(names)}, which the other data lack: left out",
    )


class _Copy:
    """Rows on their way from the capture into a file."""

    def __init__(self, wish: CaptureWish, labels: Sequence[str], capture: Capture) -> None:
        self._wish, self._labels, self._capture = wish, labels, capture
        self.left_out: Counter[str] = Counter()
        kinds = [leaf_type(capture.schema.field(name).type) for name in labels]
        self._label_type = kinds[0]
        for kind in kinds[1:]:
            self._label_type = unify(self._label_type, kind)[0]
        self._inputs = [
            name
            for name in capture.schema.names
            if name.startswith(INPUT) and name.removeprefix(INPUT) not in (wish.label, wish.time)
        ]

    def copy(self, path: Path) -> int:
        """Write the rows that can be trained on; how many there are."""
        rows = 0
        writer: pq.ParquetWriter | None = None
        try:
            for table in self._gathered():
                if writer is None:
                    writer = pq.ParquetWriter(path, table.schema, compression="zstd", version="2.6")
                writer.write_table(table, row_group_size=_GROUP_ROWS)
                rows += table.num_rows
        finally:
            if writer is not None:
                writer.close()
        return rows

    def _gathered(self) -> Iterator[pa.Table]:
        """Rows that can be trained on, some ten thousand at once."""
        waiting: list[pa.Table] = []
        rows = 0
        for batch in self._capture.batches():
            table = self._usable(pa.Table.from_batches([batch]))
            if table.num_rows:
                waiting.append(table)
                rows += table.num_rows
            if rows >= _GROUP_ROWS:
                yield pa.concat_tables(waiting)
                waiting, rows = [], 0
        if waiting:
            yield pa.concat_tables(waiting)

    def _usable(self, table: pa.Table) -> pa.Table:
        found = [
            coerce(table.column(name).combine_chunks(), self._label_type) for name in self._labels
        ]
        label = found[0] if len(found) == 1 else pc.coalesce(*found)
        answered = pc.and_(pc.equal(table.column("status"), ANSWERED), table.column("readable"))
        wrong = (table.column("shadow"), pc.invert(answered), label.is_null())
        codes = np.zeros(table.num_rows, np.int8)
        for code, mask in enumerate(wrong, start=1):
            codes[(codes == 0) & np.asarray(mask)] = code
        counts = np.bincount(codes, minlength=len(wrong) + 1).tolist()
        self.left_out.update(
            {reason: n for reason, n in zip(_LEFT_OUT, counts[1:], strict=True) if n}
        )
        columns = {name.removeprefix(INPUT): table.column(name) for name in self._inputs}
        if self._wish.time is not None:
            columns[self._wish.time] = self._times(table.column("event_time").combine_chunks())
        columns[self._wish.label] = label
        return pa.table(columns).filter(pa.array(codes == 0))

    def _times(self, times: pa.Array) -> pa.Array:
        """Event times as other sources write them."""
        kind, unit = self._wish.time_type, self._wish.time_unit
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            return coerce(times, kind) if pa.types.is_string(kind) else times
        micros = times.cast(pa.int64()).to_numpy()
        ticks = micros * 1000 if unit == "ns" else micros // _TICKS.get(unit or "s", 1_000_000)
        return pa.array(ticks).cast(kind)


def _fingerprint(engine: Engine, wish: CaptureWish, end: datetime) -> str:
    """Of the files of rows and labels in that time."""
    kinds = (ManifestKind.ROWS.value, ManifestKind.LABELS.value)
    chosen = select(manifest.c.sha256).where(
        manifest.c.model == wish.model, manifest.c.kind.in_(kinds), manifest.c.first_event_at < end
    )
    if wish.start is not None:
        chosen = chosen.where(manifest.c.last_event_at >= wish.start)
    found = hashlib.sha256()
    with reading(engine) as connection:
        for (sha256,) in connection.execute(chosen.order_by(manifest.c.id)):
            found.update(sha256.encode())
    return found.hexdigest()
