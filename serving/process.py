"""What a server process does about itself: its log, its memory, its threads, its predecessors."""

from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from pathlib import Path

from trueup.config.serving import ServingSettings
from trueup.errors import TrueupError
from trueup.frames.segment_files import recover_segments

_log = logging.getLogger(__name__)


def recover(spool: Path) -> None:
    """Seal what dead servers left, and say what came of it. Never fails: a segment that cannot be
    recovered now stays, and the compactor tries it again."""
    try:
        for segment in recover_segments(spool):
            if segment.problem:
                _log.error("segment %s stays unsealed: %s", segment.segment_id, segment.problem)
                continue
            _log.info("recovered segment %s: %d frames", segment.segment_id, segment.frames)
            if segment.loss.is_damage:
                _log.error(
                    "segment %s is damaged: %d bytes of it are lost",
                    segment.segment_id, segment.loss.lost_bytes,
                )  # fmt: skip
    except (TrueupError, OSError):
        _log.exception("segments of dead servers are not recovered")


def summed(*counters: Counter[int]) -> Counter[int]:
    """Their sum, though the event loop counts on: a copy is made in one step of the interpreter,
    and adding is not."""
    return sum((Counter(dict(each)) for each in counters), Counter())


def resident_bytes() -> int:
    """Of this process, from ``/proc/self/statm``."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def threads_of(serving: ServingSettings) -> int:
    """TensorFlow's threads in one call of one worker."""
    if serving.model_threads:
        return serving.model_threads
    return max(1, (os.cpu_count() or 1) // serving.workers)


def quiet_logs(index: int) -> None:
    """Our own lines, and errors of libraries: TensorFlow tells much that helps nobody here."""
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s %(levelname)s worker {index}: %(message)s"
    )
    for name, level in (("alembic", logging.WARNING), ("tensorflow", logging.ERROR)):
        logging.getLogger(name).setLevel(level)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
