"""Rows in, profile out: the pass that counts a data set or a window against frozen edges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from trueup.profile.cast import Numbers
from trueup.profile.comoments import CoMomentBuilder
from trueup.profile.edges import Edges, FeatureEdges
from trueup.profile.feature import FeatureBuilder
from trueup.profile.states import Profile
from trueup.records.input_spec import InputSpec, Role, Variable

MOST_ROWS = 1 << 16
"""Rows of a batch that are looked at together."""

_FEWEST_ROWS = 1 << 13  # smaller batches are put together first: a call per column costs the same


def profiled(spec: InputSpec) -> tuple[Variable, ...]:
    """The variables a profile keeps: what is compared, and the event time."""
    return tuple(v for v in spec.variables if v.compared or v.role is Role.TIME)


def profile_batches(
    batches: Iterable[pa.RecordBatch], edges: Edges, schema: pa.Schema | None = None
) -> Profile:
    """Profile of all rows of ``batches``, counted against ``edges``.

    :param schema: columns that the data set has; without it, those of its batches.
    """
    builder = ProfileBuilder(edges)
    if schema is not None:
        builder.note_schema(schema)
    for batch in sized(batches):
        builder.add(batch)
    return builder.profile()


class ProfileBuilder:
    """A :class:`Profile` under construction, one record batch after the other."""

    def __init__(self, edges: Edges) -> None:
        self._edges = edges
        self._features = {
            variable.name: FeatureBuilder(
                variable, edges.features.get(variable.name, FeatureEdges())
            )
            for variable in profiled(edges.spec)
        }
        self._known = {variable.name for variable in edges.spec.variables}
        self._comoments = CoMomentBuilder(edges)
        self._rows = 0
        self._columns: dict[str, str] | None = None

    def note_schema(self, schema: pa.Schema) -> None:
        """Take note of which columns the data has, with or without rows."""
        if self._columns is None:
            self._columns = {}
        for field in schema:
            if not pa.types.is_null(field.type):
                self._columns[field.name] = str(field.type)
            else:
                self._columns.setdefault(field.name, str(field.type))

    def add(self, batch: pa.RecordBatch) -> None:
        self.note_schema(batch.schema)
        self._rows += batch.num_rows
        index = {name: i for i, name in enumerate(batch.schema.names)}
        numbers: dict[str, Numbers] = {}
        paired = set(self._comoments.names)
        for name, feature in self._features.items():
            if name not in index:
                feature.add_absent(batch.num_rows)
                continue
            found = feature.add(batch.column(index[name]))
            if found is not None and name in paired:
                numbers[name] = found
        self._comoments.add(batch.num_rows, numbers)

    def profile(self) -> Profile:
        """What was counted; the builder is used up."""
        columns = self._columns
        absent = [v.name for v in self._edges.spec.variables if columns and v.name not in columns]
        extra = [(name, kind) for name, kind in (columns or {}).items() if name not in self._known]
        return Profile(
            self._edges,
            self._rows,
            {name: feature.state() for name, feature in self._features.items()},
            self._comoments.comoments(),
            frozenset(absent),
            tuple(sorted(extra)),
        )


def sized(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches that suit the kernels: few enough to stay in the cache, enough to
    be worth a call per column."""
    small: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if small and (batch.num_rows >= _FEWEST_ROWS or batch.schema != small[0].schema):
            yield from _joined(small)
            small, rows = [], 0
        if batch.num_rows >= _FEWEST_ROWS or not batch.num_columns:
            for start in range(0, batch.num_rows, MOST_ROWS):
                yield batch.slice(start, MOST_ROWS)
            continue
        small.append(batch)
        rows += batch.num_rows
        if rows >= _FEWEST_ROWS:
            yield from _joined(small)
            small, rows = [], 0
    if small:
        yield from _joined(small)


def _joined(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    if len(batches) == 1:
        yield batches[0]
        return
    yield from pa.Table.from_batches(batches).combine_chunks().to_batches()
