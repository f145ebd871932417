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
