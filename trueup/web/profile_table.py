"""A data set's profile on a terminal: one line per column."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trueup.records.data_summary import DataSummary, VariableSummary
from trueup.records.input_spec import Kind
from trueup.web.numbers import moment_of, number, percent, with_unit
from trueup.web.text import visible

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_VALUES = 3
NAME_LIMIT, VALUE_LIMIT = 40, 16

_USUAL_KINDS = {
    "string": Kind.CATEGORICAL, "bytes": Kind.CATEGORICAL, "bool": Kind.CATEGORICAL,
    "timestamp": Kind.TIME,
}  # fmt: skip
"""How values of a type are measured if nothing else is said; of others, as numbers."""


def print_profile(summary: DataSummary, console: Console | None = None) -> None:
    """Write the table to ``console`` (standard output when not given)."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = console or Console(highlight=False, markup=False, emoji=False)
    out.print(
        Text.assemble(
            (visible(summary.name), "bold"),
            f"  {summary.rows:,} rows, {len(summary.variables):,} columns",
        )
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("column", overflow="fold")
    table.add_column("type")
    table.add_column("missing", justify="right")
    table.add_column("distinct", justify="right")
    table.add_column("what it holds", overflow="fold")
    for one in summary.variables:
        style = None if one.variable.compared else "dim"
        table.add_row(*(Text(cell) for cell in _cells(one)), style=style)
    out.print(table)
    for note in summary.notes:
        out.print(Text(f"note: {visible(note, 400)}", style="dim"))


def _cells(one: VariableSummary) -> tuple[str, ...]:
    variable, side = one.variable, one.summary
    name = visible(variable.name, NAME_LIMIT)
    kind = f"{variable.dtype} {'list' if variable.multi_valued else ''}".strip()
    if variable.kind is not _USUAL_KINDS.get(variable.dtype, Kind.NUMERIC):
        kind += f", {variable.kind.value}"
    if side is None:
        return name, kind, "", "", f"{variable.role.value}: {variable.reason}".rstrip(": ")
    missing = percent(side.missing, side.rows) if side.missing else ""
    distinct = "" if side.distinct is None else f"{round(side.distinct):,}"
    parts = [_values(one)]
    if side.type_errors:
        parts.append(f"{percent(side.type_errors, side.rows)} not {variable.dtype}")
    if side.non_finite:
        parts.append(f"{number(side.non_finite)} infinite")
    if variable.reason:
        parts.append(f"({variable.role.value}: {visible(variable.reason, 200)})")
    return name, kind, missing, distinct, "; ".join(part for part in parts if part)


def _values(one: VariableSummary) -> str:
    side, unit = one.summary, one.variable.unit
    assert side is not None
    if one.variable.kind is Kind.TIME and side.minimum is not None and side.maximum is not None:
        return f"{moment_of(side.minimum)} … {moment_of(side.maximum)}"
    if one.frequent:
        total = max(side.rows - side.missing, 1)
        shown = ", ".join(
            f"{visible(value.value, VALUE_LIMIT)} {percent(value.count, total)}"
            for value in one.frequent[:SHOWN_VALUES]
        )
        return shown + (", …" if len(one.frequent) > SHOWN_VALUES else "")
    if side.mean is not None and side.sd is not None:
        spread = f"{number(side.minimum)} … {number(side.maximum)}"
        return f"mean {with_unit(number(side.mean), unit)} ± {number(side.sd)}, {spread}"
    if side.mean_length is not None:
        unit = "bytes" if one.variable.dtype == "bytes" else "characters"
        return f"{number(side.mean_length)} {unit} on average"
    return ""
