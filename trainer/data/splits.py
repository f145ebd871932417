"""Who may see a row: training, tuning, the gate alone, or nobody, and why.

The gate's rows are the newest ``gate_period``, and at all times those of a share of keys that is
held out for ever: an entity is on one side of that line in every later training, also when there
are more rows, for the line is drawn by a hash of its key. What is older is trained on but for its
newest share, which is for early stopping and tuning. Without event times all is decided by hash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from trueup.profile.arrow import plain_values, validity
from trueup.records.input_spec import InputSpec, Variable
from trueup.records.training import Split
from trueup.trainer.data.event_times import microseconds
from trueup.trainer.data.row_hash import hashes_of_keys, hashes_of_rows, shares

SPLITS = (Split.TRAIN, Split.TUNE, Split.GATE)

NO_LABEL = "label is missing"
NO_NUMBER = "label is not finite"
NO_TIME = "event time is missing"
FUTURE = "event time is in the future"
BEFORE = "before since"
AFTER = "from until on"
QUARANTINED = "quarantined"

REASONS = (NO_LABEL, NO_NUMBER, NO_TIME, FUTURE, BEFORE, AFTER, QUARANTINED)
"""Why a row is in no split; of several reasons the first counts."""

FIRST_REASON = len(SPLITS)


@dataclass(frozen=True)
class Quarantine:
    """An interval of event time ``[start, end)`` in which a feature was broken.

    :param feature: empty where it is not one feature that was.
    """

    feature: str
    start: datetime
    end: datetime


@dataclass(frozen=True)
class SplitRule:
    """Where each row belongs. Times are microseconds since 1970.

    :param label, time: variables; ``time`` is absent where splits are by hash.
    :param now: rows from later than this are not believed.
    :param cut, tune_cut: rows from here on are the gate's, and for tuning; ``None`` before they
        are known (:meth:`usable` does not need them).
    :param broken: intervals whose rows nobody sees, ``((start, end), …)``.
    """

    label: str
    time: str | None
    keys: tuple[str, ...]
    gate_share: float
    tune_share: float
    now: int
    cut: int | None = None
    tune_cut: int | None = None
    since: int | None = None
    until: int | None = None
    broken: tuple[tuple[int, int], ...] = ()

    def usable(self, columns: Mapping[str, pa.Array]) -> tuple[np.ndarray, np.ndarray]:
        """Which rows can be used at all: 0, or ``FIRST_REASON +`` the place of the reason why not;
        int8. And event times in microseconds (0 where there is none), int64. Both ``(rows,)``.

        :param columns: label and time at least, as declared.
        """
        label = columns[self.label]
        rows = len(label)
        codes = np.zeros(rows, np.int8)
        times = np.zeros(rows, np.int64)
        valid = _there(label)
        _mark(codes, ~valid, NO_LABEL)
        if pa.types.is_floating(label.type):
            _mark(codes, valid & ~np.isfinite(plain_values(label)), NO_NUMBER)
        if self.time is None:
            return codes, times
        known = _there(columns[self.time])
        times = np.where(known, plain_values(columns[self.time].view(pa.int64())), 0)
        _mark(codes, ~known, NO_TIME)
        _mark(codes, times > self.now, FUTURE)
        if self.since is not None:
            _mark(codes, times < self.since, BEFORE)
        if self.until is not None:
            _mark(codes, times >= self.until, AFTER)
        for start, end in self.broken:
            _mark(codes, (times >= start) & (times < end), QUARANTINED)
        return codes, times

    def assign(self, columns: Mapping[str, pa.Array]) -> tuple[np.ndarray, np.ndarray]:
        """The split of each row by its place in :data:`SPLITS`, or its reason as in
        :meth:`usable`; int8. And its event time; int64. Both ``(rows,)``.

        :param columns: all variables, as declared.
        """
        codes, times = self.usable(columns)
        hashes = self.hashes(columns)
        gate = shares(hashes, "gate") < self.gate_share
        if self.time is None:
            tune = shares(hashes, "tune") < self.tune_share
        else:
            if self.cut is None or self.tune_cut is None:
                raise ValueError("a rule by time needs its cuts")
            gate |= times >= self.cut
            tune = times >= self.tune_cut
        found = np.where(gate, SPLITS.index(Split.GATE), np.where(tune, 1, 0)).astype(np.int8)
        return np.where(codes > 0, codes, found), times

    def hashes(self, columns: Mapping[str, pa.Array]) -> np.ndarray:
        """Of the keys; of the whole row where there are none, or all of its keys are missing."""
        rows = len(columns[self.label])
        if not self.keys:
            return hashes_of_rows(columns, rows)
        hashes, known = hashes_of_keys(columns, self.keys)
        if not known.all():
            hashes = np.where(known, hashes, hashes_of_rows(columns, rows))
        return hashes


def broken_intervals(
    quarantined: Sequence[Quarantine], spec: InputSpec
) -> tuple[tuple[int, int], ...]:
    """The intervals that concern a model with ``spec``, those that overlap put together. One of a
    variable that the model does not look at is none; one of no known variable is."""
    known = spec.by_name
    chosen = sorted(
        (microseconds(one.start), microseconds(one.end))
        for one in quarantined
        if one.feature not in known or known[one.feature].compared
    )
    merged: list[tuple[int, int]] = []
    for start, end in chosen:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif end > start:
            merged.append((start, end))
    return tuple(merged)


def needed_first(rule: SplitRule, spec: InputSpec) -> tuple[Variable, ...]:
    """The variables that :meth:`SplitRule.usable` looks at."""
    return tuple(spec[name] for name in (rule.label, rule.time) if name is not None)


def reason_of(code: int) -> str:
    return REASONS[code - FIRST_REASON]


def _mark(codes: np.ndarray, where: np.ndarray, reason: str) -> None:
    codes[where & (codes == 0)] = FIRST_REASON + REASONS.index(reason)


def _there(array: pa.Array) -> np.ndarray:
    found = validity(array)
    return np.ones(len(array), bool) if found is None else found
