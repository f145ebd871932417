"""What moves the watermark: rows that are committed, and neither clocks nor signs of life."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update

from tests.capture.conftest import NOW, Lab, frame, us
from trueup.frames.held import HeldFile
from trueup.frames.segment_files import open_path, sealed_path
from trueup.monitor.capture.watermark import watermark_of
from trueup.store.engine import reading, writing
from trueup.store.tables import heartbeats, manifest, segments

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LATENESS = 10 * MINUTE
FAR = datetime(2099, 1, 1, tzinfo=NOW.tzinfo)


def mark(lab: Lab, now: datetime | None = None) -> datetime | None:
    with reading(lab.engine) as connection:
        return watermark_of(connection, lab.settings, "flights", now or lab.now)


def served(lab: Lab, at: datetime, host: str = "") -> str:
    """A segment of a host, sealed and compacted at ``at``, with a row of that moment."""
    lab.now = at
    segment = lab.segment([frame([{"x": 1.0}], at=at)])
    path = sealed_path(lab.settings.spool_dir, segment)
    os.utime(path, (at.timestamp(), at.timestamp()))
    assert not lab.compact().failed
    if host:
        with writing(lab.engine) as connection:
            connection.execute(update(segments).where(segments.c.id == segment).values(host=host))
    return segment


def alive(lab: Lab, host: str) -> None:
    """A heartbeat of just now."""
    with writing(lab.engine) as connection:
        connection.execute(
            insert(heartbeats).values(
                process=host, kind="server", host=host, pid=1, started_at=NOW, seen_at=lab.now,
                details={},
            )
        )  # fmt: skip


def test_an_idle_server_does_not_move_it_and_holds_nobody_up(any_lab: Lab) -> None:
    lab = any_lab
    served(lab, NOW, "idle")
    alive(lab, "idle")
    assert mark(lab) == NOW - LATENESS
    for later in (MINUTE, HOUR, 30 * DAY):  # time passes, and nothing comes
        assert mark(lab, NOW + later) == NOW - LATENESS
    served(lab, NOW + 5 * MINUTE, "busy")
    assert mark(lab) == NOW - LATENESS  # it might still have rows
    served(lab, NOW + 20 * MINUTE, "busy")
    assert mark(lab) == NOW + 20 * MINUTE - LATENESS


def test_rows_of_a_server_that_died_hold_it_until_they_are_in(any_lab: Lab) -> None:
    lab = any_lab
    served(lab, NOW)
    at = NOW + 2 * MINUTE
    dead = lab.segment(
        [frame([{"x": 2.0}], at=at)], path=open_path(lab.settings.spool_dir, "0" * 26)
    )
    assert dead and mark(lab, at + HOUR) == NOW - LATENESS  # in no file of the manifest yet
    lab.now = at + 5 * MINUTE
    report = lab.compact()
    assert (report.recovered, report.compacted) == (1, 1)
    assert mark(lab) == at - LATENESS


def test_a_segment_that_waits_holds_it_back(any_lab: Lab) -> None:
    lab = any_lab
    served(lab, NOW)
    waiting = lab.segment([frame([{"x": 2.0}], at=NOW)])
    with HeldFile(sealed_path(lab.settings.spool_dir, waiting)):
        served(lab, NOW + 6 * MINUTE)
        assert mark(lab) == NOW - LATENESS
    lab.compact()
    assert mark(lab) == NOW + 6 * MINUTE - LATENESS


def test_an_arrival_in_the_future_closes_no_window(any_lab: Lab) -> None:
    """The clock of a server is wrong, that of the compactor is not."""
    lab = any_lab
    lab.segment([frame([{"x": 1.0}], at=FAR), frame([{"x": 2.0}], at=NOW - MINUTE)])
    assert lab.compact().counts.retimed == 1
    rows = lab.rows().to_pylist()
    assert [(row["event_time"], row["event_time_source"]) for row in rows] == [
        (NOW, "retimed"), (NOW - MINUTE, "arrival")
    ]  # fmt: skip
    assert rows[0]["arrival_time"] == FAR
    assert mark(lab) == NOW - LATENESS


def test_a_header_and_a_variable_of_2099_close_no_window(lab: Lab) -> None:
    lab.segment([frame([{"x": 1.0}], at=NOW - MINUTE, event_us=us(FAR))])
    assert lab.compact().counts.retimed == 1
    assert mark(lab) == NOW - MINUTE - LATENESS


def test_rows_that_came_in_under_a_wrong_clock_do_not_count(any_lab: Lab) -> None:
    """Both clocks were wrong, and are right again."""
    lab = any_lab
    served(lab, NOW - 5 * MINUTE)
    served(lab, FAR)
    served(lab, NOW)
    assert mark(lab) == NOW - LATENESS
    assert mark(lab, NOW + 30 * DAY) == NOW - LATENESS
    with reading(lab.engine) as connection:
        newest = connection.scalars(select(manifest.c.last_event_at)).all()
    assert max(newest) == FAR


def test_a_file_from_the_future_keeps_no_host_active(any_lab: Lab) -> None:
    lab = any_lab
    segment = lab.segment([frame([{"x": 1.0}], at=NOW - MINUTE)])
    path = Path(sealed_path(lab.settings.spool_dir, segment))
    os.utime(path, (FAR.timestamp(), FAR.timestamp()))
    lab.compact()
    with reading(lab.engine) as connection:
        row: Any = connection.execute(select(segments).where(segments.c.id == segment)).one()
    assert row.sealed_at == NOW and row.opened_at <= NOW and row.host == platform.node()
    served(lab, NOW + HOUR, "other")
    assert mark(lab) == NOW + HOUR - LATENESS
