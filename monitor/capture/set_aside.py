"""Frames that cannot be read: found, set aside in files of their own, and named.

Whatever is in a frame, and whatever fails on it, must not hold up the rest of its segment. What is
tried with many frames and fails is tried again with each half of them, down to the one that it is;
so a frame costs some tries, and only where there is one. Set aside is what fails, not what is odd:
a request that is no JSON is a row like others (docs/capture.md).
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import orjson
import pyarrow as pa

from trueup.errors import StoreError
from trueup.frames.capture_codec import HEADER
from trueup.frames.reader import FrameReader
from trueup.monitor.capture.parquet_file import NewFile, Placed, put
from trueup.store.blobs import BlobRoot
from trueup.store.tables import ManifestKind

QUARANTINE = pa.schema(
    [
        pa.field("segment", pa.string(), nullable=False),
        pa.field("frame", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("payload", pa.binary(), nullable=False),
    ]
)
"""Columns of a file of frames that were set aside; ``payload`` is as it was in the segment
(:mod:`trueup.frames.capture_codec`)."""

_MOST_BYTES = 64 << 20  # of payloads in a file
_LONGEST = 300

T = TypeVar("T")


class SetAside:
    """The frames of one segment that were set aside: why, by their number."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}

    def add(self, number: int, reason: str) -> None:
        self.reasons.setdefault(number, reason)

    def add_error(self, number: int, error: Exception) -> None:
        what = " ".join(str(error).split())
        self.add(number, f"{type(error).__name__}: {what}"[:_LONGEST])

    def counts(self) -> dict[str, int]:
        """How many frames for each reason, of the ten most frequent ones."""
        return dict(Counter(self.reasons.values()).most_common(10))


def in_parts(
    whole: T,
    attempt: Callable[[T], None],
    halves: Callable[[T], tuple[T, T] | None],
    failed: Callable[[T, Exception], None],
) -> None:
    """Do ``attempt`` with ``whole``, or with parts of it where it fails with the whole.

    :param attempt: changes nothing when it fails.
    :param halves: of a part; ``None`` where it is one.
    :param failed: called with a part that is one, and why it failed.
    :raises StoreError: the store fails, which says nothing of what is stored; likewise MemoryError
        where a single part does not fit.
    """
    waiting = [whole]
    while waiting:
        part = waiting.pop()
        try:
            attempt(part)
        except StoreError:
            raise
        except Exception as error:
            found = halves(part)
            if found is not None:
                waiting += reversed(found)
            elif isinstance(error, MemoryError):
                raise
            else:
                failed(part, error)


@dataclass(frozen=True)
class _Frame:
    number: int
    model: str
    payload: bytes


def quarantine_files(
    blobs: BlobRoot, segment: str, reader: FrameReader, aside: SetAside, now: datetime
) -> Iterator[NewFile]:
    """Write the frames that were set aside, per model: files that are durable, and not yet in the
    manifest.

    :param reader: of the segment, which is read once more.
    """
    gathered: dict[str, list[_Frame]] = {}
    size = 0
    for frame in _wanted(reader, aside):
        gathered.setdefault(frame.model, []).append(frame)
        size += len(frame.payload)
        if size >= _MOST_BYTES:
            yield from _written(blobs, segment, gathered, aside, now)
            gathered, size = {}, 0
    yield from _written(blobs, segment, gathered, aside, now)


def _wanted(reader: FrameReader, aside: SetAside) -> Iterator[_Frame]:
    left = len(aside.reasons)
    for number, payload in enumerate(reader):
        if number in aside.reasons:
            yield _Frame(number, model_of(payload), payload)
            left -= 1
            if not left:
                return


def model_of(payload: bytes) -> str:
    """The model that a frame is of, as far as that can be told; else an empty text."""
    try:
        words = int.from_bytes(payload[4:8], "little")
        name = orjson.loads(payload[HEADER.size : HEADER.size + words])["m"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return ""
    fits = isinstance(name, str) and 0 < len(name) <= 100 and "\0" not in name
    return name if fits else ""


def _written(
    blobs: BlobRoot,
    segment: str,
    gathered: dict[str, list[_Frame]],
    aside: SetAside,
    now: datetime,
) -> Iterator[NewFile]:
    for model, frames in sorted(gathered.items()):
        reasons = [aside.reasons[frame.number] for frame in frames]
        table = pa.table(
            [
                pa.array([segment] * len(frames), pa.string()),
                pa.array([frame.number for frame in frames], pa.int64()),
                pa.array([_text(reason) for reason in reasons], pa.string()),
                pa.array([frame.payload for frame in frames], pa.binary()),
            ],
            schema=QUARANTINE,
        )
        yield put_quarantine(blobs, model, table, now, f"{segment}-{uuid.uuid4().hex[:12]}")


def put_quarantine(
    blobs: BlobRoot, model: str, table: pa.Table, at: datetime, unique: str
) -> NewFile:
    """Write ``table``, which has the columns of :data:`QUARANTINE`.

    :param at: when the frames were set aside: they are kept for the retention time from then on.
    """
    reasons = Counter(table.column("reason").to_pylist())
    placed = Placed(model, ManifestKind.QUARANTINE, at, at, unique)
    return put(blobs, table, placed, {"reasons": dict(reasons.most_common(10))})


def _text(reason: str) -> str:
    return reason.encode("utf-8", "backslashreplace").decode()


def halves_of(items: Sequence[T]) -> tuple[Sequence[T], Sequence[T]] | None:
    """``None`` where there is one or none."""
    middle = len(items) // 2
    return (items[:middle], items[middle:]) if middle else None


def summed_reasons(files: Iterable[NewFile]) -> dict[str, int]:
    """Of files of frames that were set aside, and none of others."""
    total: Counter[str] = Counter()
    for file in files:
        if file.values["kind"] == ManifestKind.QUARANTINE.value:
            total.update(file.values["details"]["reasons"])
    return dict(total)
