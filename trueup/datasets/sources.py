"""Which files a path, glob, directory or URL names, and in what format each is."""

# A path may be a URL, which pathlib would mangle.
# ruff: noqa: PTH110, PTH112, PTH118, PTH119, PTH122, PTH123, PTH202, PTH207

from __future__ import annotations

import glob
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from trueup.errors import DataError, UnsupportedError

FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv",
    ".parquet": "parquet", ".pq": "parquet", ".parq": "parquet",
    ".jsonl": "json", ".ndjson": "json", ".json": "json",
    ".tfrecord": "tfrecord", ".tfrecords": "tfrecord", ".tfrec": "tfrecord",
}  # fmt: skip

_COMPRESSIONS = {".gz": "gzip", ".gzip": "gzip", ".bz2": "bz2", ".xz": "xz", ".zip": "zip"}

_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip"}

_SNIFFED_BYTES = 4096


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
            if self.remote or self.compression:
                import fsspec

                with fsspec.open(self.path, "rb", compression=self.compression or None) as stream:
                    yield stream
            else:
                with open(self.path, "rb") as stream:
                    yield stream
        except (OSError, EOFError) as error:
            raise unreadable(self.path, error) from error


def unreadable(path: str, error: BaseException) -> DataError:
    """One sentence for a file that exists and cannot be read."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} does not exist", remedy="check the path")
    if isinstance(error, PermissionError):
        return DataError(f"{path} may not be read: permission denied")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(
        f"{path} cannot be read: {reason}", remedy="it may be damaged or cut short; write it again"
    )


def is_url(path: str) -> bool:
    """Whether ``path`` names a file system of fsspec (``s3://``, ``gs://``, ``memory://``)."""
    return "://" in path


def find_files(source: str) -> tuple[list[File], list[str]]:
    """The files that ``source`` names, sorted by path, and notes about those passed over.

    :raises DataError: when nothing is there, or a directory holds no data.
    """
    if is_url(source):
        paths = _remote_paths(source)
    elif os.path.isdir(source):
        paths = _walk(source)
    elif os.path.exists(source):
        paths = [source]
    elif glob.has_magic(source):
        found = [p for p in sorted(glob.glob(source, recursive=True)) if _is_data(p)]
        paths = [path for p in found for path in (_walk(p) if os.path.isdir(p) else [p])]
        if not paths:
            raise DataError(f"no file matches {source}", remedy="check the pattern")
    else:
        raise DataError(f"{source} does not exist", remedy="check the path")
    if not paths:
        raise DataError(f"the directory {source} holds no data files")
    known = [path for path in paths if _by_suffix(path)[0]]
    chosen = known or paths
    notes = [
        f"{path} was passed over: its suffix names no format that is read here"
        for path in paths
        if path not in set(chosen)
    ]
    return [_describe(path) for path in chosen], notes


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
    except (ImportError, ValueError) as error:
        raise UnsupportedError(f"{source} cannot be opened: {error}") from error
    except OSError as error:
        raise unreadable(source, error) from error
    if not paths:
        raise DataError(f"{source} does not exist or holds no files", remedy="check the address")
    return [str(fs.unstrip_protocol(p)) for p in paths]


def _by_suffix(path: str) -> tuple[str, str]:
    stem, suffix = os.path.splitext(path.lower())
    compression = _COMPRESSIONS.get(suffix, "")
    if compression:
        suffix = os.path.splitext(stem)[1]
    return FORMATS.get(suffix, ""), compression


def _describe(path: str) -> File:
    format_, compression = _by_suffix(path)
    size = _size(path)
    if not size:
        return File(path, 0, format_ or "csv", compression)
    with File(path, size, "").open() as stream:
        magic = stream.read(8)
    compression = next((name for head, name in _MAGIC.items() if magic.startswith(head)), "")
    with File(path, size, "", compression).open() as stream:
        head = stream.read(_SNIFFED_BYTES)
    content = _by_content(head)
    # Suffixes are often wrong about text, never about PAR1 or a frame with a valid checksum.
    if content in ("parquet", "tfrecord") or not format_:
        format_ = content
    return File(path, size, format_, compression)


def _size(path: str) -> int:
    try:
        if is_url(path):
            import fsspec

            fs, inner = fsspec.core.url_to_fs(path)
            return int(fs.size(inner) or 0)
        return os.path.getsize(path)
    except OSError as error:
        raise unreadable(path, error) from error


def _by_content(head: bytes) -> str:
    if head[:4] == b"PAR1":
        return "parquet"
    if len(head) >= 12 and _is_frame(head):
        return "tfrecord"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
        return "json"
    return "csv"


def _is_frame(head: bytes) -> bool:
    """Whether the first 12 bytes are a TFRecord length and its masked CRC-32C."""
    import google_crc32c

    crc = google_crc32c.value(head[:8])
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return bool(struct.unpack("<I", head[8:12])[0] == masked)


def pyarrow_file(file: File, stack: Any) -> Any:
    """What pyarrow opens: the path itself when local, else a stream kept open by ``stack``."""
    if not file.remote and not file.compression:
        return file.path
    return stack.enter_context(file.open())
