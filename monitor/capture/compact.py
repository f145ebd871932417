"""Compaction: sealed segments of the spool become rows in Parquet and partial profiles of windows.

Per segment: Parquet under names that nobody has, then ONE transaction (manifest, partial profiles,
the segment's new state), then the file is deleted. Killed anywhere and run again, every row is
there once: before the transaction nothing refers to the new files (they are collected as orphans),
after it a segment that is still in the spool is known to be done. Several may run at once: the lock
on the segment's file decides, and where that is not one (two hosts, one folder), the condition on
the segment's state.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Protocol

import numpy as np
from sqlalchemy import Engine

from trueup.config.settings import Settings
from trueup.errors import ConflictError, FrameError, StoreError, TrueupError
from trueup.frames.capture_codec import VERSION, decode_frame
from trueup.frames.held import HeldFile
from trueup.frames.reader import FrameReader
from trueup.frames.segment_files import (
    SegmentFile,
    delete_segment,
    recover_segments,
    sealed_segments,
)
from trueup.monitor.capture.collect_rows import Collector, Counts, summed
from trueup.monitor.capture.decode import Decoder, labels_apart
from trueup.monitor.capture.event_time import moment_of
from trueup.monitor.capture.frame_block import NEWER, FrameBlock, read_block
from trueup.monitor.capture.model_facts import FactsBook
from trueup.monitor.capture.parquet_file import NewFile
from trueup.monitor.capture.segment_rows import (
    Compacted,
    commit,
    found_segment,
    is_compacted,
    register,
)
from trueup.monitor.capture.set_aside import (
    SetAside,
    in_parts,
    quarantine_files,
)
from trueup.monitor.capture.watermark import watermark_of
from trueup.records.capture import CaptureFrame
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading
from trueup.store.uploaded import delete_uploaded, fetch, tidy, uploaded_segments

BLOCK_FRAMES = 1 << 13
BLOCK_BYTES = 8 << 20
"""Frames that are decoded at once, at most."""

UPLOADED = ".uploaded"
"""Folder in the spool for copies of segments that servers have uploaded."""

Progress = Callable[[int, int], None]
"""Called with the bytes of segments that are done, and of all."""


class LabelSink(Protocol):
    """Takes the frames of labels of one segment (monitor/capture/labels_*.py)."""

    def add(self, frame: CaptureFrame, number: int) -> None:
        """:param number: index of the frame in its segment."""
        ...

    def files(self) -> list[NewFile]:
        """Written and durable; they get into the manifest with the rows."""
        ...


LabelSinks = Callable[[str], LabelSink]
"""A sink for the segment of that id."""


@dataclass
class CompactionReport:
    """What one run did.

    :param compacted: segments; ``busy``: those that another process was at; ``deleted``: those
        whose rows were safe already and whose file was still there.
    :param set_aside: frames that could not be read, and wait in files of their own; and why.
    :param failed: why each of those that could not be compacted stays in the spool.
    """

    compacted: int = 0
    busy: int = 0
    deleted: int = 0
    recovered: int = 0
    frames: int = 0
    label_frames: int = 0
    files: int = 0
    counts: Counts = field(default_factory=Counts)
    bytes_read: int = 0
    bytes_written: int = 0
    lost_bytes: int = 0
    set_aside: int = 0
    set_aside_reasons: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def compact_once(
    settings: Settings,
    engine: Engine,
    blobs: BlobRoot,
    now: datetime,
    *,
    labels: LabelSinks | None = None,
    progress: Progress | None = None,
    most: int | None = None,
) -> CompactionReport:
    """Compact all sealed segments of this machine's spool, and those that servers have uploaded.

    One that cannot be compacted is left where it is, named in the report, and holds no other up.

    :param labels: takes frames of labels; without it segments that have such stay in the spool.
    :param most: segments to take at most.
    :raises StoreError: the store is away: nothing was lost, try again.
    """
    report = CompactionReport()
    for recovery in recover_segments(settings.spool_dir):
        report.recovered += recovery.path is not None
        if recovery.problem:
            report.failed[recovery.segment_id] = recovery.problem
    run = _Run(settings, engine, blobs, now, labels, report)
    found = sealed_segments(settings.spool_dir)[:most]
    if found:
        _compact_spool(run, engine, found, now, progress)
    left = None if most is None else most - len(found)
    _compact_uploaded(run, settings, engine, blobs, now, left)
    return report


def _compact_spool(
    run: _Run,
    engine: Engine,
    found: list[SegmentFile],
    now: datetime,
    progress: Progress | None,
) -> None:
    host = platform.node()
    known = [found_segment(segment, host, str(segment.path), now) for segment in found]
    done = register(engine, known)
    total, read = sum(segment.bytes for segment in found), 0
    for segment in found:
        run.take(segment, is_done=segment.segment_id in done)
        read += segment.bytes
        if progress is not None:
            progress(read, total)


def _compact_uploaded(
    run: _Run,
    settings: Settings,
    engine: Engine,
    blobs: BlobRoot,
    now: datetime,
    most: int | None,
) -> None:
    """One at a time, by a copy beside the spool, which is compacted as those in the spool are."""
    folder = settings.spool_dir / UPLOADED
    found = uploaded_segments(blobs)
    tidy(folder, {each.segment_id for each in found})
    for each in found[:most]:
        if not _is_done(engine, each.segment_id):
            try:
                segment = fetch(blobs, each, folder)
            except (FrameError, StoreError) as error:
                if isinstance(error, StoreError) and error.retry:
                    raise
                if not _is_done(engine, each.segment_id):
                    run.not_taken(each.segment_id, error)
                continue
            register(engine, [found_segment(segment, each.host, blobs.uri(each.name), now)])
            run.take(segment, is_done=False)
        if _is_done(engine, each.segment_id):  # by us, or by another process
            delete_uploaded(blobs, each)


def _is_done(engine: Engine, segment_id: str) -> bool:
    with reading(engine) as connection:
        return is_compacted(connection, segment_id)


class _Run:
    """One run over the spool."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        blobs: BlobRoot,
        now: datetime,
        labels: LabelSinks | None,
        report: CompactionReport,
    ) -> None:
        self._settings, self._engine, self._blobs, self._now = settings, engine, blobs, now
        self._labels, self._report = labels, report
        self._facts = FactsBook(engine, settings)
        self._watermarks: dict[str, datetime | None] = {}

    def take(self, segment: SegmentFile, *, is_done: bool) -> None:
        """Compact one segment, unless another process is at it."""
        report = self._report
        try:
            with HeldFile(segment.path):
                if is_done or not self._compact(segment):
                    report.deleted += 1
                delete_segment(segment.path.parent, segment.segment_id)
        except FrameError as error:
            if not segment.path.exists():  # another process was quicker
                report.busy += 1
            else:
                self.not_taken(segment.segment_id, error)
        except StoreError as error:
            if error.retry and not isinstance(error, ConflictError):
                raise
            report.failed[segment.segment_id] = str(error)
        except TrueupError as error:
            report.failed[segment.segment_id] = str(error)
        except Exception as error:  # noqa: BLE001  one segment must not hold the others up
            what = " ".join(str(error).split())[:300]
            report.failed[segment.segment_id] = f"{type(error).__name__}: {what}"

    def not_taken(self, segment_id: str, error: TrueupError) -> None:
        """Another process is at it, or it cannot be read."""
        if error.retry:
            self._report.busy += 1
        else:
            self._report.failed[segment_id] = str(error)

    def _compact(self, segment: SegmentFile) -> bool:
        """Whether it was this process that did it; if not, another one has done it."""
        began = datetime.now(timezone.utc)
        reader = FrameReader(segment.path, salvage=True)
        facts = self._facts
        decoder = Decoder(lambda model: facts.of(model).spec)
        collector = Collector(segment.segment_id, self._blobs, self._now, facts.of, self._watermark)
        sink = self._labels(segment.segment_id) if self._labels is not None else None
        aside, label_frames = collector.aside, 0
        for first, payloads in _blocks(reader):
            rows, labels = labels_apart(read_block(payloads, first, aside.add))
            _add_rows(rows, decoder, collector)
            if len(labels) and sink is None:
                raise FrameError(
                    f"segment {segment.segment_id} holds labels, which nobody takes here",
                    remedy="compact it by trueup compact",
                )
            if sink is not None:
                label_frames += _add_labels(sink, labels, payloads, first, aside)
        _require_known(segment, reader.frames, aside)
        collector.finish()
        files = [*collector.files, *(sink.files() if sink is not None else ())]
        lost = segment.loss.cut_bytes + reader.damaged_bytes + reader.tail_bytes
        frames = reader.frames
        if aside.reasons:
            named = segment.segment_id
            files += quarantine_files(self._blobs, named, reader, aside, self._now)
        done = self._done(segment, began, collector, frames, lost, files, label_frames)
        try:
            commit(self._engine, done, self._now)
        except ConflictError:
            with reading(self._engine) as connection:
                if not is_compacted(connection, segment.segment_id):
                    raise
            # Another process did it. Ours was refused as a whole: nothing refers to these files.
            for file in files:
                with suppress(StoreError):
                    self._blobs.delete(file.name)
            return False
        self._add_up(segment, done, collector)
        return True

    def _done(
        self,
        segment: SegmentFile,
        began: datetime,
        collector: Collector,
        frames: int,
        lost: int,
        files: list[NewFile],
        label_frames: int,
    ) -> Compacted:
        newest = collector.newest_us()
        details = {**summed(collector.counts()), "label_frames": label_frames}
        if collector.aside.reasons:
            details["set_aside"] = len(collector.aside.reasons)
            details["set_aside_reasons"] = collector.aside.counts()
        return Compacted(
            segment.segment_id, began, moment_of(newest) if newest is not None else None, frames,
            lost, details, files, collector.partials(),
        )  # fmt: skip

    def _add_up(self, segment: SegmentFile, done: Compacted, collector: Collector) -> None:
        report = self._report
        report.compacted += 1
        report.frames += done.frames
        report.label_frames += done.details["label_frames"]
        report.files += len(done.files)
        report.bytes_read += segment.bytes
        report.bytes_written += sum(file.values["bytes"] for file in done.files)
        report.lost_bytes += done.lost_bytes
        report.set_aside += len(collector.aside.reasons)
        for reason, count in collector.aside.counts().items():
            before = report.set_aside_reasons.get(reason, 0)
            report.set_aside_reasons[reason] = before + count
        for counts in collector.counts().values():
            report.counts.add(counts)
        report.problems += [p for p in collector.problems() if p not in report.problems]

    def _watermark(self, model: str) -> datetime | None:
        if model not in self._watermarks:
            with reading(self._engine) as connection:
                found = watermark_of(connection, self._settings, model, self._now)
            self._watermarks[model] = found
        return self._watermarks[model]


def _blocks(reader: FrameReader) -> Iterator[tuple[int, list[bytes]]]:
    """The payloads in blocks, each with the index of its first."""
    block: list[bytes] = []
    size, first = 0, 0
    for payload in reader:
        block.append(payload)
        size += len(payload)
        if len(block) >= BLOCK_FRAMES or size >= BLOCK_BYTES:
            yield first, block
            first += len(block)
            block, size = [], 0
    if block:
        yield first, block


def _add_rows(block: FrameBlock, decoder: Decoder, collector: Collector) -> None:
    """The rows of ``block``; frames of which something fails are set aside."""

    def attempt(some: FrameBlock) -> None:
        found = [collector.ready(part) for part in decoder.decode(some)]
        for ready in found:
            collector.take(ready)

    in_parts(block, attempt, _halved, lambda one, error: _leave(one, error, collector.aside))


def _halved(block: FrameBlock) -> tuple[FrameBlock, FrameBlock] | None:
    middle = len(block) // 2
    early, late = np.arange(middle), np.arange(middle, len(block))
    return (block.take(early), block.take(late)) if middle else None


def _leave(block: FrameBlock, error: Exception, aside: SetAside) -> None:
    for number in block.number.tolist():  # one
        aside.add_error(number, error)


def _add_labels(
    sink: LabelSink, block: FrameBlock, payloads: list[bytes], first: int, aside: SetAside
) -> int:
    """How many frames of labels were taken."""
    taken = 0
    for number in block.number.tolist():
        try:
            sink.add(decode_frame(payloads[number - first]), number)
        except (StoreError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  it must not hold the others up
            aside.add_error(number, error)
        else:
            taken += 1
    return taken


def _require_known(segment: SegmentFile, frames: int, aside: SetAside) -> None:
    """:raises FrameError: no frame of the segment is of a layout that this release knows."""
    newer = sum(reason == NEWER for reason in aside.reasons.values())
    if newer and newer == frames:
        raise FrameError(
            f"all frames of segment {segment.segment_id} have a layout that is newer than "
            f"{VERSION}, which this release reads",
            remedy="compact it with the release that wrote it, or a newer one",
        )
