"""What the capture counts: for ``/metrics``, for the heartbeat, and for the watermark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from trueup.serving.capture.segment import OpenSegment


class Batch(NamedTuple):
    """Encoded frames of one call of the model."""

    data: bytes
    frames: int
    rows: int
    model: str
    newest_event_us: int | None


@dataclass(frozen=True, slots=True)
class CaptureStats:
    """A look at one writer. Counts are since it was made.

    :param frames_accepted: written as the durability asks; these attempts may be answered.
    :param frames_durable: on the disk by ``fsync`` (under "process" that is when a segment seals).
    :param frames_dropped: answered without being captured (policy "drop").
    :param frames_rejected: not captured, and refused with 503.
    :param frames_lost: of segments that somebody deleted while they were written.
    :param bytes_accepted: of frames, with their framing.
    :param segments_sealed: complete files; ``segments_unsealed``: open, or waiting to be sealed.
    :param seal_failures: segments left to recovery because the disk failed.
    :param oldest_unsealed_s: age of the oldest unsealed segment, seconds; 0 where there is none.
    :param spool_bytes: of all files in the spool, when last measured.
    :param free_bytes: of the spool's disk, likewise.
    :param full: whether a batch like the latest would meet the policy for a full spool.
    :param newest_event_us: per model, microseconds since 1970.
    :param problem: the latest failure in words; empty where there was none.
    """

    frames_accepted: int
    rows_accepted: int
    bytes_accepted: int
    frames_durable: int
    rows_durable: int
    frames_dropped: int
    rows_dropped: int
    frames_rejected: int
    rows_rejected: int
    frames_lost: int
    write_failures: int
    sync_failures: int
    seal_failures: int
    segments_sealed: int
    segments_unsealed: int
    oldest_unsealed_s: float
    spool_bytes: int
    free_bytes: int
    full: bool
    newest_event_us: Mapping[str, int]
    problem: str


@dataclass(slots=True)
class Counts:
    """The numbers behind :class:`CaptureStats`; changed under the writer's lock."""

    frames_accepted: int = 0
    rows_accepted: int = 0
    bytes_accepted: int = 0
    frames_durable: int = 0
    rows_durable: int = 0
    frames_dropped: int = 0
    rows_dropped: int = 0
    frames_rejected: int = 0
    rows_rejected: int = 0
    frames_lost: int = 0
    write_failures: int = 0
    sync_failures: int = 0
    seal_failures: int = 0
    segments_sealed: int = 0
    problem: str = ""
    refused_bytes: int = 1  # size of the latest batch without room; 1 after one that had it
    most_durable: tuple[int, int] = (0, 0)
    newest_event_us: dict[str, int] = field(default_factory=dict)

    def accept(self, batch: Batch) -> None:
        self.frames_accepted += batch.frames
        self.rows_accepted += batch.rows
        self.bytes_accepted += len(batch.data)
        self.refused_bytes = 1
        newest = batch.newest_event_us
        if newest is not None and newest > self.newest_event_us.get(batch.model, newest - 1):
            self.newest_event_us[batch.model] = newest

    def drop(self, batch: Batch) -> None:
        self.frames_dropped += batch.frames
        self.rows_dropped += batch.rows

    def reject(self, batch: Batch) -> None:
        self.frames_rejected += batch.frames
        self.rows_rejected += batch.rows

    def lose(self, segment: OpenSegment) -> None:
        """``segment`` was deleted under us."""
        self.frames_lost += segment.mark.frames
        self.problem = f"segment {segment.segment_id} was deleted from the spool by someone else"

    def retire(self, segment: OpenSegment, sealed: bool) -> None:
        """``segment`` was sealed, or left to recovery. An empty one counts as nothing."""
        self.frames_durable += segment.durable.frames
        self.rows_durable += segment.durable.rows
        if not sealed:
            self.seal_failures += 1
            self.problem = segment.sync_failure
        elif segment.mark.size:
            self.segments_sealed += 1

    def snapshot(
        self,
        *,
        unsealed: Iterable[OpenSegment],
        oldest_age_s: float,
        spool_bytes: int,
        free_bytes: int,
        full: bool,
    ) -> CaptureStats:
        segments = list(unsealed)
        frames_durable = self.frames_durable + sum(each.durable.frames for each in segments)
        rows_durable = self.rows_durable + sum(each.durable.rows for each in segments)
        # Between two of its places a segment is in neither, and a counter never goes back.
        self.most_durable = (
            max(self.most_durable[0], frames_durable),
            max(self.most_durable[1], rows_durable),
        )
        return CaptureStats(
            frames_accepted=self.frames_accepted,
            rows_accepted=self.rows_accepted,
            bytes_accepted=self.bytes_accepted,
            frames_durable=self.most_durable[0],
            rows_durable=self.most_durable[1],
            frames_dropped=self.frames_dropped,
            rows_dropped=self.rows_dropped,
            frames_rejected=self.frames_rejected,
            rows_rejected=self.rows_rejected,
            frames_lost=self.frames_lost,
            write_failures=self.write_failures,
            sync_failures=self.sync_failures,
            seal_failures=self.seal_failures,
            segments_sealed=self.segments_sealed,
            segments_unsealed=len(segments),
            oldest_unsealed_s=oldest_age_s,
            spool_bytes=spool_bytes,
            free_bytes=free_bytes,
            full=full,
            newest_event_us=dict(self.newest_event_us),
            problem=self.problem,
        )
