"""Sealed segments that a server without a lasting disk has left in the blob root when it stopped.

``spool/HOST/ID.SECONDS.sealed`` was sealed at SECONDS since 1970; ``….loss`` is beside it where
recovery had found damage. Compaction takes them from there, and tells by their id what it has had
before.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from trueup.errors import FrameError
from trueup.frames.held import HeldFile
from trueup.frames.segment_files import (
    LOSS_SUFFIX,
    SEALED_SUFFIX,
    Loss,
    SegmentFile,
    delete_segment,
    read_loss,
    sealed_path,
    sealed_segments,
)
from trueup.frames.whole import write_whole
from trueup.store.blobs import BlobRoot

PREFIX = "spool"

_NAME = re.compile(
    rf"{PREFIX}/(?P<host>[^/]+)/(?P<id>[0-9a-z]{{26}})\.(?P<seconds>\d{{1,12}}){re.escape(SEALED_SUFFIX)}"
)
_PART = ".fetched"
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True, slots=True)
class UploadedSegment:
    """A segment in the blob root.

    :param name: of its blob. :param host: whose spool it was in.
    """

    segment_id: str
    host: str
    name: str

    @property
    def loss_name(self) -> str:
        return self.name.removesuffix(SEALED_SUFFIX) + LOSS_SUFFIX


def upload(blobs: BlobRoot, segment: SegmentFile, host: str) -> UploadedSegment:
    """Copy a sealed segment that the caller holds; whole and durable when it returns.

    Doing it again writes the same blob again.

    :raises StoreError: the blob root does not answer, or is full.
    """
    sealed_s = int(segment.path.stat().st_mtime)
    folder = re.sub(r"[^A-Za-z0-9_.-]", "-", host)[:100].strip(".") or "host"
    name = f"{PREFIX}/{folder}/{segment.segment_id}.{sealed_s}{SEALED_SUFFIX}"
    found = UploadedSegment(segment.segment_id, folder, name)
    if segment.loss != Loss():  # first: a segment without it would look undamaged
        blobs.put_file(found.loss_name, segment.path.with_suffix(LOSS_SUFFIX))
    blobs.put_file(name, segment.path)
    return found


def uploaded_segments(blobs: BlobRoot) -> list[UploadedSegment]:
    """All in the blob root, oldest first."""
    found = [_NAME.fullmatch(name) for name in blobs.list(PREFIX)]
    segments = [UploadedSegment(m["id"], m["host"], m[0]) for m in found if m is not None]
    return sorted(segments, key=lambda each: (each.segment_id, each.name))


def fetch(blobs: BlobRoot, uploaded: UploadedSegment, folder: Path) -> SegmentFile:
    """A copy in ``folder``, as it was in the spool; one that is there is not fetched again.

    :raises FrameError: with ``retry``: another process is at it.
    :raises StoreError: the blob root does not answer, or has it no more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = sealed_path(folder, uploaded.segment_id)
    if not target.exists():
        with HeldFile(target.with_suffix(_PART), create=True) as held:
            if blobs.exists(uploaded.loss_name):
                write_whole(target.with_suffix(LOSS_SUFFIX), blobs.get(uploaded.loss_name))
            with blobs.reading(uploaded.name) as stream, held.path.open("wb") as file:
                shutil.copyfileobj(stream, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())  # the blob is deleted by what is read here
            seconds = float(uploaded.name.rsplit(".", 2)[1])
            os.utime(held.path, (seconds, seconds))  # tells when it was sealed
            held.path.rename(target)
    loss = read_loss(folder, uploaded.segment_id)
    return SegmentFile(uploaded.segment_id, target, target.stat().st_size, loss)


def delete_uploaded(blobs: BlobRoot, uploaded: UploadedSegment) -> None:
    """Once its rows are safe elsewhere; one that is gone is no error."""
    blobs.delete(uploaded.name)
    blobs.delete(uploaded.loss_name)


def tidy(folder: Path, wanted: set[str]) -> None:
    """Remove copies in ``folder`` of segments that are not ``wanted`` any more.

    Another host has had them, or this one was killed in between.
    """
    if not folder.is_dir():
        return
    for segment in sealed_segments(folder):
        if segment.segment_id not in wanted:
            _remove(segment.path)
    for path in folder.glob(f"*{_PART}"):
        if path.stem not in wanted:
            _remove(path)


def _remove(path: Path) -> None:
    try:
        with HeldFile(path):
            path.unlink(missing_ok=True)
            delete_segment(path.parent, path.stem)
    except FrameError:
        return  # another process is at it


def remove_unfinished(blobs: BlobRoot, now: datetime, grace: timedelta) -> list[str]:
    """Delete what killed uploads have left; the names of it."""
    names = [
        n for n in blobs.stale(PREFIX, now - grace) if n.split("/")[-1].startswith(_UNFINISHED)
    ]
    return [name for name in names if blobs.delete(name)]
