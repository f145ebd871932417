"""A report on a terminal: the verdict first, then what moved, then how much was compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trueup.records.report import Report
from trueup.web.view import Arranged, Moved, arrange, name, sentence
from trueup.web.words import VERDICTS

if TYPE_CHECKING:
    from rich.console import Console

MOST_FEATURES = 12
"""Features that are told in full; the rest are counted."""

STYLES = {"ok": "bold green", "watch": "bold yellow", "drift": "bold magenta", "fault": "bold red"}


def print_report(report: Report, console: Console | None = None) -> None:
    """Write the summary to ``console`` (standard output when not given).

    Values and names come from clients: they are printed as text, never as markup.
    """
    from rich.console import Console
    from rich.text import Text

    out = console or Console(highlight=False, markup=False, emoji=False)
    arranged = arrange(report)
    words = VERDICTS[report.verdict]
    out.print(
        Text.assemble(
            (f"{words.sign} {words.word.upper()}", STYLES[report.verdict.value]),
            f"  {words.advice}",
        )
    )
    out.print(
        Text(
            f"{name(report.training.name)}: {report.training.rows:,} rows → "
            f"{name(report.serving.name)}: {report.serving.rows:,} rows",
            style="dim",
        )
    )
    for moved in arranged.moved[:MOST_FEATURES]:
        _print_moved(out, moved)
    if not arranged.moved:
        for reason in report.reasons:
            out.print(Text(sentence(reason)))
    _print_rest(out, report, arranged)


def _print_moved(out: Console, moved: Moved) -> None:
    from rich.padding import Padding
    from rich.text import Text

    level = moved.level.value
    style = "bold red" if level == "alert" else "yellow"
    out.print()
    out.print(Text.assemble((f"{level:5} ", style), (moved.feature, "bold")))
    cause = moved.cause
    lines = [moved.head.reason] + [line.reason for line in moved.more[:3]]
    if cause is not None:
        lines = [f"{cause.cause}: {cause.statement}", *lines[:2]]
        if cause.remedy:
            lines.append(f"→ {cause.remedy}")
    for text in lines:
        out.print(Padding(Text(text), (0, 0, 0, 6)))
    if len(moved.more) > 3:
        out.print(Padding(Text(f"and {len(moved.more) - 3} more findings", "dim"), (0, 0, 0, 6)))


def _print_rest(out: Console, report: Report, arranged: Arranged) -> None:
    from rich.text import Text

    out.print()
    more = len(arranged.moved) - MOST_FEATURES
    if more > 0:
        out.print(Text(f"{more} more columns moved; --html or --json shows them all."))
    counted = arranged.counts.items()
    counts = ", ".join(f"{count} {level.value}" for level, count in counted if count)
    out.print(Text(f"{len(arranged.compared)} columns compared: {counts or 'none'}."))
    for summary in arranged.ignored:
        reason = summary.role_reason or summary.role.value
        out.print(Text(f"not compared: {name(summary.feature)} ({sentence(reason)})", "dim"))
    for note in report.notes:
        out.print(Text(f"note: {sentence(note)}", "dim"))
