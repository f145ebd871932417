"""What statistics say of a feature beyond its values: whether it is an id, a time, a calendar part.

The rules are those of data (:mod:`trueup.datasets.roles`); here is what they look at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from trueup.datasets.roles import calendar_parts, main_time, role_of, time_form
from trueup.datasets.sample import ColumnFacts
from trueup.records.input_spec import (
    FLOAT_DTYPES,
    INTEGER_DTYPES,
    Kind,
    Role,
    Variable,
)
from trueup.tfdv.features_in import ReadFeature

MAYBE_ID = (
    "its name says identifier, and its values may all be different (TFDV does not count different "
    "numbers)"
)


@dataclass(frozen=True)
class FeatureFacts:
    """A feature of statistics as :class:`trueup.datasets.roles.Facts`."""

    read: ReadFeature
    whole: bool = True
    counts_up: bool = False
    """Statistics forget the order of rows."""

    @property
    def name(self) -> str:
        return self.read.variable.name

    @cached_property
    def type(self) -> pa.DataType:
        variable = self.read.variable
        if variable.dtype == "timestamp":
            return pa.timestamp("us", "UTC")
        if variable.dtype in FLOAT_DTYPES:
            return pa.float64()
        names = {"string": pa.string(), "bytes": pa.binary(), "bool": pa.bool_()}
        return names.get(variable.dtype, pa.int64())

    @property
    def multi_valued(self) -> bool:
        return self.read.variable.multi_valued

    @property
    def is_integer(self) -> bool:
        return self.read.variable.dtype in INTEGER_DTYPES and self.read.state.numeric is not None

    @property
    def is_string(self) -> bool:
        return self.read.variable.dtype == "string"

    @property
    def n(self) -> int:
        return self.read.state.present

    @property
    def null_share(self) -> float:
        return 1.0 - self.n / max(self.read.state.rows, 1)

    @property
    def span(self) -> tuple[float, float]:
        numbers = self.read.state.numeric
        if numbers is None or not numbers.n:
            return 0.0, 0.0
        return numbers.raw.minimum, numbers.raw.maximum

    @property
    def distinct(self) -> int:
        """How many; where the statistics do not say, the most that there can be."""
        if self.read.unique is not None:
            return self.read.unique
        low, high = self.span
        return int(min(self.n, high - low + 1)) if self.is_integer else self.n

    @property
    def all_distinct(self) -> bool:
        return self.read.unique is not None and self.read.unique >= self.n > 0

    @property
    def number_share(self) -> float:
        return self._known.number_share

    @property
    def time_share(self) -> float:
        return self._known.time_share

    @property
    def spaced_share(self) -> float:
        return self._known.spaced_share

    @cached_property
    def _known(self) -> ColumnFacts:
        """The frequent values, each once."""
        edges = self.read.edges.categories
        values = [] if edges is None else list(edges.values)
        return ColumnFacts(self.name, pa.chunked_array([pa.array(values, pa.string())]))


def with_roles(reads: Mapping[str, ReadFeature]) -> dict[str, Variable]:
    """The variable of each feature, with its role."""
    facts = {name: FeatureFacts(read) for name, read in reads.items()}
    forms = {name: form for name, fact in facts.items() if (form := time_form(fact))}
    time = main_time(forms, facts)
    given = next(
        (name for name, read in reads.items() if read.decided and read.variable.role is Role.LABEL),
        None,
    )
    calendar = calendar_parts(facts.values(), time)
    variables = {}
    for name, read in reads.items():
        variable = read.variable
        if not read.decided:
            form = forms.get(name)
            role, reason = role_of(facts[name], time, given, (), calendar, form)
            if role is Role.ID and read.unique is None:
                reason = MAYBE_ID
            changed: dict[str, object] = {"role": role, "reason": reason}
            if form is not None and facts[name].is_string:
                changed = _ignored(f"{form.what}, of which TFDV describes the most frequent only")
            elif form is not None and form.unit not in ("", "s") and role is Role.TIME:
                changed = _ignored(f"{form.what}: they change by themselves")
            elif form is not None and role is Role.TIME:
                changed |= {"kind": Kind.TIME, "unit": form.unit}
            variable = variable.model_copy(update=changed)
        variables[name] = variable
    return variables


def _ignored(reason: str) -> dict[str, object]:
    return {"role": Role.IGNORED, "reason": reason}
