"""Files that a command shall write, checked before it starts to work for minutes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from trueup.errors import BadInputError, TrueupError


def check_outputs(outputs: Sequence[Path | None], data: Iterable[str]) -> None:
    """Each of ``outputs`` (``None``: not wanted) can be written, and none is what is read.

    :param data: sources as given: files, folders, patterns, URLs.
    :raises BadInputError: naming the file otherwise.
    """
    wanted = [output for output in outputs if output is not None]
    for place, output in enumerate(wanted):
        folder = output.parent
        if output.is_dir():
            raise BadInputError(f"cannot write {output}: it is a folder", remedy="name a file")
        if not folder.is_dir():
            raise BadInputError(
                f"cannot write {output}: there is no folder {folder}",
                remedy="name a file in a folder that exists",
            )
        if not os.access(output if output.exists() else folder, os.W_OK):
            raise BadInputError(f"cannot write {output}: permission denied")
        if any(_same(output, other) for other in wanted[:place]):
            raise BadInputError(
                f"{output} shall hold two results", remedy="name a file of its own for each"
            )
    read = [path for source in data for path in _files(source)] if wanted else []
    for output in wanted:
        if any(_same(output, Path(path)) for path in read):
            raise BadInputError(
                f"{output} is what is read: writing to it would destroy it",
                remedy="name another file",
            )


def _files(source: str) -> list[str]:
    from trueup.datasets.sources import find_files, is_url

    if is_url(source):
        return []
    try:
        return [file.path for file in find_files(source)[0]]
    except TrueupError:  # reading says so
        return [source]


def _same(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b) and a.is_file()
    except (OSError, ValueError):  # one of them is not there
        return a.absolute() == b.absolute()
