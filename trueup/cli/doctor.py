"""``trueup doctor``: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from trueup.cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trueup.cli.health import Check

_MARKS = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check installation, configuration, store, disk and clock, and say what to mend.

    Changes nothing but for probe files that it removes again. Exits with 1 when something is
    broken; a warning is not.
    """
    from trueup.cli.health import examine

    checks = examine(config)
    broken = any(check.status == "fail" for check in checks)
    if as_json:
        import json

        found = {"ok": not broken, "checks": [check._asdict() for check in checks]}
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print_table(checks)
    if broken:
        raise typer.Exit(1)


def _print_table(checks: Sequence[Check]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("", "check", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        table.add_row(
            _MARKS[check.status], escape(check.name), escape(check.found), escape(check.remedy)
        )
    Console().print(table)
    failed = sum(check.status == "fail" for check in checks)
    typer.echo(f"{failed} of {len(checks)} checks failed." if failed else "Nothing is broken.")
