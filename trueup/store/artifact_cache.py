"""Checked copies of artifacts on the local disk, from which servers load.

A server never loads in place, and never links: the bytes that are hashed are the bytes that are
written to the copy, which only the server's user can reach and nothing writes to. Whatever happens
under the blob root after the check changes nothing that is loaded (to a linked file it would: it
is the same file). A copy costs its size on the local disk; versions that nobody wants leave it.

A copy is made by one process, under a name of its own, and renamed when it is whole. Who loads from
it holds its lock (``flock``), so that nobody removes it meanwhile; the kernel lets go of locks of
killed processes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trueup.errors import StoreError
from trueup.records.registry import VersionRecord
from trueup.store.artifacts import (
    CHUNK,
    FILES,
    MANIFEST,
    ArtifactFile,
    CorruptArtifactError,
    artifact_name,
    read_manifest,
)
from trueup.store.blobs import BlobRoot

LONGEST_WAIT_S = 600.0
"""For another process that copies the same artifact."""

_PAUSE_S = 0.05
_LOCK = ".lock"
_UNFINISHED = ".unfinished-"
_TRIES = 5


@contextmanager
def fetch_verified(
    blobs: BlobRoot,
    version: VersionRecord,
    cache_dir: Path,
    *,
    min_free: int = 0,
) -> Iterator[Path]:
    """The folder of a version's artifact on the local disk, every file of it checked just now.

    Until the block ends no other process removes or replaces it. Of processes that do this at once,
    one copies; the others wait, and check the copy themselves.

    :param min_free: bytes that must stay free on the disk of ``cache_dir``.
    :raises CorruptArtifactError: naming the file that is not as published.
    :raises StoreError: the blob root or the disk failed, or has no room.
    """
    what = f"the artifact of {version.model} version {version.version}"
    artifact = version.manifest_sha256
    if len(artifact) != 64 or not artifact.isalnum():
        raise CorruptArtifactError(f"{what} was registered without a manifest")
    with _disk_sentences(cache_dir):
        cache_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = cache_dir / artifact
    made: int | None = None
    for _ in range(_TRIES):
        with _lock(cache_dir, artifact, fcntl.LOCK_SH):
            if made is not None and made == _inode(target):
                yield target / FILES
                return
            if _is_sound(target, artifact, what):
                yield target / FILES
                return
        with _lock(cache_dir, artifact, fcntl.LOCK_EX):
            if made is None and _is_sound(target, artifact, what):
                continue  # another process was first
            made = _copy(blobs, version, target, what, min_free)
    raise StoreError(f"{what} cannot be kept in {cache_dir}: other processes remove it", retry=True)


def prune(cache_dir: Path, keep: Collection[str]) -> list[str]:
    """Remove copies that nobody holds and whose manifest's hash is not in ``keep``, and what killed
    processes left unfinished; returns the hashes of what was removed."""
    removed = []
    with _disk_sentences(cache_dir):
        names = sorted(path.name for path in cache_dir.iterdir()) if cache_dir.is_dir() else []
        for artifact in sorted({_artifact(name) for name in names}):
            fd = _try_lock(cache_dir / f"{artifact}{_LOCK}", fcntl.LOCK_EX)
            if fd is None:
                continue
            try:
                for name in names:
                    if _artifact(name) == artifact and name.startswith(_UNFINISHED):
                        _remove(cache_dir / name)
                if artifact not in keep:
                    if (cache_dir / artifact).exists():
                        _remove(cache_dir / artifact)
                        removed.append(artifact)
                    (cache_dir / f"{artifact}{_LOCK}").unlink(missing_ok=True)
            finally:
                os.close(fd)
    return removed


def _artifact(name: str) -> str:
    """Of which artifact a file of the cache is."""
    return name.removeprefix(_UNFINISHED).partition(".")[0]


def _inode(folder: Path) -> int | None:
    with suppress(OSError):
        return folder.stat().st_ino
    return None


def _is_sound(target: Path, artifact: str, what: str) -> bool:
    """Whether the copy has exactly the files that were published. One that has not (a bad disk,
    somebody's hand) is no reason to refuse the version: it is copied anew."""
    try:
        data = (target / MANIFEST).read_bytes()
        manifest = read_manifest(data, artifact, what)
        for file in manifest.files:
            with (target / FILES / file.path).open("rb") as stream:
                _check(file, _digest(stream.read), what)
    except (OSError, CorruptArtifactError):
        return False
    there = sum(len(files) for _, _, files in os.walk(target / FILES))
    return there == len(manifest.files)


def _copy(
    blobs: BlobRoot, version: VersionRecord, target: Path, what: str, min_free: int
) -> int | None:
    """Copy the artifact to ``target``, checking every byte; returns the new folder's inode."""
    name = artifact_name(version.artifact_uri)
    with _blobs_there(blobs, f"{name}/{MANIFEST}", what):
        data = blobs.get(f"{name}/{MANIFEST}")
    manifest = read_manifest(data, version.manifest_sha256, what)
    with _disk_sentences(target.parent):
        free = shutil.disk_usage(target.parent).free
        if free < manifest.size + min_free:
            raise StoreError(
                f"{what} has {manifest.size >> 20} MiB, and the disk of {target.parent} has "
                f"{free >> 20} MiB free, of which {min_free >> 20} must stay so",
                remedy="make room",
                retry=True,
            )
        unfinished = target.parent / f"{_UNFINISHED}{target.name}.{uuid.uuid4().hex}"
        unfinished.mkdir(mode=0o700)
        try:
            for file in manifest.files:
                _copy_file(blobs, f"{name}/{FILES}/{file.blob}", file, unfinished / FILES, what)
            (unfinished / MANIFEST).write_bytes(data)
            if target.exists():
                _remove(target)
            unfinished.rename(target)
        except BaseException:
            with suppress(OSError):
                _remove(unfinished)
            raise
    return _inode(target)


def _copy_file(blobs: BlobRoot, blob: str, file: ArtifactFile, folder: Path, what: str) -> None:
    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as copy:  # outside, for its errors are not the blob root's

        def write(chunk: bytes) -> None:
            with _disk_sentences(target.parent):
                copy.write(chunk)

        with _blobs_there(blobs, blob, what), blobs.reading(blob) as source:
            _check(file, _digest(source.read, write), what)
    target.chmod(0o400)


def _digest(
    read: Callable[[int], bytes], write: Callable[[bytes], object] | None = None
) -> tuple[int, str]:
    """Size and SHA-256 of what is read, and written on the way."""
    digest, size = hashlib.sha256(), 0
    while chunk := read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
        if write is not None:
            write(chunk)
    return size, digest.hexdigest()


def _check(file: ArtifactFile, found: tuple[int, str], what: str) -> None:
    if found == (file.size, file.sha256):
        return
    how = f"has {found[0]} bytes instead of {file.size}" if found[0] != file.size else "was changed"
    raise CorruptArtifactError(
        f"{what} is corrupt: {file.path} {how} since it was published",
        remedy="import the model again",
    )


@contextmanager
def _blobs_there(blobs: BlobRoot, blob: str, what: str) -> Iterator[None]:
    """A blob that is not there though the root is: the artifact is damaged."""
    try:
        yield
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError) and _is_gone(blobs, blob):
            raise CorruptArtifactError(
                f"{what} is corrupt: {blob} is gone", remedy="import the model again"
            ) from error
        raise


def _is_gone(blobs: BlobRoot, blob: str) -> bool:
    with suppress(StoreError):
        return not blobs.exists(blob)
    return False


def _remove(folder: Path) -> None:
    """Remove a folder of the cache; first its name, so that nobody takes the rest for whole."""
    if not folder.name.startswith(_UNFINISHED):
        doomed = folder.with_name(f"{_UNFINISHED}{folder.name}.{uuid.uuid4().hex}")
        folder.rename(doomed)
        folder = doomed
    shutil.rmtree(folder)


@contextmanager
def _lock(cache_dir: Path, artifact: str, mode: int) -> Iterator[None]:
    path = cache_dir / f"{artifact}{_LOCK}"
    limit = time.monotonic() + LONGEST_WAIT_S
    with _disk_sentences(cache_dir):
        while (fd := _try_lock(path, mode)) is None:
            if time.monotonic() > limit:
                raise StoreError(
                    f"another process holds {path} since {LONGEST_WAIT_S:g} s",
                    remedy="look what it is about: fuser FILE",
                    retry=True,
                )
            time.sleep(_PAUSE_S)
    try:
        yield
    finally:
        os.close(fd)


def _try_lock(path: Path, mode: int) -> int | None:
    """The descriptor of the locked file; ``None`` while another process holds it."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, mode | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                return fd
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError:
            os.close(fd)
            raise
        os.close(fd)  # its holder removed it between open and lock


@contextmanager
def _disk_sentences(cache_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"the folder {cache_dir} of cached artifacts failed: {error.strerror or error}",
            remedy="it must be on a local disk that can be written",
            retry=True,
        ) from error
