"""Frames with anything in them: they hold nothing up, and nothing of them is lost."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.capture.conftest import NOW, Lab, frame
from tests.capture.hostile_frames import HUGE, TEXTS, hostile
from trueup.errors import StoreError
from trueup.frames.capture_codec import HEADER, VERSION, encode_frame
from trueup.frames.segment_files import sealed_path
from trueup.frames.writer import FrameWriter
from trueup.monitor.capture import collect_rows, decode
from trueup.monitor.capture.compact import CompactionReport
from trueup.monitor.capture.labels_join import join_all_labels
from trueup.monitor.capture.labels_sink import label_sinks
from trueup.monitor.capture.parquet_file import blob_name, read_file
from trueup.records.capture import Body, FrameKind
from trueup.records.input_spec import InputSpec, Role, Variable

SPEC = InputSpec(
    variables=(
        Variable(name="x", dtype="float32", kind="numeric"),
        Variable(name="c", dtype="string", kind="categorical"),
        Variable(name="when", dtype="timestamp", kind="time", role=Role.TIME),
    )
)


def good(number: int) -> bytes:
    return encode_frame(
        frame([{"x": float(number), "c": "a"}], predictions=[0.5], request_id=f"good-{number}")
    )


def write(lab: Lab, payloads: list[bytes], segment: str = "g" * 26) -> str:
    path = sealed_path(lab.settings.spool_dir, segment)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FrameWriter(path) as writer:
        for start in range(0, len(payloads), 7):
            writer.append(payloads[start : start + 7])
    return segment


def compact(lab: Lab) -> CompactionReport:
    report = lab.compact(labels=label_sinks(lab.settings, lab.engine, lab.blobs))
    assert not report.failed
    return report


def set_aside(lab: Lab) -> dict[int, tuple[str, bytes]]:
    found = {}
    for entry in lab.manifest():
        if entry.kind == "quarantine":
            for batch in read_file(lab.blobs, entry.uri):
                for row in batch.to_pylist():
                    found[row["frame"]] = (row["reason"], row["payload"])
    return found


def good_rows(table: pa.Table) -> list[tuple[str, float, str, float]]:
    """Those of :func:`good`, whatever their columns became for the sake of others."""
    rows = zip(
        *(table.column(n).to_pylist() for n in ("request_id", "in.x", "in.c", "out.outputs")),
        strict=True,
    )  # fmt: skip
    return [
        (name, float(bare(x)), bare(c), float(bare(said)))
        for name, x, c, said in rows if (name or "").startswith("good-")
    ]  # fmt: skip


def bare(value: Any) -> Any:
    while isinstance(value, list):
        (value,) = value
    return value


def wanted(numbers: range) -> list[tuple[str, float, str, float]]:
    return [(f"good-{number}", float(number), "a", 0.5) for number in numbers]


def plain(table: pa.Table) -> list[Any]:
    """What is in ``table``, NaN as a text."""
    return sorted(map(repr, table.to_pylist()))


def check(lab: Lab, mixed: list[bytes], count: int) -> None:
    """All good frames are rows, whatever the others are; every frame is a row, a label or set
    aside; and again it is the same."""
    segment = write(lab, mixed)
    copy = lab.folder / "copy"
    shutil.copy(sealed_path(lab.settings.spool_dir, segment), copy)
    report = compact(lab)
    assert (report.compacted, report.frames) == (1, len(mixed))
    rows = lab.rows()
    assert good_rows(rows) == wanted(range(count))
    aside = set_aside(lab)
    assert len(aside) == report.set_aside == sum(report.set_aside_reasons.values())
    assert all(mixed[number] == payload for number, (_, payload) in aside.items())
    read = set(rows.column("frame").to_pylist())
    assert not read & set(aside)
    others = [
        frame_number for frame_number in range(len(mixed))
        if frame_number not in read and frame_number not in aside
    ]  # fmt: skip
    assert len(others) <= report.label_frames + _of_other_models(lab)

    shutil.copy(copy, sealed_path(lab.settings.spool_dir, segment))
    again = compact(lab)
    assert (again.compacted, again.deleted) == (0, 1)
    assert plain(lab.rows()) == plain(rows) and set_aside(lab) == aside


def _of_other_models(lab: Lab) -> int:
    return sum(
        entry.rows for entry in lab.manifest() if entry.kind == "rows" and entry.model != "flights"
    )


@given(st.randoms(use_true_random=False), st.integers(1, 40))
@settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@pytest.mark.heavy
def test_any_frames_hold_nothing_up(
    make_lab: Callable[..., Lab], tmp_path: Any, chance: random.Random, count: int
) -> None:
    chance = random.Random(chance.random())
    shutil.rmtree(tmp_path, ignore_errors=True)
    tmp_path.mkdir()
    lab = make_lab()
    if chance.random() < 0.7:
        lab.declare(SPEC)
    mixed = [(True, good(number)) for number in range(count)]
    for _ in range(chance.randrange(1, 30)):
        mixed.insert(chance.randrange(len(mixed) + 1), (False, hostile(chance)))
    check(lab, [payload for _, payload in mixed], count)
    join_all_labels(lab.settings, lab.engine, lab.blobs, NOW)
    lab.engine.dispose()


def body(text: bytes, **more: Any) -> bytes:
    return encode_frame(frame(text, rows=more.pop("rows", 1), **more))


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_each_text_as_a_body(lab: Lab, text: bytes) -> None:
    lab.declare(SPEC)
    bodies = [
        body(text),
        body(text, kind=FrameKind.REFUSED, status=400),
        body(text, kind=FrameKind.LOGGED, body=Body.ROWS),
        body(text, kind=FrameKind.LABELS),
        body(b'{"instances":[{"x":1.0}]}', response=text),
    ]
    check(lab, [good(0), *bodies, good(1)], 2)
    join_all_labels(lab.settings, lab.engine, lab.blobs, NOW)


@pytest.mark.parametrize(
    "said",
    [
        {"m": 5}, {"m": None}, {"m": ""}, {"m": "a\0b"}, {"m": "m" * 101}, {"v": 1 << 31},
        {"v": -1},
        {"v": "3"}, {"t": -1}, {"t": 1 << 62}, {"s": None}, {"s": HUGE}, {"s": True},
        {"n": 0xFFFF_FFFF}, {"arm": "\0"}, {"arm": "a" * 101}, {"arm": []}, {"sr": {}}, {"id": 7},
        {"et": "now"}, {"et": HUGE},
    ],
    ids=str,
)  # fmt: skip
def test_each_wrong_description(any_lab: Lab, said: dict[str, Any]) -> None:
    import json

    whole = {"m": "flights", "v": 3, "t": 1_714_564_800_000_000, "s": 200, "n": 1, **said}
    arrival, rows = whole.pop("t"), whole.pop("n")
    words, request = json.dumps(whole).encode(), b'{"instances":[{"x":1.0}]}'
    header = HEADER.pack(
        VERSION, 1, 1, 0, len(words), len(request), 0, rows, len(request), 7, arrival
    )
    check(any_lab, [good(0), header + words + request, good(1)], 2)
    ((reason, _),) = set_aside(any_lab).values()
    assert "description" in reason or "bounds" in reason


def test_a_huge_number_of_rows_is_not_believed(lab: Lab) -> None:
    check(lab, [good(0), body(b'{"inputs":{"x":1.0}}', rows=1 << 30), good(1)], 2)
    check_rows = lab.rows().filter(pa.compute.equal(lab.rows().column("frame"), 1))
    assert check_rows.column("readable").to_pylist() == [False]


def test_a_frame_that_breaks_the_decoder(any_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails on a frame: here, one that is known to nobody."""
    real = decode._columns

    def breaks(model: Any, side: Any, texts: list[bytes], *more: Any) -> Any:
        if any(b"POISON" in text for text in texts):
            raise ZeroDivisionError("by a frame")
        return real(model, side, texts, *more)

    monkeypatch.setattr(decode, "_columns", breaks)
    mixed = [good(number) for number in range(40)]
    mixed[17:17] = [body(b'{"instances":[{"x":"POISON"}]}')]
    mixed += [body(b'{"instances":[{"x":"POISON"}]}')]
    check(any_lab, mixed, 40)
    assert {n: why for n, (why, _) in set_aside(any_lab).items()} == dict.fromkeys(
        (17, 41), "ZeroDivisionError: by a frame"
    )
    (entry,) = [entry for entry in any_lab.manifest() if entry.kind == "quarantine"]
    assert (entry.model, entry.rows) == ("flights", 2)
    assert entry.details["reasons"] == {"ZeroDivisionError: by a frame": 2}


def test_a_frame_that_cannot_be_written(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from trueup.monitor.capture.row_table import whole_table as real

    def breaks(tables: Any, **more: Any) -> pa.Table:
        for table in tables:
            if "POISON" in table.column("request_id").to_pylist():
                raise pa.ArrowInvalid("cannot be written")
        return real(tables, **more)

    monkeypatch.setattr(collect_rows, "whole_table", breaks)
    poison = body(b'{"instances":[{"x":1.0}]}', request_id="POISON")
    mixed = [*map(good, range(20)), poison, *map(good, range(20, 40))]
    check(lab, mixed, 40)
    assert list(set_aside(lab)) == [20]
    assert [entry.kind for entry in lab.manifest()] == ["rows", "quarantine"]


def test_rows_that_cannot_be_counted_are_kept(
    lab: Lab, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trueup.profile.build import ProfileBuilder
    from trueup.store.engine import reading
    from trueup.store.tables import profiles

    lab.declare(trained.profile.edges.spec)
    lab.baseline(trained.profile.edges, trained.profile)
    real = ProfileBuilder.add

    def breaks(self: Any, batch: pa.RecordBatch) -> None:
        if "POISON" in batch.column(batch.schema.get_field_index("carrier")).to_pylist():
            raise ValueError("no number")
        real(self, batch)

    monkeypatch.setattr(ProfileBuilder, "add", breaks)
    rows = [{"carrier": "POISON" if i == 5 else "AA", "distance": 1.0} for i in range(20)]
    lab.segment([frame(rows)])
    report = lab.compact()
    assert report.counts.rows == lab.rows().num_rows == 20
    assert report.problems == [
        "1 rows of flights are in the capture and in no profile, for they cannot be counted: "
        "ValueError: no number"
    ]
    with reading(lab.engine) as connection:
        assert connection.execute(profiles.select()).one().rows == 19


def test_one_newer_frame_among_others_is_set_aside(lab: Lab) -> None:
    check(lab, [good(0), b"\x09" + good(7)[1:], good(1)], 2)
    ((reason, _),) = set_aside(lab).values()
    assert "newer" in reason


def test_a_store_that_fails_sets_nothing_aside(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = write(lab, [good(0), good(1)])

    def full(*arguments: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(collect_rows, "write_rows", full)
        report = lab.compact()
    assert list(report.failed) == [segment] and report.set_aside == 0
    assert lab.manifest() == []
    compact(lab)
    assert good_rows(lab.rows()) == wanted(range(2)) and not set_aside(lab)


def test_what_was_set_aside_is_kept_for_the_retention_time(lab: Lab) -> None:
    from datetime import timedelta

    from trueup.monitor.capture.orphans import collect_orphans
    from trueup.monitor.capture.retention import retention

    check(lab, [good(0), b"\x01" * 40], 1)
    later = NOW + timedelta(days=80)
    assert collect_orphans(lab.engine, lab.blobs, later + timedelta(days=3000)).deleted == []
    assert retention(lab.settings, lab.engine, lab.blobs, later).files == 0
    (entry,) = [entry for entry in lab.manifest() if entry.kind == "quarantine"]
    assert entry.model == "" and blob_name(lab.blobs, entry.uri).startswith("capture/")
    assert retention(lab.settings, lab.engine, lab.blobs, NOW + timedelta(days=92)).files == 2


def test_the_command_says_what_was_set_aside(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    from trueup.cli.main import main

    config = lab.folder / "trueup.toml"
    config.write_text(
        f'blob_root = "{lab.settings.blob_root}"\nspool_dir = "{lab.settings.spool_dir}"\n'
        f'[store]\nurl = "{lab.settings.store.url.get_secret_value()}"\n'
    )
    write(lab, [good(0), b"\x01" * 40])
    assert main(["compact", "--config", str(config)]) == 0
    said = capsys.readouterr().out
    assert (
        "Set aside, for they could not be read: 1 frame, kept as they are. "
        "Why: it is no capture frame (1)" in said
    )
