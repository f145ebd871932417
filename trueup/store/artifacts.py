"""Artifacts of model versions: a folder of files under the blob root, with a manifest of hashes.

An artifact's name is ``models/<model>/<version>/<unique>``: it holds ``files/…`` and, written
last, ``manifest.json``, whose own SHA-256 is kept in the registry. Nothing is ever overwritten.
Servers load copies of artifacts, which they check first (:mod:`trueup.store.artifact_cache`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import uuid
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator

from trueup.errors import BadInputError, StoreError, TrueupError
from trueup.records.input_spec import Record
from trueup.store.blobs import BlobRoot

MANIFEST = "manifest.json"
FILES = "files"

MOST_FILES = 10_000
CHUNK = 1 << 20
_LONGEST_PART = 200
_NAME = re.compile(r"models/[^/]+/[0-9]+/[0-9a-f]{32}$")
_PLAIN = re.compile(rb"[A-Za-z0-9_+@,.-]")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ArtifactFile(Record):
    """One file.

    :param path: in the artifact, with ``/``. :param blob: its name under ``files/``.
    """

    path: str
    blob: str
    size: Annotated[int, Field(ge=0)]
    sha256: Sha256

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        if not path or "\0" in path or path.startswith("/") or ".." in PurePosixPath(path).parts:
            raise ValueError(f"{path!r} is no path inside an artifact")
        return path


class ArtifactManifest(Record):
    """All files of an artifact."""

    format: Literal[1] = 1
    files: tuple[ArtifactFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


class Published(Record):
    """Where an artifact is, and what proves that it is the one that was published."""

    artifact_uri: str
    manifest_sha256: Sha256
    files: int
    size: int


class CorruptArtifactError(TrueupError):
    """An artifact is not what was published."""


def publish(blobs: BlobRoot, folder: Path, model: str, version: int) -> Published:
    """Copy all files of ``folder`` under the blob root; nothing is left there when it fails.

    :raises BadInputError: there are none, something among them is no file, or a file was changed
        while it was copied.
    """
    name = f"models/{model}/{version}/{uuid.uuid4().hex}"
    try:
        files = [_publish_file(blobs, name, folder, path) for path in files_of(folder)]
        manifest = ArtifactManifest(files=tuple(files))
        data = json.dumps(manifest.model_dump(), indent=1, sort_keys=True).encode()
        blobs.put_atomic(f"{name}/{MANIFEST}", data)
    except BaseException:
        with suppress(TrueupError):
            _delete(blobs, name)
        raise
    return Published(
        artifact_uri=blobs.uri(name),
        manifest_sha256=hashlib.sha256(data).hexdigest(),
        files=len(files),
        size=manifest.size,
    )


def remove(blobs: BlobRoot, artifact_uri: str) -> None:
    """Delete a published artifact."""
    _delete(blobs, artifact_name(artifact_uri))


def artifact_name(artifact_uri: str) -> str:
    """The artifact's name under the blob root, wherever that is now."""
    found = _NAME.search(artifact_uri)
    if not found:
        raise StoreError(f"{artifact_uri!r} is not where an artifact can be")
    return found[0]


def read_manifest(data: bytes, sha256: str, what: str) -> ArtifactManifest:
    """The manifest in ``data``.

    :param sha256: that it must have. :param what: for messages.
    :raises CorruptArtifactError: it is another one.
    """
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptArtifactError(
            f"{what} is corrupt: its manifest is not the one that was registered",
            remedy="import the model again",
        )
    try:
        return ArtifactManifest.model_validate(json.loads(data))
    except (ValueError, ValidationError) as error:
        raise CorruptArtifactError(
            f"{what} has a manifest that this release cannot read", remedy="upgrade Trueup"
        ) from error


def files_of(folder: Path) -> list[Path]:
    """All files in ``folder`` and below, in order; links to files count as files.

    :raises BadInputError: there are none or too many, or something among them is no file.
    """
    found: list[Path] = []
    for path in sorted(folder.rglob("*")):
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise BadInputError(f"cannot read {path}: {error.strerror}") from None
        if stat.S_ISDIR(mode) and not path.is_symlink():
            continue
        if not stat.S_ISREG(mode):
            what = "a link to a folder" if stat.S_ISDIR(mode) else "neither a file nor a folder"
            raise BadInputError(f"{path} is {what}", remedy="copy it with: cp -rL")
        found.append(path)
        if len(found) > MOST_FILES:
            raise BadInputError(f"{folder} holds more than {MOST_FILES} files: it is no model")
    if not found:
        raise BadInputError(f"{folder} holds no files")
    return found


def blob_name(path: str) -> str:
    """A name for ``path`` that every blob root takes: other characters become ``=`` and two hex
    digits, and a part that is too long ends in a hash.

    >>> blob_name("assets/Städte 1.txt")
    'assets/St=C3=A4dte=201.txt'
    """
    return "/".join(_part(os.fsencode(part)) for part in path.split("/"))


def _part(name: bytes) -> str:
    written = "".join(chr(byte) if _PLAIN.match(bytes([byte])) else f"={byte:02X}" for byte in name)
    if len(written) <= _LONGEST_PART:
        return written
    return f"{written[:100]}=-{hashlib.sha256(name).hexdigest()}"


def _publish_file(blobs: BlobRoot, name: str, folder: Path, path: Path) -> ArtifactFile:
    relative = path.relative_to(folder).as_posix()
    blob = blob_name(relative)
    try:
        before = _mark(path)
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
        blobs.put_file(f"{name}/{FILES}/{blob}", path)
        after = _mark(path)
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}") from None
    if after != before:
        raise BadInputError(
            f"{path} was changed while it was copied",
            remedy="repeat when nothing writes to the folder",
        )
    return ArtifactFile(path=relative, blob=blob, size=before[0], sha256=digest.hexdigest())


def _mark(path: Path) -> tuple[int, int, int]:
    """What changes when the file does."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _delete(blobs: BlobRoot, name: str) -> None:
    for blob in list(blobs.list(name)):
        blobs.delete(blob)
