"""Which files a path, glob, directory or URL names, and in what format each is."""

# A path may be a URL, which pathlib would mangle.
# ruff: noqa: PTH111, PTH112, PTH116, PTH118, PTH119, PTH123, PTH207

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from trueup.datasets.formats import SNIFFED_BYTES, by_suffix, format_of, packed_by
from trueup.datasets.nested import some
from trueup.datasets.unpack import damage, unpacked
from trueup.errors import DataError, UnsupportedError

_PARTITION = re.compile(r"^[^=/]+=[^/]*$")
"""A folder that is named for a column's value, as Hive and Spark write them."""

_TRANSPORTS = frozenset(
    {"aiohttp", "aiobotocore", "botocore", "s3fs", "gcsfs", "google", "azure", "adlfs", "requests"}
)
"""Packages whose errors, raised under fsspec, are about the address or the network."""


@dataclass(frozen=True)
class File:
    """One file to read.

    :param path: local path or fsspec URL.
    :param size: in bytes, as stored.
    :param compression: ``"gzip"``, ``"bz2"``, ``"xz"``, ``"zip"`` or ``""``.
    """

    path: str
    size: int
    format: str
    compression: str = ""

    @property
    def remote(self) -> bool:
        return is_url(self.path)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The decompressed bytes; what fails while reading is a :class:`DataError`."""
        try:
            with (
                _raw(self.path) as packed,
                unpacked(packed, self.compression, self.path) as stream,
            ):
                yield stream
        except Exception as error:
            if isinstance(error, (OSError, EOFError, *damage())) or _in_transport(error):
                raise unreadable(self.path, error) from error
            raise


def _raw(path: str) -> Any:
    if not is_url(path):
        return open(path, "rb")
    import fsspec

    return fsspec.open(path, "rb")


def unreadable(path: str, error: BaseException) -> DataError:
    """One sentence for a file that exists and cannot be read."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} does not exist", remedy="check the path")
    if isinstance(error, PermissionError):
        return DataError(f"{path} may not be read: permission denied")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if is_url(path) and (_in_transport(error) or isinstance(error, ConnectionError)):
        remedy = "check the address, the network and your access to it"
        return DataError(f"{path} cannot be read: {reason}", remedy=remedy)
    return DataError(
        f"{path} cannot be read: {reason}", remedy="it may be damaged or cut short; write it again"
    )


def _in_transport(error: BaseException) -> bool:
    return any(kind.__module__.partition(".")[0] in _TRANSPORTS for kind in type(error).__mro__)


def is_url(path: str) -> bool:
    """Whether ``path`` names a file system of fsspec (``s3://``, ``gs://``, ``memory://``)."""
    return "://" in path


def find_files(source: str) -> tuple[list[File], list[str]]:
    """The files that ``source`` names, sorted by path, and notes about those passed over.

    :raises DataError: when nothing is there, or a directory holds no data.
    """
    paths = _remote_paths(source) if is_url(source) else _local_paths(source)
    known = [path for path in paths if by_suffix(path)[0]]
    chosen = known or paths
    notes = [
        f"{path} was passed over: its suffix names no format that is read here"
        for path in paths
        if path not in set(chosen)
    ]
    return [_describe(path) for path in chosen], notes + _folder_notes(source, chosen)


def _local_paths(source: str) -> list[str]:
    if not source:
        raise DataError("the path is empty", remedy="name a file, folder, pattern or URL")
    path = os.path.expanduser(source)
    if os.path.isdir(path):
        paths = _walk(path)
    elif os.path.lexists(path):
        paths = [path]
    elif glob.has_magic(path):
        found = [p for p in sorted(glob.glob(path, recursive=True)) if _is_data(p)]
        paths = [inner for p in found for inner in (_walk(p) if os.path.isdir(p) else [p])]
        if not paths:
            raise DataError(f"no file matches {source}", remedy="check the pattern")
    elif source == "-":
        raise DataError(
            "standard input cannot be compared: data are read more than once",
            remedy="write them to a file and name that",
        )
    else:
        raise DataError(f"{source} does not exist", remedy="check the path")
    if not paths:
        raise DataError(f"the directory {source} holds no data files", remedy="check the path")
    return paths


def _folder_notes(source: str, paths: Sequence[str]) -> list[str]:
    """What folders say that their files do not."""
    named = set(os.path.expanduser(source).split("/"))
    parts = {part for path in paths for part in path.split("/")[:-1]} - named
    found = sorted({part.partition("=")[0] for part in parts if _PARTITION.match(part)})
    if not found:
        return []
    return [f"names of folders give values of {some(found)}: these are not read as columns"]


def _is_data(path: str) -> bool:
    return not os.path.basename(path.rstrip("/")).startswith((".", "_"))


def _walk(directory: str) -> list[str]:
    """Data files below ``directory``; hidden ones and markers such as ``_SUCCESS`` are not."""
    found = []
    for folder, folders, files in os.walk(directory):
        folders[:] = sorted(name for name in folders if _is_data(name))
        found += [os.path.join(folder, name) for name in files if _is_data(name)]
    return sorted(found)


def _remote_paths(source: str) -> list[str]:
    import fsspec

    try:
        fs, path = fsspec.core.url_to_fs(source)
        if glob.has_magic(source):
            paths = sorted(fs.glob(path))
        elif fs.isdir(path):
            paths = sorted(p for p in fs.find(path) if _is_data(p))
        else:
            paths = [path] if fs.exists(path) else []
    except ImportError as error:
        raise UnsupportedError(
            f"{source} cannot be opened: {error}", remedy="install what it names, or copy the data"
        ) from error
    except ValueError as error:
        raise UnsupportedError(
            f"{source} cannot be opened: {error}",
            remedy="give a local path, or a URL such as s3://, gs:// or https://",
        ) from error
    except Exception as error:
        if isinstance(error, OSError) or _in_transport(error):
            raise unreadable(source, error) from error
        raise
    if not paths:
        raise DataError(f"{source} does not exist or holds no files", remedy="check the address")
    return [str(fs.unstrip_protocol(p)) for p in paths]


def _describe(path: str) -> File:
    named, compression = by_suffix(path)
    size = _size(path)
    if not size:
        return File(path, 0, named or "csv", compression)
    with File(path, size, "").open() as stream:
        compression = packed_by(stream.read(8))
    with File(path, size, "", compression).open() as stream:
        head = stream.read(SNIFFED_BYTES)
    return File(path, size, format_of(head, named, path), compression)


def _size(path: str) -> int:
    try:
        if is_url(path):
            import fsspec

            fs, inner = fsspec.core.url_to_fs(path)
            return int(fs.size(inner) or 0)
        found = os.stat(path)
    except Exception as error:
        if isinstance(error, OSError) or _in_transport(error):
            raise unreadable(path, error) from error
        raise
    if not stat.S_ISREG(found.st_mode):
        what = "a pipe, which can be read only once" if stat.S_ISFIFO(found.st_mode) else "no file"
        raise DataError(f"{path} is {what}", remedy="write the data to a file and name that")
    return found.st_size


def pyarrow_file(file: File, stack: Any) -> Any:
    """What pyarrow opens: the path itself when local, else a stream kept open by ``stack``."""
    if not file.remote and not file.compression:
        return file.path
    return stack.enter_context(file.open())
