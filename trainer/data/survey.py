"""The first look at all rows: their labels and times, which tell where the splits are cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from trueup.errors import DataError
from trueup.records.input_spec import InputSpec
from trueup.trainer.data.declared import Declared, declared
from trueup.trainer.data.event_times import moment_of
from trueup.trainer.data.label_facts import LabelFacts
from trueup.trainer.data.sources import Source
from trueup.trainer.data.splits import FIRST_REASON, REASONS, SplitRule, needed_first, reason_of
from trueup.trainer.data.time_counts import TimeCounts

PARTITIONS = 64

Progress = Callable[[int, int], None]
"""Called with the rows that are done, and all rows."""


@dataclass(frozen=True)
class Survey:
    """:param rule: with its cuts. :param rows: that can be used; ``expected`` of each split, in the
    order of :data:`~trueup.trainer.data.splits.SPLITS`, about.
    """

    rule: SplitRule
    labels: LabelFacts
    rows: int
    expected: tuple[int, int, int]
    dropped: dict[str, int]

    @property
    def cut_at(self) -> datetime | None:
        """Rows from here on are the gate's."""
        return None if self.rule.cut is None else moment_of(self.rule.cut)


def survey(
    sources: Sequence[Source],
    spec: InputSpec,
    rule: SplitRule,
    *,
    model: str,
    gate_period: timedelta,
    positive_above: float | None = None,
    progress: Progress | None = None,
) -> Survey:
    """Look at label and time of all rows of ``sources``, which have one schema.

    :param rule: without cuts.
    :raises DataError: no row can be used, or the gate takes them all.
    """
    times, dropped = TimeCounts(), Counter[str]()
    labels = LabelFacts(spec[rule.label], positive_above)
    total, done = sum(source.dataset.rows for source in sources), 0
    for rows, codes, at in _looked_at(sources, spec, rule):
        good = codes == 0
        labels.add(rows.columns[rule.label].filter(pa.array(good)))
        if rule.time is not None:
            times.add(at[good])
        found = np.bincount(codes[~good], minlength=FIRST_REASON + len(REASONS))
        dropped.update({reason_of(c): n for c, n in enumerate(found.tolist()) if n})
        done += rows.rows
        if progress is not None:
            progress(done, total)
    if not labels.rows:
        raise _nothing_usable(model, total, dropped)
    return _cut(rule, labels, times, dict(dropped), model, gate_period)


def newest_usable(sources: Sequence[Source], spec: InputSpec, rule: SplitRule) -> datetime | None:
    """The newest event time of a row that can be used; ``None`` where there are no times."""
    if rule.time is None:
        return None
    times = TimeCounts()
    for _, codes, at in _looked_at(sources, spec, rule):
        times.add(at[codes == 0])
    return None if times.newest is None else moment_of(times.newest)


def usable_rows(sources: Sequence[Source], spec: InputSpec, rule: SplitRule) -> int:
    """How many rows can be used."""
    return sum(int((codes == 0).sum()) for _, codes, _ in _looked_at(sources, spec, rule))


def _looked_at(
    sources: Sequence[Source], spec: InputSpec, rule: SplitRule
) -> Iterator[tuple[Declared, np.ndarray, np.ndarray]]:
    """Label and time of all rows, with what :meth:`SplitRule.usable` says of them."""
    needed = InputSpec(variables=needed_first(rule, spec))
    names = [variable.name for variable in needed.variables]
    for source in sources:
        for part in source.dataset.partitions(PARTITIONS):
            for batch in part.batches(names):
                rows = declared(batch, needed)
                yield rows, *rule.usable(rows.columns)


def _cut(
    rule: SplitRule,
    labels: LabelFacts,
    times: TimeCounts,
    dropped: dict[str, int],
    model: str,
    gate_period: timedelta,
) -> Survey:
    keep = 1.0 - rule.gate_share
    if rule.time is None or times.oldest is None or times.newest is None:
        trained = labels.rows * keep
        tune = trained * rule.tune_share
    else:
        cut = times.newest - gate_period // timedelta(microseconds=1)
        if cut <= times.oldest:
            raise DataError(
                f"the rows of {model} with a label are from {_shown(times.oldest)} to "
                f"{_shown(times.newest)}, and the gate alone takes the newest "
                f"{_length(gate_period)}: none is left to train on",
                remedy=f"shorten gate_period in [models.{model}.training.data], or bring older "
                "rows",
            )
        tune_cut = times.start_of_newest(rule.tune_share, cut)
        rule = replace(rule, cut=cut, tune_cut=tune_cut)
        trained = times.rows_before(cut) * keep
        tune = trained - times.rows_before(tune_cut) * keep
    expected = (round(trained - tune), round(tune), round(labels.rows - trained))
    return Survey(rule, labels, labels.rows, expected, dropped)


def _nothing_usable(model: str, total: int, dropped: Counter[str]) -> DataError:
    why = ", ".join(f"{reason} in {count:,}" for reason, count in dropped.most_common())
    return DataError(
        f"none of the {total:,} rows of {model} can be trained on: {why or 'there are none'}",
        remedy="check label, time, since and until of the configuration, and the labels themselves",
    )


def _shown(micros: int) -> str:
    return moment_of(micros).strftime("%Y-%m-%d %H:%M")


def _length(period: timedelta) -> str:
    days = period / timedelta(days=1)
    return f"{days:g} days" if days >= 1 else f"{period / timedelta(hours=1):g} hours"
