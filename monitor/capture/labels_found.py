"""Pairs of labels and rows of one run: kept on disk until all are known, judged, then written.

A key whose value has several different labels and several rows is refused: nobody could say which
label is whose. That is known only when all its rows were seen, so pairs wait in a temporary file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from trueup.monitor.capture.labels_files import RESOLVED
from trueup.monitor.capture.labels_items import WAITING
from trueup.monitor.capture.labels_refs import By
from trueup.monitor.capture.labels_rules import Cardinality, cardinality_of

_KEY = ["key", "ref"]


class FoundPairs:
    """Pairs, in a temporary file that goes with this object; and what decides on keys."""

    def __init__(self) -> None:
        with NamedTemporaryFile(prefix="trueup-labels-", delete=False) as file:
            self._path = Path(file.name)
        self._writer = pa.ipc.new_file(str(self._path), RESOLVED)
        self._labels: list[pl.DataFrame] = []
        self._rows: list[pl.DataFrame] = []
        self.count = 0

    def __enter__(self) -> FoundPairs:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(Exception):  # closing twice, after a failure
            self._writer.close()
        self._path.unlink(missing_ok=True)

    def add(self, labels: pa.Table, rows: pa.Table) -> None:
        """Pairs: both tables have the same number of rows."""
        self.count += labels.num_rows
        pairs = pa.Table.from_arrays(
            [*(rows.column(name) for name in RESOLVED.names[:3]),
             *(labels.column(name) for name in WAITING.names)],
            schema=RESOLVED,
        )  # fmt: skip
        self._writer.write_table(pairs)
        keyed = pairs.filter(pc.equal(pairs.column("by"), By.KEY.value))
        if keyed.num_rows:
            self.note_labels(keyed)
            self.note_rows(keyed)

    def note_labels(self, labels: pa.Table) -> None:
        """Labels by key that count in their key's cardinality."""
        _gather(self._labels, labels, "label")

    def note_rows(self, rows: pa.Table) -> None:
        """Rows with a key that count in its cardinality; shadows of rows do not."""
        _gather(self._rows, rows.filter(pc.invert(rows.column("shadow"))), "row_id")

    def judge(self) -> Verdicts:
        """Of all keys, when all pairs are in."""
        self._writer.close()
        labels, rows = _counted(self._labels, "label"), _counted(self._rows, "row_id")
        both = labels.join(rows, on=_KEY, how="inner")
        verdicts = Verdicts()
        refused = both.filter((pl.col("label") > 1) & (pl.col("row_id") > 1))
        verdicts.refused = refused.select(_KEY)
        kinds = both.select("key", pl.col("label").clip(0, 2), pl.col("row_id").clip(0, 2))
        for key, many_labels, many_rows in kinds.unique().sort("key").iter_rows():
            verdicts.found.setdefault(key, set()).add(cardinality_of(many_labels, many_rows))
        return verdicts

    def kept(self, verdicts: Verdicts) -> Iterator[pa.Table]:
        """The pairs that are not refused, with columns ``RESOLVED``."""
        with pa.memory_map(str(self._path)) as source:
            reader = pa.ipc.open_file(source)
            for index in range(reader.num_record_batches):
                batch = pa.Table.from_batches([reader.get_batch(index)])
                yield batch.filter(pc.invert(verdicts.refuses(batch)))


@dataclass
class Verdicts:
    """Of a join by key.

    :param refused: key columns and reference of each that is many-to-many.
    :param found: by key columns, which cardinalities its values have.
    """

    refused: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(schema=dict.fromkeys(_KEY, pl.String))
    )
    found: dict[str, set[Cardinality]] = field(default_factory=dict)

    def refuses(self, labels: pa.Table) -> pa.Array:
        """Which of ``labels`` are refused, bool ``(n,)``."""
        if not len(self.refused):
            return pa.array(np.zeros(labels.num_rows, bool))
        refused = pa.array(sorted({ref for _, ref in self.refused.iter_rows()}), pa.string())
        maybe = pc.and_(
            pc.equal(labels.column("by"), By.KEY.value),
            pc.is_in(labels.column("ref"), value_set=refused),
        )
        return _combined(maybe) if not self._ambiguous else self._exactly(labels, maybe)

    @property
    def _ambiguous(self) -> bool:
        """Whether labels name rows by several sets of key columns."""
        return len(self.found) > 1

    def _exactly(self, labels: pa.Table, maybe: Any) -> pa.Array:
        known = {(key, ref) for key, ref in self.refused.iter_rows()}
        pairs = zip(labels.column("key").to_pylist(), labels.column("ref").to_pylist(), strict=True)
        sure = pa.array([pair in known for pair in pairs], pa.bool_())
        return _combined(pc.and_(maybe, sure))


def _combined(column: Any) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column


def _gather(into: list[pl.DataFrame], table: pa.Table, what: str) -> None:
    frame = pl.from_arrow(table.select([*_KEY, what]))
    assert isinstance(frame, pl.DataFrame)
    into.append(frame.unique())
    if len(into) >= 64:
        into[:] = [pl.concat(into).unique()]


def _counted(parts: list[pl.DataFrame], what: str) -> pl.DataFrame:
    schema = {**dict.fromkeys(_KEY, pl.String), what: pl.String}
    whole = pl.concat(parts) if parts else pl.DataFrame(schema=schema)
    return whole.unique().group_by(_KEY).agg(pl.col(what).len())
