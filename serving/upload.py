"""What is in the spool goes to the blob root when a server stops, where its disk does not last
(``capture.upload_on_stop``). The supervisor does it, when its workers have sealed and ended."""

from __future__ import annotations

import logging
import platform
import threading
from pathlib import Path
from time import monotonic

from trueup.errors import FrameError, TrueupError
from trueup.frames.held import HeldFile
from trueup.frames.segment_files import SegmentFile, delete_segment, sealed_segments
from trueup.serving.process import recover
from trueup.store.blobs import BlobRoot
from trueup.store.uploaded import upload

_log = logging.getLogger(__name__)

#: Also where draining has used up its time: nothing else keeps what is in the spool.
LEAST_S = 5.0


class Upload:
    """Of all sealed segments of a spool, oldest first.

    :param limit_s: monotonic time after which none is begun.
    :ivar uploaded: segments. :ivar failure: why it ended early; empty when it did not.
    """

    def __init__(self, spool: Path, blobs: BlobRoot, limit_s: float) -> None:
        self._spool = spool
        self._blobs = blobs
        self._limit_s = limit_s
        self.uploaded = 0
        self.failure = ""

    def run(self) -> None:
        try:
            recover(self._spool)  # of workers that were killed
            for segment in sealed_segments(self._spool):
                if monotonic() >= self._limit_s:
                    return
                self._take(segment)
        except (TrueupError, OSError) as error:
            self.failure = str(error)

    def _take(self, segment: SegmentFile) -> None:
        try:
            held = HeldFile(segment.path)
        except FrameError:
            return  # a compaction is at it, or was
        with held:
            upload(self._blobs, segment, platform.node())
            # Killed before this it is in both places, and compaction takes it once, by its id.
            delete_segment(self._spool, segment.segment_id)
        self.uploaded += 1


def upload_spool(spool: Path, blobs: BlobRoot, within_s: float) -> bool:
    """Upload what can be within ``within_s`` seconds, and say what came of it; whether nothing was
    left. An upload that hangs is left hanging: the process ends without it."""
    work = Upload(spool, blobs, monotonic() + within_s)
    thread = threading.Thread(target=work.run, name="upload", daemon=True)
    thread.start()
    thread.join(within_s)
    try:
        left = len(sealed_segments(spool))
    except FrameError as error:
        work.failure, left = str(error), 1
    what = f"{work.uploaded} segment{'' if work.uploaded == 1 else 's'} uploaded to {blobs.shown}"
    _log.info("%s", what)
    if left:
        _log.error(
            "%d segments are still in spool %s: %s; they are lost if that disk does not last",
            left, spool, work.failure or f"there was no more time than {within_s:.0f} s",
        )  # fmt: skip
    return not left
