"""``trueup init``: a commented configuration to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it.")] = Path(),
) -> None:
    """Write a trueup.toml that shows every setting with its default, as comments."""
    from trueup.config.template import template
    from trueup.errors import BadInputError

    path = folder / "trueup.toml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError as error:
        if folder.is_dir():
            raise BadInputError(
                f"{path} is there already", remedy="edit it, or remove it first"
            ) from error
        raise BadInputError(f"{folder} is a file, not a folder") from error
    except OSError as error:
        raise BadInputError(f"{path} cannot be written: {error.strerror}") from error
    typer.echo(f"wrote {path}")
