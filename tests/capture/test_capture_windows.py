"""Profiles of windows: what they count, and that they are the profiles of the rows in Parquet."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from tests.capture.conftest import NOW, Lab, frame, us
from trueup.baseline import Wishes, profiled
from trueup.datasets.open import open_dataset
from trueup.monitor.capture.backfill import profile_missing
from trueup.monitor.capture.row_schema import INPUT
from trueup.monitor.capture.window_profiles import window_profile, windows_between
from trueup.profile.build import profile_batches
from trueup.profile.edges import Edges
from trueup.profile.sketches import Atoms, FrequentItems
from trueup.profile.states import Profile
from trueup.records.capture import CaptureFrame, FrameKind
from trueup.records.keys import WindowKey
from trueup.store.engine import reading
from trueup.store.tables import profiles

HOUR = timedelta(hours=1)
CARRIERS = ("AA", "UA", "DL", "new")


def passenger(rng: random.Random) -> dict[str, Any]:
    return {
        "distance": rng.choice([None, 100.0, round(rng.uniform(0, 3000), 1)]),
        "stops": rng.randrange(4),
        "carrier": rng.choice(CARRIERS),
        "temp": round(rng.gauss(60, 20), 2),
        "international": rng.random() < 0.3,
    }


def some_frames(rng: random.Random, count: int) -> list[CaptureFrame]:
    """Of several windows, versions and arms; some refused, of shadows, failed, with misfits."""
    found = []
    for _ in range(count):
        rows = [passenger(rng) for _ in range(rng.randrange(1, 4))]
        if rng.random() < 0.1:
            rows[0][rng.choice(["distance", "stops", "international"])] = "misfit"
        said: dict[str, Any] = {"version": rng.choice([3, 4]), "arm": rng.choice(["", "b"])}
        kind = rng.random()
        if kind < 0.1:
            rows[0]["carrier"] = None
            said.update(kind=FrameKind.REFUSED, status=400, error="null")
        elif kind < 0.15:
            said.update(kind=FrameKind.REFUSED, status=500, error="the model failed")
        elif kind < 0.2:
            said.update(shadow=True)
        moment = NOW - timedelta(minutes=rng.randrange(5 * 60))
        found.append(frame(rows, at=moment, **said))
    return found


def in_window(rows: pa.Table, window: WindowKey) -> list[dict[str, Any]]:
    return [
        row
        for row in rows.to_pylist()
        if window.start <= row["event_time"] < window.end and not row["shadow"]
    ]


def answered_profile(rows: pa.Table, window: WindowKey, edges: Edges) -> Profile:
    """The profile of the answered rows as read back, by the profile's own door."""
    chosen = [r["row_id"] for r in in_window(rows, window) if r["status"] == 200]
    table = rows.filter(pc.is_in(rows.column("row_id"), value_set=pa.array(chosen, pa.string())))
    names = [name for name in table.column_names if name.startswith(INPUT)]
    inputs = table.select(names).rename_columns([name[len(INPUT) :] for name in names])
    return profile_batches(inputs.combine_chunks().to_batches(), edges)


def wrong_counts(
    rows: pa.Table, window: WindowKey, edges: Edges
) -> dict[str, tuple[int, int, int]]:
    """By variable: misfits of answered rows; misfits and nulls of refused ones."""
    found = {}
    for name in edges.features:
        optional = edges.spec[name].optional
        misfits = errors = nulls = 0
        for row in in_window(rows, window):
            wrong = name in (row["type_errors"] or ())
            if row["status"] == 200:
                misfits += wrong
            elif row["status"] == 400 and row["readable"]:
                errors += wrong
                nulls += not wrong and not optional and row.get(INPUT + name) is None
        found[name] = (misfits, errors, nulls)
    return found


def assert_same(a: Any, b: Any, where: str = "profile") -> None:
    """Counts exactly, moments to 1e-12; sampled summaries by what they guarantee."""
    if isinstance(a, FrequentItems | Atoms):
        return
    if is_dataclass(a) and not isinstance(a, type):
        for each in fields(a):
            if each.name not in ("mean_tail", "edges"):
                assert_same(getattr(a, each.name), getattr(b, each.name), f"{where}.{each.name}")
    elif isinstance(a, np.ndarray):
        if a.dtype.kind == "f":
            scale = max(float(np.abs(a).max(initial=0.0)), 1.0)
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * scale, err_msg=where)
        else:
            np.testing.assert_array_equal(a, b, err_msg=where)
    elif isinstance(a, float):
        close = math.isclose(a, b, rel_tol=1e-11, abs_tol=1e-9)
        assert close or (math.isnan(a) and math.isnan(b)), (where, a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for name in a:
            assert_same(a[name], b[name], f"{where}.{name}")
    else:
        assert a == b, (where, a, b)


def check_windows(lab: Lab, edges: Edges, hours: Sequence[datetime]) -> int:
    """Each window's merged profile against the rows; how many answered rows there were."""
    rows, answered = lab.rows(), 0
    for start in hours:
        window = WindowKey(start, HOUR)
        with reading(lab.engine) as connection:
            merged = window_profile(connection, "flights", window, edges)
        plain = answered_profile(rows, window, edges)
        answered += plain.rows
        assert merged.rows == plain.rows
        assert_same(merged.comoments, plain.comoments)
        for name, wrong in wrong_counts(rows, window, edges).items():
            misfits, errors, nulls = wrong
            state, bare = merged.features[name], plain.features[name]
            assert state.rows == bare.rows + errors + nulls, name
            assert state.missing == bare.missing - misfits + nulls, name
            assert state.type_errors == bare.type_errors + misfits + errors, name
            for part in ("numeric", "categories", "lengths", "hours", "distinct", "non_finite"):
                assert_same(getattr(state, part), getattr(bare, part), f"{name}.{part}")
    return answered


HOURS = [NOW - timedelta(hours=hours) for hours in range(6)]


def test_window_profiles_are_those_of_the_rows(any_lab: Lab, trained: Any) -> None:
    edges = trained.profile.edges
    any_lab.declare(edges.spec)
    any_lab.baseline(edges, trained.profile)
    rng = random.Random(5)
    for _ in range(4):
        any_lab.segment(some_frames(rng, 120))
    report = any_lab.compact()
    assert not report.failed and not report.problems
    assert report.counts.type_errors and report.counts.refused and report.counts.shadow
    with reading(any_lab.engine) as connection:
        found = windows_between(
            connection, "flights", edges, HOUR, NOW - timedelta(hours=9), NOW + HOUR
        )
    assert {window.start for window in found} == set(HOURS)
    answered = check_windows(any_lab, edges, HOURS)
    assert answered == sum(
        row["status"] == 200 and not row["shadow"] for row in any_lab.rows().to_pylist()
    )


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.integers(0, 2**32), st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_however_rows_are_divided_among_segments(
    lab: Lab, trained: Any, seed: int, sizes: list[int]
) -> None:
    edges = trained.profile.edges
    if not lab.folder.joinpath("b1.profile").exists():
        lab.declare(edges.spec)
        lab.baseline(edges, trained.profile)
    rng = random.Random(seed)
    for size in sizes:
        lab.segment(some_frames(rng, size))
    assert not lab.compact().failed
    check_windows(lab, edges, HOURS)


def test_versions_and_arms_can_be_told_apart(lab: Lab, trained: Any) -> None:
    edges = trained.profile.edges
    lab.declare(edges.spec)
    lab.baseline(edges, trained.profile)
    lab.segment(
        [
            *[frame([passenger(random.Random(i))], version=3) for i in range(5)],
            *[frame([passenger(random.Random(i))], version=4, arm="b") for i in range(3)],
        ]
    )
    lab.compact()
    window = WindowKey.containing(NOW - timedelta(minutes=30), HOUR)
    with reading(lab.engine) as connection:
        counts = [
            window_profile(connection, "flights", window, edges, **chosen).rows
            for chosen in ({}, {"version": 3}, {"version": 4}, {"arm": "b"}, {"version": 9})
        ]
    assert counts == [8, 5, 3, 3, 0]


def test_rejected_nulls_are_in_the_missing_rate(lab: Lab, trained: Any) -> None:
    """A client stops sending ``carrier``; a strict model refuses all that it sends from then on."""
    edges = trained.profile.edges
    lab.declare(edges.spec)
    lab.baseline(edges, trained.profile)
    complete, lacking = passenger(random.Random(1)), passenger(random.Random(2))
    del lacking["carrier"]
    refused: dict[str, Any] = {
        "kind": FrameKind.REFUSED,
        "status": 400,
        "error": "carrier is missing",
    }
    lab.segment([*[frame([complete])] * 6, *[frame([lacking], **refused)] * 4])
    lab.compact()
    window = WindowKey.containing(NOW - timedelta(minutes=30), HOUR)
    with reading(lab.engine) as connection:
        found = window_profile(connection, "flights", window, edges)
    assert found.rows == 6
    carrier, stops = found.features["carrier"], found.features["stops"]
    assert (carrier.missing, carrier.rows) == (4, 10)
    assert (stops.missing, stops.rows) == (0, 6)  # what was right in refused rows does not count


def test_rows_from_before_the_baseline_are_profiled_later(any_lab: Lab, trained: Any) -> None:
    edges = trained.profile.edges
    any_lab.declare(edges.spec)
    rng = random.Random(6)
    for _ in range(3):
        any_lab.segment(some_frames(rng, 60))
    any_lab.segment([frame([passenger(rng)], shadow=True)])  # nothing of it counts
    any_lab.compact()
    args = (any_lab.settings, any_lab.engine, any_lab.blobs, "flights", NOW)
    assert profile_missing(*args).sources == 0
    any_lab.baseline(edges, trained.profile)
    report = profile_missing(*args)
    assert (report.sources, report.rows) == (4, any_lab.rows().num_rows)
    assert profile_missing(*args).sources == 0
    check_windows(any_lab, edges, HOURS)


def test_new_edges_are_counted_beside_the_old_ones(lab: Lab, trained: Any) -> None:
    first = trained.profile.edges
    lab.declare(first.spec)
    lab.baseline(first, trained.profile)
    lab.segment(some_frames(random.Random(7), 100))
    lab.compact()
    rows = [passenger(random.Random(i)) for i in range(400)]
    data = pd.DataFrame(rows).assign(departure=pd.Timestamp("2024-01-01", tz="UTC"))
    second = profiled(open_dataset(data), Wishes(time="departure"))
    lab.baseline(second.profile.edges, second.profile, "b2")
    args = (lab.settings, lab.engine, lab.blobs, "flights", NOW)
    assert profile_missing(*args).sources == 1
    lab.segment(some_frames(random.Random(8), 100))
    lab.compact()
    check_windows(lab, second.profile.edges, HOURS)
    with reading(lab.engine) as connection:
        old = window_profile(connection, "flights", WindowKey(HOURS[1], HOUR), first)
    assert old.rows > 0


def test_a_baseline_that_cannot_be_read_costs_no_rows(lab: Lab, trained: Any) -> None:
    edges = trained.profile.edges
    lab.declare(edges.spec)
    lab.baseline(edges, trained.profile)
    lab.folder.joinpath("b1.profile").unlink()
    lab.segment(some_frames(random.Random(9), 20))
    report = lab.compact()
    assert report.compacted == 1 and "b1.profile" in report.problems[0]
    lab.baseline(edges, trained.profile, "b3")
    assert profile_missing(lab.settings, lab.engine, lab.blobs, "flights", NOW).sources == 1
    check_windows(lab, edges, HOURS)


def test_a_column_that_is_wholly_wrong_shows(lab: Lab, trained: Any) -> None:
    edges = trained.profile.edges
    lab.declare(edges.spec)
    lab.baseline(edges, trained.profile)
    wrong = [{**passenger(random.Random(i)), "stops": "two", "odd": 1} for i in range(8)]
    lab.segment([frame(wrong, event_us=us(NOW - timedelta(minutes=30)))])
    lab.compact()
    window = WindowKey.containing(NOW - timedelta(minutes=30), HOUR)
    with reading(lab.engine) as connection:
        found = window_profile(connection, "flights", window, edges)
    stops = found.features["stops"]
    assert (stops.rows, stops.missing, stops.type_errors, stops.present) == (8, 0, 8, 0)
    assert dict(found.extra) == {"odd": "int64"}
    assert "departure" in found.absent and "stops" not in found.absent


@pytest.mark.parametrize("length", ["1min", "1d"])
def test_the_length_of_windows_is_the_models(make_lab: Any, trained: Any, length: str) -> None:
    lab = make_lab(models={"flights": {"windows": {"length": length}}})
    edges = trained.profile.edges
    lab.declare(edges.spec)
    lab.baseline(edges, trained.profile)
    lab.segment(some_frames(random.Random(3), 50))
    lab.compact()
    with reading(lab.engine) as connection:
        seconds = connection.scalars(select(profiles.c.window_seconds).distinct()).all()
        rows = connection.scalar(select(func.sum(profiles.c.rows)))
    assert seconds == [60 if length == "1min" else 86_400]
    assert rows == sum(r["status"] == 200 and not r["shadow"] for r in lab.rows().to_pylist())
