"""Files that appear whole or not at all, also when the writer is killed."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

from trueup.errors import BadInputError


def write_whole(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path`` in place of what was there; durable when it returns.

    Of a link, the file that it leads to is replaced; devices and pipes (``/dev/stdout``) are
    written to and never replaced. A file that was there keeps its permissions.

    :raises BadInputError: when the folder does not exist or cannot be written to.
    """
    file = Path(os.path.realpath(path))
    try:
        mode = file.stat().st_mode if file.exists() else None
        if mode is None or stat.S_ISREG(mode):
            _replace(file, data, mode)
        else:
            with file.open("wb") as stream:
                stream.write(data)
    except OSError as error:
        raise BadInputError(
            f"cannot write {path}: {error.strerror}", remedy="name a file in a folder that exists"
        ) from None


def _replace(file: Path, data: bytes, mode: int | None) -> None:
    partial = file.with_name(f".{file.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with partial.open("wb") as stream:
            if mode is not None:
                os.fchmod(stream.fileno(), stat.S_IMODE(mode))
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
