"""The blob root: artifacts, captures and reports under one fsspec URL."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from trueup.errors import BadInputError, ConfigError, StoreError, UnsupportedError

_PART = re.compile(r"[A-Za-z0-9_=+@,.-]{1,200}")
_UNFINISHED = ".unfinished-"


class BlobRoot:
    """Named blobs under ``url``, a folder or an object store's prefix.

    A blob appears wholly or not at all, also when the writer is killed; on a local disk it is
    durable when ``put`` returns. Names are relative paths such as ``"flights/v1/model.pb"`` of
    letters, digits and ``_=+@,.-``; a name that would lead out of the root is refused.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") or "/"
        try:
            self._fs, self._base = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise UnsupportedError(
                f"blob root {self.shown} needs a package that is not installed: {error}",
                remedy="install it beside Trueup",
            ) from error
        except ValueError as error:
            raise ConfigError(
                f"blob root {self.shown} is no usable URL: {error}",
                remedy="give a folder, or a URL such as s3://BUCKET/PREFIX",
            ) from error
        self._local = isinstance(self._fs, LocalFileSystem)

    @property
    def shown(self) -> str:
        """The root's URL for messages, without credentials."""
        return re.sub(r"//[^/@]*@", "//***@", self.url)

    @property
    def is_local(self) -> bool:
        return self._local

    def uri(self, name: str) -> str:
        """The full URL of a blob.

        >>> BlobRoot("memory://root").uri("flights/v1")
        'memory://root/flights/v1'
        """
        return f"{self.url.rstrip('/')}/{_checked(name)}"

    def put_atomic(self, name: str, data: bytes) -> str:
        """Write ``data`` as ``name``, in place of what was there; returns its URL."""
        path = self._path(name)
        with self._sentences("write", name):
            if self._local:
                with _new_file(Path(path)) as file:
                    file.write(data)
            else:
                self._fs.pipe_file(path, data)
        return self.uri(name)

    def put_file(self, name: str, source: Path) -> str:
        """Copy a local file to ``name``, whatever its size; returns its URL."""
        path = self._path(name)
        with self._sentences("write", name):
            if self._local:
                with source.open("rb") as original, _new_file(Path(path)) as file:
                    shutil.copyfileobj(original, file, 1 << 20)
            else:
                self._fs.put_file(str(source), path)
        return self.uri(name)

    def get(self, name: str) -> bytes:
        """The content of ``name``."""
        with self._sentences("read", name):
            data: bytes = self._fs.cat_file(self._path(name))
        return data

    @contextmanager
    def reading(self, name: str) -> Iterator[Any]:
        """``name`` as a binary stream, for what is too large for memory."""
        with self._sentences("read", name), self._fs.open(self._path(name), "rb") as stream:
            yield stream

    def stale(self, prefix: str, before: datetime) -> Iterator[str]:
        """Names of blobs in the folder ``prefix`` that were last written before ``before``, with
        what killed writers left unfinished."""
        root = self._base.rstrip("/") + "/"
        with self._sentences("list", prefix):
            self._fs.invalidate_cache()
            try:
                found = sorted(self._fs.find(self._path(prefix)))
            except FileNotFoundError:
                found = []
            for path in found:
                try:
                    modified = self._fs.modified(path)
                except FileNotFoundError:
                    continue
                if modified.tzinfo is None:
                    modified = modified.replace(tzinfo=timezone.utc)
                if modified < before:
                    yield path.removeprefix(root)

    def exists(self, name: str) -> bool:
        with self._sentences("find", name):
            return bool(self._fs.isfile(self._path(name)))

    def delete(self, name: str) -> bool:
        """Delete ``name``; whether it was there."""
        with self._sentences("delete", name):
            try:
                self._fs.rm_file(self._path(name))
            except FileNotFoundError:
                return False
        return True

    def list(self, prefix: str = "") -> Iterator[str]:
        """Names of all blobs in the folder ``prefix`` and below, in order."""
        base = self._path(prefix) if prefix else self._base
        root = self._base.rstrip("/") + "/"
        with self._sentences("list", prefix or "."):
            self._fs.invalidate_cache()
            try:
                found = sorted(self._fs.find(base))
            except FileNotFoundError:
                found = []
        for path in found:
            name = path.removeprefix(root)
            if _UNFINISHED not in name:
                yield name

    def _path(self, name: str) -> str:
        return f"{self._base.rstrip('/')}/{_checked(name)}"

    @contextmanager
    def _sentences(self, doing: str, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise StoreError(f"there is no blob {name} in {self.shown}") from error
        except OSError as error:
            raise StoreError(
                f"cannot {doing} blob {name} in {self.shown}: {error.strerror or error}",
                retry=not self._local,
            ) from error


def _checked(name: str) -> str:
    """``name`` itself, if each of its parts is a plain name."""
    for part in name.split("/"):
        if not _PART.fullmatch(part) or part in (".", ".."):
            raise BadInputError(f"blob name {name!r} is not allowed")
    return name


@contextmanager
def _new_file(path: Path) -> Iterator[Any]:
    """A file that takes the name ``path`` when the block ends well, durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.parent / f"{_UNFINISHED}{uuid.uuid4().hex}"
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
