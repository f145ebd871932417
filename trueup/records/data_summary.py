"""What ``trueup profile`` says of one data set, column by column."""

from __future__ import annotations

from typing import Literal

from trueup.records.input_spec import Record, Variable
from trueup.records.report import SideSummary


class FrequentValue(Record):
    """A value and how many rows (or elements of lists) have it."""

    value: str
    count: int


class VariableSummary(Record):
    """One column: what it is taken for, and its numbers.

    ``summary`` is absent of columns that are not profiled (ids, ignored ones); ``variable.reason``
    says why. ``frequent`` are the most frequent categories, the most frequent first.
    """

    variable: Variable
    summary: SideSummary | None = None
    frequent: tuple[FrequentValue, ...] = ()


class DataSummary(Record):
    """A data set's profile in numbers."""

    data_summary_version: Literal[1] = 1
    name: str
    rows: int
    edges_id: str
    variables: tuple[VariableSummary, ...]
    notes: tuple[str, ...] = ()
