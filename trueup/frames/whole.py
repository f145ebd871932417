"""Files that appear whole or not at all, also when the writer is killed."""

from __future__ import annotations

import os
from pathlib import Path

from trueup.errors import BadInputError


def write_whole(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path`` in place of what was there; durable when it returns.

    :raises BadInputError: when the folder does not exist or cannot be written to.
    """
    file = Path(path)
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BadInputError(
            f"cannot write {file}: {error.strerror}", remedy="name a file in a folder that exists"
        ) from None
