"""When rows happened, which times are believed, and how far the watermark is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.capture.conftest import NOW, Lab, frame, us
from trueup.monitor.capture.watermark import Writer, watermark, watermark_of
from trueup.records.input_spec import InputSpec, Variable
from trueup.store.engine import reading

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
EARLIER = NOW - 3 * HOUR


def spec(**more: Any) -> InputSpec:
    time = {"name": "when", "dtype": "timestamp", "kind": "time", "role": "time", "optional": True}
    return InputSpec(
        variables=(
            Variable(name="x", dtype="float64", kind="numeric"),
            Variable(**{**time, **more}),
        )
    )


def only_row(lab: Lab) -> dict[str, Any]:
    assert not lab.compact().failed
    (row,) = lab.rows().to_pylist()
    return row


@pytest.mark.parametrize(
    ("declared", "sent"),
    [
        ({}, "2024-05-01T09:00:00Z"),
        ({}, "2024-05-01T11:00:00+02:00"),
        ({}, "2024-05-01 09:00:00"),
        ({"dtype": "int64", "unit": "s"}, us(EARLIER) // 1_000_000),
        ({"dtype": "int64", "unit": "ms"}, us(EARLIER) // 1000),
        ({"dtype": "int64", "unit": "us"}, us(EARLIER)),
        ({"dtype": "int64", "unit": "ns"}, us(EARLIER) * 1000),
        ({"dtype": "float64", "unit": "s"}, us(EARLIER) / 1e6),
        ({"dtype": "string"}, "2024-05-01T09:00:00Z"),
    ],
)
def test_a_variable_tells_the_time(lab: Lab, declared: dict[str, Any], sent: Any) -> None:
    lab.declare(spec(**declared))
    lab.segment([frame([{"x": 1.0, "when": sent}], event_us=us(NOW - HOUR))])
    row = only_row(lab)
    assert (row["event_time"], row["event_time_source"]) == (EARLIER, "variable")
    assert row["type_errors"] is None


@pytest.mark.parametrize("sent", [{}, {"when": None}, {"when": "soon"}, {"when": 5}])
def test_else_the_header_does_else_the_arrival(lab: Lab, sent: dict[str, Any]) -> None:
    lab.declare(spec())
    lab.segment([frame([{"x": 1.0, **sent}], event_us=us(EARLIER))])
    row = only_row(lab)
    assert (row["event_time"], row["event_time_source"]) == (EARLIER, "header")
    assert row["type_errors"] == (["when"] if sent.get("when") else None)


@pytest.mark.parametrize(
    ("given_time", "believed"),
    [
        (NOW + 4 * MINUTE, True),
        (NOW + 6 * MINUTE, False),
        (NOW - timedelta(days=89), True),
        (NOW - timedelta(days=91), False),
    ],
)
def test_times_out_of_reason_are_not_believed(
    lab: Lab, given_time: datetime, believed: bool
) -> None:
    lab.segment([frame([{"x": 1.0}], at=NOW - MINUTE, event_us=us(given_time))])
    report = lab.compact()
    (row,) = lab.rows().to_pylist()
    assert report.counts.retimed == (not believed)
    expected = (given_time, "header") if believed else (NOW - MINUTE, "retimed")
    assert (row["event_time"], row["event_time_source"]) == expected


def test_rows_behind_the_watermark_are_late_and_kept(any_lab: Lab) -> None:
    any_lab.segment([frame([{"x": 1.0}], event_us=us(NOW - MINUTE))])
    assert any_lab.compact().counts.late == 0
    any_lab.now = NOW + MINUTE
    with reading(any_lab.engine) as connection:
        found = watermark_of(connection, any_lab.settings, "flights", any_lab.now)
        nothing = watermark_of(connection, any_lab.settings, "other", any_lab.now)
    assert found == NOW - 11 * MINUTE and nothing is None  # allowed lateness: 10 minutes
    any_lab.segment([frame([{"x": 2.0}], event_us=us(NOW - m * MINUTE)) for m in (1, 10, 12, 60)])
    report = any_lab.compact()
    assert report.counts.late == 2
    assert any_lab.rows().num_rows == 5


moments = st.integers(-24 * 60, 24 * 60).map(lambda minutes: NOW + minutes * MINUTE)
writers = st.builds(Writer, st.text(max_size=3), st.one_of(st.none(), moments), moments)


@given(st.lists(writers, max_size=6), moments)
def test_the_watermark_of_active_writers(found: list[Writer], now: datetime) -> None:
    idle_after, lateness = timedelta(hours=2), timedelta(minutes=10)
    mark = watermark(found, lateness=lateness, now=now, idle_after=idle_after)
    times = [w.newest_event_at for w in found if w.newest_event_at is not None]
    active = [
        w.newest_event_at
        for w in found
        if w.newest_event_at is not None and now - w.seen_at <= idle_after
    ]
    if not times:
        assert mark is None
    elif active:
        assert mark == min(active) - lateness
    else:
        assert mark == max(times) - lateness


@given(st.lists(writers, min_size=1, max_size=6), moments)
def test_a_dead_writer_holds_nobody_up(found: list[Writer], now: datetime) -> None:
    rule: dict[str, Any] = {"lateness": HOUR, "now": now, "idle_after": HOUR}
    alive = Writer("alive", now, now)
    dead = Writer("dead", now - 20 * HOUR, now - 10 * HOUR)
    assert watermark([alive, dead], **rule) == watermark([alive], **rule)
    assert watermark([*found, alive], **rule) is not None
