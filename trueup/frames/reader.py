"""Reading a frame file, also one that is still being written, and mending one that was not closed.

Damage before the tail is never passed over in silence: it raises :class:`FrameError`, or, when the
caller asks to salvage, it is counted. Salvage searches for the next good frame, so a payload that
itself holds frames could pose as some; that is why it is asked for and not the rule.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trueup.errors import FrameError
from trueup.frames.held import HeldFile
from trueup.frames.walk import Damaged, Tail, TailKind, Whole, walk


class FrameReader:
    """Iterates over the payloads of ``path`` and knows afterwards how the file ended.

    :param salvage: go on behind damage and count it in ``damaged_bytes`` instead of raising.

    After the last payload, ``frames`` is their number, ``end`` the offset behind the last one,
    ``tail`` and ``tail_bytes`` tell what lies behind it (a torn tail is normal in a file that is
    being written). ``offset`` is where the latest frame begins. Needs no lock.
    """

    def __init__(self, path: Path, *, salvage: bool = False) -> None:
        self.path = path
        self.salvage = salvage
        self._start()

    def _start(self) -> None:
        self.frames = 0
        self.offset = 0
        self.end = 0
        self.tail = TailKind.CLEAN
        self.tail_bytes = 0
        self.damaged_bytes = 0
        self.damaged_spans = 0

    def __iter__(self) -> Iterator[bytes]:
        self._start()
        try:
            with self.path.open("rb", buffering=1 << 18) as file:
                for span in walk(file, os.fstat(file.fileno()).st_size):
                    if isinstance(span, Whole):
                        self.frames += 1
                        self.offset, self.end = span.offset, span.end
                        yield span.payload
                    else:
                        self._note(span)
        except OSError as error:
            raise FrameError(f"frame file {self.path} cannot be read: {error.strerror}") from error

    def _note(self, span: Damaged | Tail) -> None:
        if isinstance(span, Tail):
            self.tail, self.tail_bytes = span.kind, span.length
            return
        self.damaged_spans += 1
        self.damaged_bytes += span.length
        if not self.salvage:
            raise FrameError(_damage_sentence(self.path, span, self.frames))


@dataclass(frozen=True, slots=True)
class Recovery:
    """What recovery found.

    :param frames: whole frames in the file now.
    :param cut_bytes: of the tail that was cut off.
    :param tail: what that tail was.
    :param damaged_bytes: between whole frames, left in place; 0 unless salvaging.
    """

    frames: int
    cut_bytes: int
    tail: TailKind
    damaged_spans: int = 0
    damaged_bytes: int = 0


def recover(path: Path, *, salvage: bool = False) -> Recovery:
    """Cut the torn tail off a file that nobody holds; whole frames stay.

    :raises FrameError: when the file is held, absent, or damaged before its tail (unless
        ``salvage``); the file is then untouched.
    """
    with HeldFile(path) as held:
        return recover_held(held, salvage=salvage)


def recover_held(
    held: HeldFile,
    *,
    salvage: bool = False,
    before_cut: Callable[[Recovery], None] | None = None,
) -> Recovery:
    """As :func:`recover`, for a caller who holds the file already and goes on holding it.

    :param before_cut: is told what was found while the file is still as it was, so that a count of
        what is lost can be made durable before the loss.
    """
    size = held.size
    frames = end = 0
    damage: list[Damaged] = []
    tail = TailKind.CLEAN
    with held.path.open("rb", buffering=1 << 18) as file:
        for span in walk(file, size):
            if isinstance(span, Whole):
                frames, end = frames + 1, span.end
            elif isinstance(span, Tail):
                tail = span.kind
            else:
                damage.append(span)
    inside = [span for span in damage if span.offset < end]
    if len(inside) < len(damage):  # damage behind the last whole frame is part of the tail
        tail = TailKind.CORRUPT
    if inside and not salvage:
        raise FrameError(_damage_sentence(held.path, inside[0], frames))
    found = Recovery(
        frames=frames,
        cut_bytes=size - end,
        tail=tail,
        damaged_spans=len(inside),
        damaged_bytes=sum(span.length for span in inside),
    )
    if before_cut is not None:
        before_cut(found)
    if end < size:
        held.truncate(end)
    return found


def _damage_sentence(path: Path, span: Damaged, frames: int) -> str:
    return (
        f"frame file {path} is damaged: {span.length} bytes at offset {span.offset} "
        f"are no frame ({frames} frames read so far)"
    )
