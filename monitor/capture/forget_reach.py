"""What erasing cannot reach, in sentences."""

from __future__ import annotations

import platform

from sqlalchemy import Engine, select

from trueup.config.settings import Settings
from trueup.frames.segment_files import open_segments, sealed_segments
from trueup.store.engine import reading
from trueup.store.tables import SegmentState, heartbeats, segments

ALWAYS = (
    "Not erased: backups and exports of the store and the capture, models that were trained on "
    "these rows and their baselines, and reports of earlier checks (they hold counts and frequent "
    "values, no rows)."
)


def unreached(settings: Settings, engine: Engine) -> list[str]:
    """Where rows of anybody may still be, outside of the manifest: for the next run.

    Empty after the spool of the only host was compacted, and no server writes to it.
    """
    said = []
    still_open = len(open_segments(settings.spool_dir))
    if still_open:
        age = int(settings.capture.segment_age.total_seconds())
        said.append(
            f"{_many(still_open, 'segment')} in this machine's spool are still being written: they "
            f"are sealed within {age} s; run this again then"
        )
    waiting = len(sealed_segments(settings.spool_dir))
    if waiting:
        said.append(
            f"{_many(waiting, 'sealed segment')} in this machine's spool could not be compacted: "
            "trueup compact says why; run this again then"
        )
    others = _other_hosts(engine)
    if others:
        said.append(
            f"the spools of {', '.join(sorted(others))} are out of reach from here: run "
            "trueup compact there, then this again"
        )
    return said


def _other_hosts(engine: Engine) -> set[str]:
    """Hosts with servers, or with segments that are not compacted."""
    with reading(engine) as connection:
        pending = connection.scalars(
            select(segments.c.host).where(segments.c.state != SegmentState.COMPACTED.value)
        ).all()
        servers = connection.scalars(
            select(heartbeats.c.host).where(heartbeats.c.kind == "server")
        ).all()
    return {*pending, *servers} - {platform.node()}


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
