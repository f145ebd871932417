"""Partial profiles of captured rows, per window, version and arm; and the merge of a window's.

What a profile counts of a table of rows (the columns of docs/capture.md):

- *answered* rows (status 200) that are no shadow duplicates, wholly;
- of rows that were refused for what they said (status 400) what was wrong with them, and nothing
  else: a variable that was absent or null although the InputSpec does not call it optional counts
  as a row where it is missing, a value that is not of the declared type as a type error. What was
  right in them is not counted, nor is it trained on. So clients who stop sending a variable show in
  its missing rate, however strict the model is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial, reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, select

from trueup.datasets.columns import coerce, is_list, leaf_type
from trueup.monitor.capture.event_time import moment_of
from trueup.monitor.capture.row_schema import INPUT
from trueup.monitor.capture.set_aside import in_parts
from trueup.profile.build import ProfileBuilder, profile_batches, profiled, sized
from trueup.profile.codec import dumps, loads
from trueup.profile.edges import Edges
from trueup.profile.states import FeatureState, Profile
from trueup.records.keys import WindowKey
from trueup.store.tables import profiles

ANSWERED, REFUSED = 200, 400
"""HTTP status of rows that count, and of those whose faults count."""


MOST_OPEN = 32
"""Profiles that are under construction at once; the others wait as bytes, which are much smaller
(rows of a year have thousands of windows)."""


@dataclass(frozen=True)
class Partial:
    """The profile of one source's rows in one window, of one version and arm.

    :param data: as :func:`trueup.profile.codec.dumps` writes it. :param rows: that it counts.
    """

    window: WindowKey
    version: int
    arm: str
    edges_id: str
    rows: int
    data: bytes


@dataclass(frozen=True)
class _Group:
    window: int
    version: int
    arm: str


class PartialsBuilder:
    """Partial profiles under construction, from tables of rows.

    :param length: of a window, whole seconds.
    """

    def __init__(self, edges: Edges, length: timedelta) -> None:
        self._edges, self._length = edges, length
        self._open: dict[_Group, Profile] = {}
        self._sealed: dict[_Group, bytes] = {}
        self._faults: dict[_Group, _Faults] = {}
        self._first: _Group | None = None
        self.left_out = 0
        """Rows that could not be counted."""
        self._why = ""

    def sentence(self, model: str) -> str:
        """On what was left out."""
        return (
            f"{self.left_out:,} rows of {model} are in the capture and in no profile, for they "
            f"cannot be counted: {self._why}"
        )

    def add(self, table: pa.Table) -> None:
        """Count the rows of ``table``, which need not be in any order."""
        counted = pc.and_(
            pc.invert(table.column("shadow")),
            pc.is_in(table.column("status"), value_set=pa.array([ANSWERED, REFUSED])),
        )
        for group, rows in self._groups(table):
            if self._first is None or _in_order(group) < _in_order(self._first):
                self._first = group
            mask = counted.take(rows) if rows is not None else counted
            chosen = table if rows is None else table.take(rows)
            if not pc.all(mask).as_py():
                chosen = chosen.filter(mask)
            if chosen.num_rows:
                self._count(group, chosen)
            while len(self._open) > MOST_OPEN:
                self._seal(next(iter(self._open)))

    def partials(self) -> list[Partial]:
        """One per group that had rows which count. Where none had, an empty one, so that it can be
        seen that this source is done. The builder is used up."""
        for group in list(self._open):
            self._seal(group)
        groups = self._sealed.keys() | {g for g, faults in self._faults.items() if faults}
        if not groups and self._first is not None:
            groups = {self._first}
        return [self._partial(group) for group in sorted(groups, key=_in_order)]

    def _seal(self, group: _Group) -> None:
        profile = self._open.pop(group)
        before = self._sealed.get(group)
        if before is not None:
            profile = loads(before, self._edges).merge(profile)
        self._sealed[group] = dumps(profile)

    def _groups(self, table: pa.Table) -> Iterator[tuple[_Group, pa.Array | None]]:
        """Each group with the places of its rows; ``None`` for all of them."""
        if not table.num_rows:
            return
        event = pc.cast(table.column("event_time"), pa.int64()).to_numpy()
        window = np.floor_divide(event, self._length // timedelta(microseconds=1))
        version = table.column("version").to_numpy()
        arm = table.column("arm").combine_chunks().dictionary_encode()
        arms, arm_codes = arm.dictionary.to_pylist(), arm.indices.to_numpy()
        keys = np.stack([window, version, arm_codes], axis=1)
        if (keys == keys[0]).all():
            yield _Group(int(window[0]), int(version[0]), arms[arm_codes[0]]), None
            return
        found, place = np.unique(keys, axis=0, return_inverse=True)
        order = np.argsort(place.reshape(-1), kind="stable")
        ends = np.cumsum(np.bincount(place.reshape(-1), minlength=len(found)))
        for key, rows in zip(found.tolist(), np.split(order, ends[:-1]), strict=True):
            yield _Group(key[0], key[1], arms[key[2]]), pa.array(rows)

    def _count(self, group: _Group, table: pa.Table) -> None:
        answered = pc.equal(table.column("status"), ANSWERED)
        refused = None
        if not pc.all(answered).as_py():
            refused = table.filter(pc.and_(pc.invert(answered), table.column("readable")))
            table = table.filter(answered)
        faults = self._faults.setdefault(group, _Faults())
        if table.num_rows:
            in_parts(table, partial(self._count_answered, group), _rows_halved, self._leave_out)
        if refused is not None and refused.num_rows:
            faults.add_refused(refused, self._edges)

    def _count_answered(self, group: _Group, table: pa.Table) -> None:
        builder = ProfileBuilder(self._edges)
        for batch in sized(profiled_batches(table)):
            builder.add(batch)
        profile, before = builder.profile(), self._open.get(group)
        self._open[group] = profile if before is None else before.merge(profile)
        self._faults[group].add_answered(table)

    def _leave_out(self, table: pa.Table, error: Exception) -> None:
        self.left_out += table.num_rows
        self._why = self._why or f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"

    def _partial(self, group: _Group) -> Partial:
        data, faults = self._sealed.get(group), self._faults.get(group)
        profile = profile_batches((), self._edges) if data is None else loads(data, self._edges)
        if faults:
            profile, data = faults.corrected(profile), None
        start = moment_of(group.window * (self._length // timedelta(microseconds=1)))
        return Partial(
            WindowKey(start, self._length), group.version, group.arm, self._edges.edges_id,
            profile.rows, dumps(profile) if data is None else data,
        )  # fmt: skip


def _rows_halved(table: pa.Table) -> tuple[pa.Table, pa.Table] | None:
    middle = table.num_rows // 2
    return (table.slice(0, middle), table.slice(middle)) if middle else None


def _in_order(group: _Group) -> tuple[int, int, str]:
    return group.window, group.version, group.arm


def profiled_batches(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """The inputs of rows under their own names, as a profile takes them."""
    names = [name for name in table.column_names if name.startswith(INPUT)]
    for batch in table.select(names).combine_chunks().to_batches() if names else ():
        arrays = [_flat(column) for column in batch.columns]
        yield pa.RecordBatch.from_arrays(arrays, names=[name[len(INPUT) :] for name in names])
    if not names and table.num_rows:
        empty = pa.StructArray.from_buffers(pa.struct([]), table.num_rows, [None])
        yield pa.RecordBatch.from_struct_array(empty)


def table_of(batch: pa.RecordBatch) -> pa.Table:
    """One batch as a table."""
    return pa.Table.from_batches([batch])


def _flat(array: pa.Array) -> pa.Array:
    """Lists of lists as lists."""
    return coerce(array, leaf_type(array.type)) if is_list(array.type) else array


class _Faults:
    """What was wrong, by variable: type errors of answered rows, and all of refused ones."""

    def __init__(self) -> None:
        self._answered: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()

    def __bool__(self) -> bool:
        counters = (self._answered, self._errors, self._missing)
        return any(any(counter.values()) for counter in counters)

    def add_answered(self, table: pa.Table) -> None:
        self._answered.update(_type_errors(table))

    def add_refused(self, table: pa.Table, edges: Edges) -> None:
        errors = _type_errors(table)
        self._errors.update(errors)
        for variable in profiled(edges.spec):
            if variable.optional:
                continue
            name = INPUT + variable.name
            there = name in table.column_names
            nulls = table.column(name).null_count if there else table.num_rows
            self._missing[variable.name] += nulls - errors[variable.name]

    def corrected(self, profile: Profile) -> Profile:
        """``profile``, in which misfits are counted as missing, with what is known better."""
        features = {name: self._state(name, state) for name, state in profile.features.items()}
        return replace(profile, features=features)

    def _state(self, name: str, state: FeatureState) -> FeatureState:
        moved, errors, missing = self._answered[name], self._errors[name], self._missing[name]
        if not (moved or errors or missing):
            return state
        return replace(
            state,
            rows=state.rows + errors + missing,
            missing=state.missing - moved + missing,
            type_errors=state.type_errors + moved + errors,
        )


def _type_errors(table: pa.Table) -> Counter[str]:
    """In how many rows each variable has a value that does not fit."""
    named = table.column("type_errors")
    if named.null_count == table.num_rows:
        return Counter()
    counts = pc.value_counts(pc.list_flatten(named)).to_pylist()
    return Counter({each["values"]: each["counts"] for each in counts})


def window_profile(
    connection: Connection,
    model: str,
    window: WindowKey,
    edges: Edges,
    *,
    version: int | None = None,
    arm: str | None = None,
) -> Profile:
    """The profile of one window: the merge of its partials (an empty profile where there are none).

    :param version, arm: only rows of these.
    """
    table = profiles.c
    wanted = [
        table.model == model, table.window_start == window.start,
        table.window_seconds == int(window.length.total_seconds()),
        table.edges_id == edges.edges_id,
    ]  # fmt: skip
    if version is not None:
        wanted.append(table.version == version)
    if arm is not None:
        wanted.append(table.arm == arm)
    order = (table.source, table.version, table.arm)
    found = connection.execute(select(table.profile).where(*wanted).order_by(*order))
    return merged((loads(data, edges) for (data,) in found), edges)


def windows_between(
    connection: Connection,
    model: str,
    edges: Edges,
    length: timedelta,
    start: datetime,
    end: datetime,
) -> list[WindowKey]:
    """The windows in ``[start, end)`` that have a profile, in order."""
    table = profiles.c
    found = connection.execute(
        select(table.window_start)
        .where(
            table.model == model, table.edges_id == edges.edges_id,
            table.window_seconds == int(length.total_seconds()),
            table.window_start >= start, table.window_start < end,
        )
        .distinct()
        .order_by(table.window_start)
    )  # fmt: skip
    return [WindowKey(moment, length) for (moment,) in found]


def merged(parts: Iterable[Profile], edges: Edges) -> Profile:
    """One profile of all ``parts``."""
    return reduce(Profile.merge, parts, profile_batches((), edges))
