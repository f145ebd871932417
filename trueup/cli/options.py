"""Options that several commands share, so that they are spelt and explained alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Configuration file; ./trueup.toml by default, built-in defaults where there is none.",
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

LabelOption = Annotated[str | None, typer.Option("--label", metavar="COLUMN", help="True outcome.")]

IgnoreOption = Annotated[
    list[str] | None,
    typer.Option("--ignore", metavar="COLUMN", help="Leave a column out (repeatable)."),
]

SpecOption = Annotated[
    Path | None,
    typer.Option(
        "--spec",
        metavar="FILE",
        help="What corrects the columns' types and roles: TOML, or a schema of TFX (.pbtxt).",
    ),
]

WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes; chosen by size when not given."),
]
