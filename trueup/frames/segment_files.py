"""Segment files of the capture's spool: their names, sealing, and recovery after a crash.

``ID.open``    being written; whoever writes it holds its ``flock`` (:mod:`trueup.frames.held`)
``ID.sealed``  complete: whole frames to its end, on disk, never changed again
``ID.loss``    beside it, only where recovery found damage: JSON of the bytes that are gone

A process that dies leaves ``ID.open`` without a lock. Anyone may recover it then, and several may
try at once: the lock decides. No process id is ever asked for. Killed at any point, recovery is
simply done again by the next who looks.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from trueup.errors import FrameError
from trueup.frames.held import HeldFile
from trueup.frames.reader import Recovery, recover_held
from trueup.frames.walk import TailKind
from trueup.frames.writer import sync_folder

OPEN_SUFFIX = ".open"
SEALED_SUFFIX = ".sealed"
LOSS_SUFFIX = ".loss"

#: Crockford's base 32 in lower case: ASCII order is order of value.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_DIGITS = 10
_RANDOM_DIGITS = 16
RANDOM_BYTES = 10


def mint_segment_id(now_ms: int, randomness: bytes) -> str:
    """An id of 26 characters, ordered by time, unique by 80 random bits (a ULID in lower case).

    :param now_ms: milliseconds since 1970.
    :param randomness: ``RANDOM_BYTES`` bytes from ``os.urandom``.

    >>> mint_segment_id(1_385_000_000_000, bytes(10))
    '0189w6xpg00000000000000000'
    """
    return _base32(now_ms, _TIME_DIGITS) + _base32(
        int.from_bytes(randomness, "big"), _RANDOM_DIGITS
    )


def _base32(number: int, digits: int) -> str:
    return "".join(_DIGITS[(number >> (5 * place)) & 31] for place in reversed(range(digits)))


def open_path(spool_dir: Path, segment_id: str) -> Path:
    return spool_dir / f"{segment_id}{OPEN_SUFFIX}"


def sealed_path(spool_dir: Path, segment_id: str) -> Path:
    return spool_dir / f"{segment_id}{SEALED_SUFFIX}"


@dataclass(frozen=True, slots=True)
class Loss:
    """Bytes of a segment that recovery could not keep.

    :param cut_bytes: of the tail. A ``torn`` tail is the batch that a killed writer was at: none of
        its attempts was answered (unless the machine lost power under durability "process"). A
        ``corrupt`` one was damaged.
    :param damaged_bytes: between whole frames, left in place: read the segment with ``salvage``.
    """

    cut_bytes: int = 0
    tail: str = "clean"
    damaged_spans: int = 0
    damaged_bytes: int = 0

    @property
    def lost_bytes(self) -> int:
        return self.cut_bytes + self.damaged_bytes

    @property
    def is_damage(self) -> bool:
        """Whether frames that had been written may be among what is lost."""
        return bool(self.damaged_bytes) or self.tail == TailKind.CORRUPT.value


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A sealed segment in the spool."""

    segment_id: str
    path: Path
    bytes: int
    loss: Loss = Loss()


@dataclass(frozen=True, slots=True)
class RecoveredSegment:
    """What became of an open segment that nobody held.

    :param path: of the sealed segment; ``None`` where no frame had been written, and it was deleted
        (one that lost all its frames to damage is sealed, so that the loss is not forgotten).
    :param problem: why it could not be recovered now; it is then untouched or as a killed recovery
        leaves it, and the next one tries again.
    """

    segment_id: str
    path: Path | None
    frames: int = 0
    bytes: int = 0
    loss: Loss = Loss()
    problem: str = ""


def sealed_segments(spool_dir: Path) -> list[SegmentFile]:
    """The sealed segments in ``spool_dir``, oldest first."""
    found = []
    for path in _with_suffix(spool_dir, SEALED_SUFFIX):
        try:
            size = path.stat().st_size
        except FileNotFoundError:  # compacted and deleted meanwhile
            continue
        found.append(SegmentFile(path.stem, path, size, read_loss(spool_dir, path.stem)))
    return found


def open_segments(spool_dir: Path) -> list[Path]:
    """Files of segments that are being written, or whose writer is dead; oldest first."""
    return _with_suffix(spool_dir, OPEN_SUFFIX)


def _with_suffix(spool_dir: Path, suffix: str) -> list[Path]:
    try:
        names = sorted(name for name in os.listdir(spool_dir) if name.endswith(suffix))  # noqa: PTH208
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FrameError(f"spool {spool_dir} cannot be read: {error.strerror}") from error
    return [spool_dir / name for name in names]


def seal_held(held: HeldFile) -> Path:
    """Make an open segment's bytes and then its new name durable; the caller goes on holding it.

    :raises OSError: when the disk fails. The file is whole under one of its two names.
    """
    os.fsync(held.fd)
    target = held.path.with_suffix(SEALED_SUFFIX)
    held.path.rename(target)
    held.path = target
    sync_folder(target.parent)
    return target


def delete_segment(spool_dir: Path, segment_id: str) -> None:
    """Delete a sealed segment whose rows are safe elsewhere; one that is gone is no error."""
    sealed_path(spool_dir, segment_id).unlink(missing_ok=True)
    # Its loss goes last: a segment without it would look undamaged.
    for suffix in (".part", LOSS_SUFFIX):
        (spool_dir / f"{segment_id}{suffix}").unlink(missing_ok=True)


def recover_segments(spool_dir: Path) -> list[RecoveredSegment]:
    """Seal every open segment that nobody holds; those that never had a frame are deleted.

    Whole frames are kept, a torn tail is cut, and what is lost is counted in ``ID.loss`` before it
    is cut off. Held segments, and those that another recovery gets first, are not in the result.
    """
    found = []
    for path in open_segments(spool_dir):
        try:
            with HeldFile(path) as held:
                found.append(_recover(held))
        except FrameError as error:
            if not error.retry and path.exists():
                found.append(RecoveredSegment(path.stem, None, problem=str(error)))
        except OSError as error:
            sentence = f"segment {path} cannot be recovered: {error.strerror}"
            found.append(RecoveredSegment(path.stem, None, problem=sentence))
    return found


def _recover(held: HeldFile) -> RecoveredSegment:
    path, segment_id = held.path, held.path.stem
    loss = read_loss(path.parent, segment_id)

    def remember(found: Recovery) -> None:
        nonlocal loss
        tail = found.tail.value if found.cut_bytes else loss.tail
        # A recovery that was killed may have counted, and even cut, this same tail before.
        cut = max(found.cut_bytes, loss.cut_bytes)
        loss = Loss(cut, tail, found.damaged_spans, found.damaged_bytes)
        if loss.damaged_bytes or (loss.cut_bytes and (found.frames or loss.is_damage)):
            _write_loss(path.parent, segment_id, loss)

    found = recover_held(held, salvage=True, before_cut=remember)
    if not found.frames and not loss.is_damage:
        path.unlink()
        return RecoveredSegment(segment_id, None, loss=loss)
    size = held.size
    return RecoveredSegment(segment_id, seal_held(held), found.frames, size, loss)


def read_loss(spool_dir: Path, segment_id: str) -> Loss:
    """What recovery could not keep of a segment; nothing, as a rule."""
    try:
        return Loss(**json.loads((spool_dir / f"{segment_id}{LOSS_SUFFIX}").read_bytes()))
    except FileNotFoundError:
        return Loss()


def _write_loss(spool_dir: Path, segment_id: str, loss: Loss) -> None:
    """Whole or not at all; the segment's lock is held, so nobody else writes this file."""
    path = spool_dir / f"{segment_id}{LOSS_SUFFIX}"
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        file.write(json.dumps(asdict(loss)).encode())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(spool_dir)
