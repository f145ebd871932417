"""Labels find their rows, whichever came first, and are read back beside them."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from trueup.errors import ConflictError
from trueup.monitor.capture import labels_join
from trueup.monitor.capture.labels_items import waiting_row
from trueup.monitor.capture.labels_read import labels_of
from trueup.monitor.capture.labels_refs import key_ref, key_refs
from trueup.monitor.capture.labels_rules import is_mature
from trueup.monitor.capture.labels_store import commit, source_id
from trueup.store.engine import reading, writing
from trueup.store.tables import ManifestKind, manifest, segments

NOON = datetime(2024, 3, 5, 12, tzinfo=timezone.utc)


def iso(hours: float) -> str:
    return (NOON + timedelta(hours=hours)).isoformat()


def values(found: list[dict[str, Any]], name: str = "label.bought") -> list[Any]:
    return [row.get(name) for row in found]


def test_labels_by_row_request_and_key(any_world: Any) -> None:
    world = any_world
    rows = [{"order": n, "price": 1.0} for n in range(3)]
    first = world.segment([world.served(rows, "visit"), world.served(rows[:1])])
    world.segment(
        [
            world.labels(
                [
                    {"id": "visit/0", "label": True},
                    {"id": f"{first}-1/0", "label": False},
                    {"id": f"{first}-0-1", "label": {"bought": True, "basket": 7}},
                    {"key": {"order": "2"}, "label": False},
                ]
            )
        ]
    )
    report = world.compact()
    assert report.label_frames == 1
    joined = world.join()
    assert (joined.labelled, joined.resolved, joined.waiting) == (4, 4, 0)
    assert joined.cardinality == {"order": "one-to-one"}
    found = world.labelled([f"{first}-0-0", f"{first}-0-1", f"{first}-0-2", f"{first}-1-0"])
    assert values(found) == [True, True, False, False]
    assert values(found, "label.basket") == [None, 7, None, None]
    assert found[0]["labelled_at"] == NOON


def test_an_early_label_waits_and_an_unknown_one_until_it_is_too_old(world: Any) -> None:
    world.segment(
        [world.labels([{"id": "late/0", "label": True}, {"id": "never/0", "label": True}])]
    )
    world.compact()
    assert world.join().waiting == 2
    segment = world.segment([world.served([{"price": 1.0}], "late")])
    world.compact()
    joined = world.join()
    assert (joined.resolved, joined.waiting, joined.expired) == (1, 1, 0)
    assert values(world.labelled([f"{segment}-0-0"])) == [True]
    later = world.join(NOON + timedelta(days=91))
    assert (later.waiting, later.expired) == (0, 1)
    with reading(world.engine) as connection:
        kinds = set(connection.scalars(select(manifest.c.kind)))
    assert kinds == {ManifestKind.ROWS.value, ManifestKind.LABELS.value}
    waiting = list(Path(world.settings.blob_root).rglob("waiting/**/*.parquet"))
    assert waiting == []


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_of_two_labels_the_later_labelled_wins_then_the_later_arrival(
    world: Any, order: tuple[int, ...]
) -> None:
    segment = world.segment([world.served([{"price": 1.0}] * 2, "visit")])
    sent = [
        [{"id": "visit/0", "label": 1, "labelled_at": iso(-3)}],
        [{"id": "visit/0", "label": 2, "labelled_at": iso(-1)}],
        [{"id": "visit/1", "label": 3, "labelled_at": iso(-1)},
         {"id": "visit/1", "label": 4, "labelled_at": iso(-1)}],
    ]  # fmt: skip
    for place in order:
        arrived = NOON + timedelta(minutes=place)
        world.segment([world.labels(sent[place], arrived)])
        world.compact()
        world.join()
    found = world.labelled([f"{segment}-0-0", f"{segment}-0-1"])
    assert values(found) == [2, 4]
    assert found[0]["labelled_at"] == NOON - timedelta(hours=1)


def test_names_of_one_row_may_come_at_different_times(world: Any) -> None:
    segment = world.segment([world.served([{"price": 1.0}], "visit")])
    world.segment(
        [
            world.labels([{"id": "visit/0", "label": {"a": 1, "b": 1}, "labelled_at": iso(-2)}]),
            world.labels([{"id": "visit/0", "label": {"b": 2.5}, "labelled_at": iso(-1)}]),
        ]
    )
    world.compact()
    world.join()
    (found,) = world.labelled([f"{segment}-0-0"])
    assert (found["label.a"], found["label.b"]) == (1, 2.5)


def test_retries_and_shadows_of_a_request_get_its_label_refused_attempts_do_not(
    world: Any,
) -> None:
    row = [{"price": 1.0}]
    segment = world.segment(
        [
            world.served(row, "visit"),
            world.served(row, "visit", shadow=True, version=2),
            world.served(row, "visit", status=504, response=b"", kind=_refused(), error="late"),
        ]
    )
    world.segment([world.labels([{"id": "visit/0", "label": True}])])
    world.compact()
    world.join()
    again = world.segment([world.served(row, "visit")])
    world.compact()
    assert world.join().labelled == 1
    ids = [f"{segment}-0-0", f"{segment}-1-0", f"{segment}-2-0", f"{again}-0-0"]
    assert values(world.labelled(ids)) == [True, True, None, True]


def _refused() -> Any:
    from trueup.records.capture import FrameKind

    return FrameKind.REFUSED


def test_many_to_many_keys_are_refused_in_a_sentence_and_others_joined(world: Any) -> None:
    orders = [1, 1, 2, 2, 3, None]
    segment = world.segment([world.served([{"order": n, "price": 1.0} for n in orders])])
    world.segment(
        [
            world.labels(
                [
                    {"key": {"order": 1}, "label": True},
                    {"key": {"order": 1}, "label": False},
                    {"key": {"order": 2}, "label": True},
                    {"key": {"order": 3}, "label": True, "labelled_at": iso(-2)},
                    {"key": {"order": 3}, "label": False, "labelled_at": iso(-1)},
                ]
            )
        ]
    )
    world.compact()
    joined = world.join()
    assert (joined.refused, joined.resolved, joined.waiting) == (2, 3, 0)
    assert joined.cardinality == {"order": "one-to-many"}
    (sentence,) = joined.sentences
    assert "the key order" in sentence and "many-to-many" in sentence
    found = world.labelled([f"{segment}-0-{row}" for row in range(6)])
    assert values(found) == [None, None, True, True, False, None]


def test_a_second_row_of_a_key_with_two_labels_stays_without(world: Any) -> None:
    first = world.segment([world.served([{"order": 1, "price": 1.0}])])
    for label in (True, False):
        world.segment([world.labels([{"key": {"order": 1}, "label": label}])])
        world.compact()
        world.join()
    second = world.segment([world.served([{"order": 1, "price": 1.0}])])
    world.compact()
    joined = world.join()
    assert joined.sentences and not joined.labelled
    assert values(world.labelled([f"{first}-0-0", f"{second}-0-0"])) == [False, None]


def test_keys_of_two_columns(world: Any) -> None:
    rows = [{"order": 1, "line": line, "price": 1.0} for line in ("a", "b", None)]
    segment = world.segment([world.served(rows)])
    world.segment([world.labels([{"key": {"line": "b", "order": 1.0}, "label": True}])])
    world.compact()
    assert world.join().cardinality == {"line, order": "one-to-one"}
    ids = [f"{segment}-0-{row}" for row in range(3)]
    assert values(world.labelled(ids)) == [None, True, None]


def test_joining_again_changes_nothing(any_world: Any) -> None:
    world = any_world
    world.segment([world.served([{"price": 1.0}], "visit")])
    world.segment([world.labels([{"id": "visit/0", "label": 1}, {"id": "none/0", "label": 1}])])
    world.compact()
    world.join()

    def state() -> Any:
        with reading(world.engine) as connection:
            files = connection.execute(select(manifest.c.uri).order_by(manifest.c.id)).all()
            details = connection.scalar(
                select(segments.c.details).where(segments.c.id == source_id("shop"))
            )
        assert details is not None
        details.pop("revision")
        return files, details

    world.join()  # takes note of the files that the first run wrote
    before = state()
    report = world.join()
    assert (report.labelled, report.files_scanned, report.waiting) == (0, 0, 1)
    assert state() == before


def test_a_join_that_another_process_overtook_begins_again(
    any_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = any_world
    segment = world.segment([world.served([{"price": 1.0}], "visit")])
    world.segment([world.labels([{"id": "visit/0", "label": 1}])])
    world.compact()
    calls = []

    def overtaken(engine: Any, seen: Any, change: Any, **options: Any) -> None:
        calls.append(seen)
        if len(calls) == 1:
            with writing(engine) as connection:
                connection.execute(
                    update(segments)
                    .where(segments.c.id == seen.source)
                    .values(details={**seen.state, "revision": 99})
                )
        commit(engine, seen, change, **options)

    monkeypatch.setattr(labels_join, "commit", overtaken)
    assert world.join().labelled == 1
    assert len(calls) == 2
    assert values(world.labelled([f"{segment}-0-0"])) == [1]
    files = list(Path(world.settings.blob_root).rglob("labels/**/*.parquet"))
    assert len(files) == 1


def test_a_join_that_is_always_overtaken_says_so(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.segment([world.labels([{"id": "visit/0", "label": 1}])])
    world.compact()

    def overtaken(*_: Any, **__: Any) -> None:
        raise ConflictError("another process was first", retry=True)

    monkeypatch.setattr(labels_join, "commit", overtaken)
    with pytest.raises(ConflictError):
        world.join()


def test_more_labels_than_fit_into_memory(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a few held at a time the result is the same."""
    monkeypatch.setattr(labels_join, "MOST_HELD", 7)
    rows = [{"order": n // 2, "price": 1.0} for n in range(40)]
    segment = world.segment([world.served(rows, "visit")])
    items = [{"id": f"visit/{n}", "label": n} for n in range(0, 40, 3)]
    items += [{"key": {"order": n}, "label": {"key": n}} for n in range(20)]
    world.segment([world.labels(items[:20]), world.labels(items[20:])])
    world.compact()
    assert world.join().waiting == 0
    world.segment([world.served([{"order": 3, "price": 1.0}] * 20)])
    world.compact()
    world.join()
    found = world.labelled([f"{segment}-0-{n}" for n in range(40)])
    assert values(found) == [n if n % 3 == 0 else None for n in range(40)]
    assert values(found, "label.key") == [n // 2 for n in range(40)]


# -- the order of things never matters ---------------------------------------------------------

LABELS = st.lists(
    st.tuples(
        st.sampled_from(["a/0", "a/1", "b/0", "c/0", "x/0"]), st.integers(0, 3), st.integers(-4, -1)
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=LABELS, seed=st.integers(0, 1000), joins=st.lists(st.booleans(), min_size=12))
def test_order_and_restarts_do_not_matter(
    world_in: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
    sent: list[tuple[str, int, int]],
    seed: int,
    joins: list[bool],
) -> None:
    """Rows and labels in any order, joined after any of them, compared with the plain rule."""
    world = world_in(tmp_path_factory.mktemp("world"))
    requests = {"a": 2, "b": 1, "c": 1}
    events: list[Any] = [*requests, *enumerate(sent)]
    random.Random(seed).shuffle(events)
    rows: dict[str, str] = {}
    for place, event in enumerate(events):
        if isinstance(event, str):
            row = [{"price": 1.0}] * requests[event]
            segment = world.segment([world.served(row, event)])
            rows |= {f"{event}/{n}": f"{segment}-0-{n}" for n in range(requests[event])}
        else:
            number, (ref, value, hours) = event
            item = {"id": ref, "label": value, "labelled_at": iso(hours)}
            world.segment([world.labels([item], NOON + timedelta(seconds=number))])
        world.compact()
        if joins[place % len(joins)]:
            world.join()
    world.join()
    expected: dict[str, int | None] = dict.fromkeys(rows)
    for ref, value, _ in sorted(sent, key=lambda each: each[2]):  # stable: the later arrival
        if ref in expected:
            expected[ref] = value
    found = values(world.labelled(list(rows.values())))
    assert dict(zip(rows, found, strict=True)) == expected


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(orders=st.lists(st.integers(0, 3), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_one_label_of_many_rows_by_key_in_any_order(
    world_in: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
    orders: list[int],
    seed: int,
) -> None:
    world = world_in(tmp_path_factory.mktemp("world"))
    events: list[Any] = [("row", n) for n in orders] + [("label", n) for n in range(3)]
    random.Random(seed).shuffle(events)
    rows: list[tuple[str, int]] = []
    for kind, order in events:
        if kind == "row":
            segment = world.segment([world.served([{"order": order, "price": 1.0}])])
            rows.append((f"{segment}-0-0", order))
        else:
            world.segment([world.labels([{"key": {"order": order}, "label": 10 + order}])])
        world.compact()
        world.join()
    found = values(world.labelled([row for row, _ in rows]))
    assert found == [10 + order if order < 3 else None for _, order in rows]


SCALARS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=True, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["2024-01-02", "2024-01-02T03:04:05Z", "2024-01-02T04:04:05+01:00", "\x1f|"]),
)


@given(left=SCALARS, right=SCALARS)
def test_a_key_is_spelt_alike_alone_and_in_columns(left: Any, right: Any) -> None:
    columns = [pa.array([left]), pa.array([right])]
    assert key_refs(columns).to_pylist() == [key_ref([left, right])]


def test_keys_that_differ_never_meet() -> None:
    assert key_ref(["a\x1f", "b"]) != key_ref(["a", "\x1fb"])
    assert key_ref(["a\x1f|b"]) != key_ref(["a", "b"])
    assert key_ref([5, "x"]) == key_ref([5.0, "x"]) == key_ref(["5", "x"])


# -- what cannot be used, reading, maturity -----------------------------------------------------


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (3, "no object"),
        ({"label": 1}, "either an id or a key"),
        ({"id": "a/0", "key": {"order": 1}, "label": 1}, "either an id or a key"),
        ({"id": "a", "label": 1}, "neither"),
        ({"id": "a/-1", "label": 1}, "neither"),
        ({"id": "a/0"}, "no label"),
        ({"id": "a/0", "label": None}, "missing"),
        ({"id": "a/0", "label": {"x": {}}}, "neither a value"),
        ({"key": {"order": None}, "label": 1}, "missing"),
        ({"key": {"order": [1]}, "label": 1}, "no scalar"),
        ({"id": "a/0", "label": 1, "labelled_at": "soon"}, "no ISO 8601"),
    ],
)
def test_labels_that_cannot_be_used(item: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        waiting_row(item, label_id="s-0-0", arrived_us=0)


def test_a_label_from_the_future_is_dated_by_its_arrival(world: Any) -> None:
    segment = world.segment([world.served([{"price": 1.0}], "visit")])
    world.segment(
        [
            world.labels([{"id": "visit/0", "label": 1, "labelled_at": iso(24 * 365)}]),
            world.labels([{"id": "visit/0", "label": 2}], NOON + timedelta(hours=1)),
        ]
    )
    world.compact()
    world.join()
    assert values(world.labelled([f"{segment}-0-0"])) == [2]


def test_unreadable_frames_and_items_hold_nothing_up(world: Any) -> None:
    segment = world.segment([world.served([{"price": 1.0}], "visit")])
    broken = world.labels([{"id": "visit/0", "label": 1}])
    sent = world.labels([{"label": 1}, {"id": "visit/0", "label": 1}])
    world.segment([dataclasses.replace(broken, request=b"[{"), sent])
    world.compact()
    world.join()
    assert values(world.labelled([f"{segment}-0-0"])) == [1]


def test_label_files_are_of_one_day_and_readers_open_only_what_can_help(world: Any) -> None:
    day = timedelta(days=1)
    frames = [
        world.served([{"price": 1.0}], f"v{n}", event_us=_us(NOON - n * day)) for n in range(3)
    ]
    segment = world.segment(frames)
    world.segment([world.labels([{"id": f"v{n}/0", "label": n} for n in range(3)])])
    world.compact()
    world.join()
    with reading(world.engine) as connection:
        bounds = connection.execute(
            select(manifest.c.first_event_at, manifest.c.last_event_at, manifest.c.uri).where(
                manifest.c.kind == ManifestKind.LABELS.value
            )
        ).all()
    assert sorted(row.first_event_at for row in bounds) == [NOON - n * day for n in (2, 1, 0)]
    assert all(pq.read_metadata(row.uri).num_rows == 1 for row in bounds)
    found = labels_of(world.engine, world.blobs, "shop", NOON - 1.5 * day, NOON - 0.5 * day)
    times = pa.array([NOON - day], pa.timestamp("us", "UTC"))
    table = found.beside(pa.array([f"{segment}-1-0"]), times)
    assert table.column("label.bought").to_pylist() == [1]


def _us(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def test_small_files_are_put_together_while_one_reads(world: Any) -> None:
    rows = [{"price": 1.0}] * 40
    segment = world.segment([world.served(rows, "visit")])
    world.compact()
    ids = pa.array([f"{segment}-0-{n}" for n in range(40)])
    times = pa.array([NOON] * 40, pa.timestamp("us", "UTC"))
    reader, first = None, None
    for n in range(40):
        world.segment([world.labels([{"id": f"visit/{n}", "label": n}])])
        world.compact()
        world.join()
        if n == 10:
            reader = labels_of(world.engine, world.blobs, "shop")
            first = reader.beside(ids, times).column("label.bought").to_pylist()
    with reading(world.engine) as connection:
        files = connection.scalars(
            select(manifest.c.rows).where(manifest.c.kind == ManifestKind.LABELS.value)
        ).all()
    assert len(files) <= 18 and sum(files) == 40
    assert values(world.labelled(ids.to_pylist())) == list(range(40))
    assert reader is not None and first == [*range(11), *[None] * 29]
    assert reader.beside(ids, times).column("label.bought").to_pylist() == list(range(40))


def test_no_labels_at_all(world: Any) -> None:
    assert world.labelled(["a-0-0"]) == [{"labelled_at": None}]
    assert world.join().waiting == 0


def test_maturity_is_by_the_watermark() -> None:
    delay = timedelta(days=1)
    assert is_mature(NOON - 2 * delay, NOON, delay)
    assert not is_mature(NOON - delay, NOON, delay)
    assert not is_mature(NOON - 2 * delay, None, delay)
