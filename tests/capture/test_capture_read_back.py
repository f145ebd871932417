"""Reading the capture back: by time, by column, over files of different types; the commands."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.capture.conftest import NOW, Lab, frame, us
from trueup.errors import BadInputError, StoreError
from trueup.monitor.capture.read import read_capture
from trueup.records.capture import Body, FrameKind

MINUTE = timedelta(minutes=1)


def minutes_ago(count: int, **more: Any) -> Any:
    return frame([{"x": float(count)}], event_us=us(NOW - count * MINUTE), **more)


def test_only_rows_of_the_time_that_is_asked_for(any_lab: Lab) -> None:
    any_lab.segment([minutes_ago(i) for i in range(60, 120)])
    any_lab.segment([minutes_ago(i) for i in range(60)])
    any_lab.compact()
    found = any_lab.rows(start=NOW - 70 * MINUTE, end=NOW - 50 * MINUTE)
    assert sorted(found.column("in.x").to_pylist()) == [float(i) for i in range(51, 71)]
    assert any_lab.rows(start=NOW + MINUTE).num_rows == 0
    assert any_lab.rows(end=NOW - 119 * MINUTE).num_rows == 0
    assert any_lab.rows("nothing").num_rows == 0


def test_row_groups_outside_the_time_are_not_read(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trueup.monitor.capture.parquet_file.GROUP_ROWS", 10)
    lab.segment([minutes_ago(i) for i in range(100)])
    lab.compact()
    read: list[int] = []
    whole = pq.ParquetFile.read_row_group

    def counted(file: Any, group: int, **more: Any) -> Any:
        read.append(group)
        return whole(file, group, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    assert lab.rows(start=NOW - 5 * MINUTE).num_rows == 6
    assert read == [9]


def test_files_of_different_types_are_one_table(lab: Lab) -> None:
    lab.segment([frame([{"a": 1, "b": "x", "l": [1]}])])
    lab.segment([frame([{"a": 1.5, "c": True, "l": [0.5, 1.5]}])])
    lab.segment([frame([{"a": 2, "b": 5}])])
    lab.compact()
    table = lab.rows()
    assert table.column("in.a").to_pylist() == [1.0, 1.5, 2.0]
    assert table.column("in.b").to_pylist() == ["x", None, "5"]
    assert table.column("in.c").to_pylist() == [None, True, None]
    assert table.column("in.l").to_pylist() == [[1.0], [0.5, 1.5], None]


def test_columns_are_chosen_by_name(lab: Lab) -> None:
    lab.segment([frame([{"a": 1, "b": 2}], predictions=[3.5])])
    lab.compact()
    assert lab.rows(columns=["out.outputs", "in.b"]).to_pylist() == [
        {"out.outputs": 3.5, "in.b": 2}
    ]
    with pytest.raises(BadInputError, match="in\\.b"):
        lab.rows(columns=["in.bb"])


class Beside:
    """Labels of rows, as the join gives them."""

    schema = pa.schema([("label.y", pa.int64()), ("labelled_at", pa.timestamp("us", "UTC"))])

    def beside(self, row_ids: pa.Array, event_times: pa.Array) -> pa.Table:
        assert len(row_ids) == len(event_times)
        values = [int(row_id.split("-")[1]) for row_id in row_ids.to_pylist()]
        return pa.table([pa.array(values), pa.nulls(len(values), self.schema[1].type)], self.schema)


def test_labels_are_put_beside_rows(lab: Lab) -> None:
    lab.segment([minutes_ago(i) for i in range(5)])
    lab.compact()
    table = lab.rows(labels=Beside())
    assert table.column("label.y").to_pylist() == table.column("frame").to_pylist()
    few = lab.rows(labels=Beside(), columns=["in.x", "label.y"])
    assert sorted(few.column("label.y").to_pylist()) == [0, 1, 2, 3, 4]
    assert few.column_names == ["in.x", "label.y"]


def test_a_file_that_is_gone_is_named(lab: Lab) -> None:
    lab.segment([minutes_ago(1)])
    lab.compact()
    (name,) = lab.blobs.list("capture")
    lab.blobs.delete(name)
    with pytest.raises(StoreError, match="parquet"):
        lab.rows()


def test_rows_come_in_batches_of_bounded_size(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trueup.monitor.capture.parquet_file.GROUP_ROWS", 16)
    lab.segment([minutes_ago(i % 60) for i in range(100)])
    lab.compact()
    sizes = [batch.num_rows for batch in read_capture(lab.engine, lab.blobs, "flights").batches()]
    assert sum(sizes) == 100 and max(sizes) <= 16


def run(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    config = lab.folder / "trueup.toml"
    url = lab.settings.store.url.get_secret_value()
    config.write_text(
        f'blob_root = "{lab.settings.blob_root}"\nspool_dir = "{lab.settings.spool_dir}"\n'
        f'[store]\nurl = "{url}"\n'
    )
    command = [sys.executable, "-m", "trueup.cli.main", *arguments, "--config", str(config)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False)


@pytest.fixture
def recent(lab: Lab) -> Lab:
    """With rows of the last minutes by this machine's clock, which commands go by."""
    lab.now = datetime.now(timezone.utc)
    rows = [{"x": 0.1 * i, "c": "a", "raw": {"b64": "/w=="}} for i in range(4)]
    frames = [
        frame([row], predictions=[i], at=lab.now - i * MINUTE, request_id=f"r{i}")
        for i, row in enumerate(rows)
    ]
    odd = frame(b'{"instances":[{"x":NaN}]}', rows=1, at=lab.now - 5 * MINUTE)
    lab.segment([*frames, odd])
    return lab


def test_the_commands_compact_and_read_back(recent: Lab) -> None:
    done = run(recent, "compact")
    assert done.returncode == 0, done.stderr
    assert b"1 segment compacted: 5 rows in 1 file" in done.stdout
    again = run(recent, "compact", "--json")
    assert orjson.loads(again.stdout)["compacted"] == 0
    read = run(recent, "capture", "flights", "--from", "4.5min", "--columns", "request_id,in.x")
    assert read.returncode == 0, read.stderr
    lines = [orjson.loads(line) for line in read.stdout.splitlines()]
    assert sorted(lines, key=str) == [
        {"request_id": f"r{i}", "in.x": pytest.approx(0.1 * i)} for i in range(4)
    ]
    whole = run(recent, "capture", "flights")
    assert b"NaN" in whole.stdout and b'{"b64":"/w=="}' in whole.stdout
    assert b"5 rows" in whole.stderr


@pytest.mark.parametrize("to_file", [True, False])
def test_parquet_goes_to_a_file_or_a_pipe(recent: Lab, to_file: bool) -> None:
    run(recent, "compact")
    path = recent.folder / "rows.parquet"
    more = ["-o", str(path)] if to_file else []
    done = run(recent, "capture", "flights", "--format", "parquet", *more)
    assert done.returncode == 0, done.stderr
    table = pq.read_table(path if to_file else pa.BufferReader(done.stdout))
    assert table.num_rows == 5
    assert np.isnan(table.column("in.x").to_pylist()).sum() == 1
    assert not list(Path(recent.folder).glob(".rows*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "yesterday"], b"'yesterday' is no time"),
        (["--columns", "in.y"], b"did you mean"),
        (["-o", "/nowhere/rows"], b"no folder"),
    ],
)
def test_mistakes_are_said_in_a_sentence(recent: Lab, arguments: list[str], said: bytes) -> None:
    run(recent, "compact")
    done = run(recent, "capture", "flights", *arguments)
    assert done.returncode == 2 and said in done.stderr
    assert b"Traceback" not in done.stderr


def test_labels_are_taken_in_and_read_back(recent: Lab) -> None:
    """As the server writes them: in a segment, by the request's id and the row in it."""
    items = orjson.dumps([{"id": f"r{i}/0", "label": i} for i in range(3)])
    labels = frame(items, rows=3, kind=FrameKind.LABELS, body=Body.ROWS, at=recent.now)
    recent.segment([labels])
    done = run(recent, "compact")
    assert done.returncode == 0 and b"flights: 3 rows found their labels." in done.stdout
    read = run(recent, "capture", "flights", "--labels", "--columns", "request_id,label.label")
    assert read.returncode == 0, read.stderr
    lines = [orjson.loads(line) for line in read.stdout.splitlines()]
    assert {line["request_id"]: line["label.label"] for line in lines} == {
        "": None, "r0": 0, "r1": 1, "r2": 2, "r3": None
    }  # fmt: skip


def test_what_cannot_be_compacted_is_said(recent: Lab) -> None:
    from trueup.frames.capture_codec import encode_frame
    from trueup.frames.writer import FrameWriter

    with FrameWriter(recent.settings.spool_dir / f"{'z' * 26}.sealed") as writer:
        writer.append([b"\x63" + encode_frame(minutes_ago(1))[1:]])
    done = run(recent, "compact")
    assert done.returncode == 1
    assert b"1 segment compacted" in done.stdout and b"Not compacted, zzzz" in done.stdout
