"""The two sides of a join, labels and captured rows, as references by each way of naming a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from trueup.monitor.capture.labels_files import LabelFile
from trueup.monitor.capture.labels_match import Held
from trueup.monitor.capture.labels_refs import By, key_refs, request_refs

INPUT = "in."
FIRST_REFUSAL = 400
"""HTTP status from which an attempt was not answered with predictions."""


class Way(NamedTuple):
    """By what rows are named; of a key, its columns as a JSON array of sorted names."""

    by: By
    key: str = "[]"

    @property
    def variables(self) -> list[str]:
        return [str(name) for name in orjson.loads(self.key)]


def ways_of(files: Iterable[LabelFile], *, direct: bool = True) -> list[Way]:
    """The ways in which labels of these files name their rows.

    :param direct: with those by row id, which at most one row has.
    """
    found: dict[Way, None] = {}
    for file in files:
        by = file.details.get("by", {})
        if direct and By.ROW.value in by:
            found[Way(By.ROW)] = None
        if By.REQUEST.value in by:
            found[Way(By.REQUEST)] = None
        for key in file.details.get("keys", ()):
            found[Way(By.KEY, key)] = None
    return list(found)


def row_columns(ways: Iterable[Way]) -> list[str]:
    """Columns of captured rows that a join by ``ways`` reads."""
    columns = ["row_id", "event_time", "shadow", "status"]
    for way in ways:
        if way.by is By.REQUEST:
            columns += ["request_id", "row"]
        columns += [f"{INPUT}{name}" for name in way.variables]
    return list(dict.fromkeys(columns))


def refs_of_rows(rows: pa.Table, ways: Iterable[Way]) -> dict[Way, pa.Array]:
    """References of captured ``rows``; null where a row has none.

    Attempts that were refused have none but their row id: the retry that was answered has the
    request id and the key as well, and the label is its.
    """
    answered = pc.less(_column(rows, "status"), FIRST_REFUSAL)
    found = {}
    for way in ways:
        if way.by is By.ROW:
            found[way] = _column(rows, "row_id")
            continue
        if way.by is By.REQUEST:
            refs = request_refs(_column(rows, "request_id"), _column(rows, "row"))
        else:
            refs = key_refs([_scalars(rows, f"{INPUT}{name}") for name in way.variables])
        found[way] = pc.if_else(answered, refs, pa.scalar(None, pa.string()))
    return found


def refs_of_labels(labels: pa.Table, ways: Iterable[Way]) -> dict[Way, pa.Array]:
    """References of ``labels``, by each way; null in those of other ways."""
    by, key, ref = (_column(labels, name) for name in ("by", "key", "ref"))
    nothing = pa.scalar(None, pa.string())
    return {
        way: pc.if_else(pc.and_(pc.equal(by, way.by.value), pc.equal(key, way.key)), ref, nothing)
        for way in ways
    }


class HeldSide:
    """One side's references, held to be looked up."""

    def __init__(self, refs: Mapping[Way, pa.Array]) -> None:
        self._held = {way: Held(each) for way, each in refs.items()}

    def pairs(self, refs: Mapping[Way, pa.Array]) -> tuple[np.ndarray, np.ndarray]:
        """Equal references: places in this side, and in the other; int64, both ``(k,)``."""
        ours, theirs = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for way, each in refs.items():
            if way in self._held:
                mine, other = self._held[way].pairs(each)
                ours.append(mine)
                theirs.append(other)
        return np.concatenate(ours), np.concatenate(theirs)


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else _combined(column)


def _combined(column: pa.ChunkedArray) -> pa.Array:
    if not column.num_chunks:
        return pa.array([], column.type)
    return pa.concat_arrays(column.chunks)


def _scalars(rows: pa.Table, name: str) -> pa.Array:
    """A key column; null where it is not there, or holds lists."""
    if name not in rows.column_names:
        return pa.nulls(rows.num_rows, pa.string())
    column = _column(rows, name)
    return pa.nulls(rows.num_rows, pa.string()) if pa.types.is_list(column.type) else column
