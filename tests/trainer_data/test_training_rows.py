"""All sources of a model as one data set: files, a query, and the labelled capture."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sqlalchemy import insert, select

from tests.trainer_data.conftest import DAY, MODEL, NOW, START, World, flights
from trueup.errors import ConfigError, DataError, TrueupError
from trueup.profile.file import open_profile
from trueup.profile.mapreduce import first_pass_dataset, profile_dataset
from trueup.records.input_spec import Role
from trueup.records.training import Split
from trueup.store.engine import reading, writing
from trueup.store.registry import Author, register_version
from trueup.store.tables import baselines
from trueup.tfdv.protos import protos
from trueup.trainer.data.examples import sample_of
from trueup.trainer.data.lineage import check_shards, read_lineage, shard_paths
from trueup.trainer.data.splits import Quarantine
from trueup.training_rows import TrainingDataset, baseline_of, training_dataset
from trueup.version_baseline import NewBaseline, put_baseline

AUTHOR = Author("anna", "first model", NOW)
Write = Callable[..., Path]


def opened(world: World, folder: str = "rows", **options: Any) -> TrainingDataset:
    return training_dataset(
        world.settings, MODEL, world.engine, world.blobs, world.folder / folder, now=NOW, **options
    )


def training(sources: list[Path], **changes: Any) -> dict[str, Any]:
    data = {"sources": [str(path) for path in sources], "time": "at", "keys": ["tail"],
            **changes.pop("data", {})}  # fmt: skip
    return {"label": "late", "data": data, **changes}


def instances(rows: pa.Table, *without: str) -> list[dict[str, Any]]:
    kept = rows.drop(["number", "at", "late", *without])
    return [{n: v for n, v in row.items() if v is not None} for row in kept.to_pylist()]


def serve(world: World, rows: int, at: datetime, *without: str, seed: int = 9, **more: Any) -> None:
    """So many labelled requests, a minute after each other."""
    table = flights(rows, seed=seed)
    world.serve(instances(table, *without), table.column("late").to_pylist(), at, **more)


def test_files_query_and_capture_become_one_data_set(world: World, write_parquet: Write) -> None:
    old = flights(20_000)
    path = write_parquet(old)
    database = world.folder / "more.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE rows (tail, at, distance, temp, carrier, late)")
        rows = flights(500, first=100, days=20, seed=4).drop(["number"]).to_pylist()
        connection.executemany(
            "INSERT INTO rows VALUES (:tail, :at, :distance, :temp, :carrier, :late)",
            [{**row, "at": row["at"].isoformat()} for row in rows],
        )
    world.told(
        training=training([path], data={
            "query": "SELECT * FROM rows", "query_url": f"sqlite:///{database}"})
    )  # fmt: skip
    serve(world, 1500, START + 40 * DAY)
    serve(world, 200, START + 42 * DAY)  # the watermark moves on, and labels before it are mature
    rows_of = opened(world)
    assert [(s.kind, s.dataset.rows) for s in rows_of.sources] == [
        ("files", 20_000), ("query", 500), ("capture", 1500)
    ]  # fmt: skip
    assert rows_of.target.task == "binary" and rows_of.target.classes == ("0", "1")
    assert rows_of.spec["at"].role is Role.TIME and rows_of.spec["tail"].role is Role.ID
    data, _ = rows_of.write(world.folder / "data", now=NOW)
    assert sum(split.rows for split in data.splits.values()) + sum(data.dropped.values()) == sum(
        source.rows for source in data.sources
    )
    assert data == read_lineage(world.folder / "data")
    check_shards(data, world.folder / "data")
    assert data.cut_at == rows_of.survey.cut_at
    captured = data.sources[2]
    assert captured.first_event_at == START + 40 * DAY
    assert captured.last_event_at == START + 40 * DAY + timedelta(minutes=1499)
    assert len({source.fingerprint for source in data.sources}) == 3


def test_values_of_captured_rows_are_those_that_clients_sent(
    world: World, write_parquet: Write
) -> None:
    world.told(training=training([write_parquet(flights(5000))], data={"gate_period": "1d"}))
    sent = flights(300, seed=9)
    serve(world, 300, START + 40 * DAY)
    serve(world, 1, START + 42 * DAY)
    rows = opened(world)
    capture = rows.sources[1].dataset
    found = pa.Table.from_batches(b for part in capture.partitions(4) for b in part.batches())
    assert found.num_rows == 300
    for name in ("tail", "distance", "temp", "carrier", "late"):
        assert found.column(name).to_pylist() == sent.column(name).to_pylist(), name
    data, _ = rows.write(world.folder / "data", now=NOW)
    gate = pa.concat_tables(
        pq.read_table(path) for path in shard_paths(data, world.folder / "data", Split.GATE)
    )
    fresh = gate.filter(pc.greater_equal(gate.column("at"), pa.scalar(START + 40 * DAY)))
    assert fresh.num_rows == 300  # all of the newest day


def test_only_fresh_answered_and_mature_rows_come_from_the_capture(
    world: World, write_parquet: Write
) -> None:
    path = write_parquet(flights(5000, days=30))
    world.told(training=training([path]), windows={"label_delay": "2d"})
    serve(world, 50, START + 20 * DAY)  # the files have rows of that time
    serve(world, 60, START + 40 * DAY)
    serve(world, 7, START + 40 * DAY + timedelta(hours=2), shadow=True)
    serve(world, 8, START + 40 * DAY + timedelta(hours=3), status=400)
    table = flights(9)
    world.serve(instances(table), [None] * 9, START + 40 * DAY + timedelta(hours=4))
    serve(world, 70, START + 44 * DAY)  # not mature: within two days of the watermark
    rows = opened(world)
    capture = rows.sources[1]
    assert capture.dataset.rows == 60
    assert capture.left_out == {
        "shadow duplicate": 7, "refused request": 8, "label is missing": 9
    }  # fmt: skip
    data, _ = rows.write(world.folder / "data", now=NOW)
    assert data.sources[1].rows == 84
    assert data.dropped == capture.left_out


def test_quarantined_windows_stay_out(world: World, write_parquet: Write) -> None:
    world.told(training=training([write_parquet(flights(5000))]))
    serve(world, 600, START + 40 * DAY)
    serve(world, 10, START + 43 * DAY)
    broken = Quarantine("temp", START + 40 * DAY, START + 40 * DAY + timedelta(minutes=200))
    data, _ = opened(world, quarantined=[broken]).write(world.folder / "data", now=NOW)
    assert data.dropped == {"quarantined": 200}


def test_the_capture_alone_is_enough(world: World) -> None:
    world.told(training={"label": "late", "data": {"time": "at", "gate_period": "2h"}})
    serve(world, 900, START + 40 * DAY)
    serve(world, 10, START + 43 * DAY)
    rows = opened(world)
    assert [source.kind for source in rows.sources] == ["capture"]
    data, _ = rows.write(world.folder / "data", now=NOW)
    assert data.splits[Split.GATE].rows > 100


def test_hashed_columns_cannot_be_learnt_from(world: World, write_parquet: Write) -> None:
    path = write_parquet(flights(5000))
    world.told(training=training([path]), capture={"columns": {"carrier": {"policy": "hash"}}})
    serve(world, 100, START + 40 * DAY)
    serve(world, 10, START + 43 * DAY)
    rows = opened(world)
    assert [source.kind for source in rows.sources] == ["files"]
    assert any("carrier of flights under column policies" in note for note in rows.notes)
    made = baseline_of(rows, world.engine, tfdv=False)
    assert made.spec["carrier"].dtype == "string"
    edges = made.profile.edges.features["carrier"].categories
    assert edges is not None and len(edges.values) == 3 and "AA" not in edges.values


def test_the_baseline_is_of_the_training_rows_alone(world: World, write_parquet: Write) -> None:
    source = flights(20_000)
    world.told(training=training([write_parquet(source)]))
    rows = opened(world)
    data, _ = rows.write(world.folder / "data", now=NOW)
    made = baseline_of(rows, world.engine, tfdv=False)
    assert made.profile.rows == data.splits[Split.TRAIN].rows
    assert made.series is not None
    assert sum(series.rows.sum() for series in [made.series.features["temp"]]) == made.profile.rows
    with_workers = baseline_of(rows, world.engine, tfdv=False, workers=2)
    assert with_workers.profile.edges.edges_id == made.profile.edges.edges_id
    first, last = data.splits[Split.TRAIN].first_event_at, data.splits[Split.TRAIN].last_event_at
    assert first is not None and last is not None
    assert (made.baseline.side.first_time, made.baseline.side.last_time) == (first, last)
    edges = first_pass_dataset(rows.training_rows, rows.spec)
    other = profile_dataset(rows.training_rows, edges)
    assert other.features["temp"].missing == made.profile.features["temp"].missing > 0


def test_a_baseline_is_kept_as_those_of_imports_are(world: World, write_parquet: Write) -> None:
    world.told(training=training([write_parquet(flights(20_000))]))
    rows = opened(world)
    made = baseline_of(rows, world.engine, tfdv=False)
    undo: list[Any] = []
    new = NewBaseline(
        MODEL, 1, rows.spec, made.baseline.to_file(), ("rows.parquet",), made.series, "at",
        details={"importances": []},
    )  # fmt: skip
    row = put_baseline(world.blobs, new, AUTHOR, undo)
    with writing(world.engine) as connection:
        register_version(connection, MODEL, AUTHOR)
        connection.execute(insert(baselines).values(**row))
    with reading(world.engine) as connection:
        kept = connection.execute(select(baselines)).one()
    profile = open_profile(kept.profile_uri).profile
    assert profile.edges.edges_id == kept.edges_id == made.profile.edges.edges_id
    assert kept.details["windows"]["count"] == len(made.series or ())
    assert kept.details["importances"] == [] and kept.details["rows"] == profile.rows
    for step in undo:
        step()
    assert list(world.blobs.list("baselines")) == []


@pytest.mark.heavy
def test_tfdv_infers_a_schema_of_the_same_rows(world: World, write_parquet: Write) -> None:
    world.told(training=training([write_parquet(flights(5000))]))
    made = baseline_of(opened(world), world.engine)
    if made.schema is None:
        assert "no TFDV schema was written" in made.notes[0]
        return
    text = made.schema.decode()
    assert 'name: "carrier"' in text and 'value: "AA"' in text


def test_without_tfdv_there_is_a_note(
    world: World, write_parquet: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorflow_metadata", "tensorflow_metadata.proto.v0.statistics_pb2"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    protos.cache_clear()
    world.told(training=training([write_parquet(flights(5000))]))
    made = baseline_of(opened(world), world.engine)
    protos.cache_clear()
    assert made.schema is None
    assert made.notes[0].startswith("no TFDV schema was written: TFDV protos need the package")


def test_a_sample_of_shards_is_what_was_written(world: World, write_parquet: Write) -> None:
    source = flights(20_000)
    world.told(training=training([write_parquet(source)], data={"shard_rows": 4000}))
    rows = opened(world)
    data, _ = rows.write(world.folder / "data", now=NOW, more=["number"])
    for wanted, count in ((3000, 3000), (10**6, data.splits[Split.TRAIN].rows)):
        table = sample_of(data, world.folder / "data", Split.TRAIN, wanted)
        assert table.num_rows == count
        numbers = table.column("number").to_numpy()
        assert len(set(numbers.tolist())) == count
        assert table.column("late").equals(source.column("late").take(pa.array(numbers)))
        assert np.corrcoef(numbers, np.arange(count))[0, 1] < 0.06
    path = shard_paths(data, world.folder / "data", Split.TRAIN)[0]
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train-00000.tfrecord, byte \d+"):
        sample_of(data, world.folder / "data", Split.TRAIN, 1000)
    with pytest.raises(DataError, match=r"train-00000.tfrecord is not what was written"):
        check_shards(data, world.folder / "data")
    path.write_bytes(bytes(content[:-5]))
    with pytest.raises(DataError, match=r"train-00000.tfrecord has [\d,]+ bytes, and"):
        check_shards(data, world.folder / "data", content=False)
    path.unlink()
    with pytest.raises(DataError, match=r"train-00000.tfrecord cannot be read: No such file"):
        check_shards(data, world.folder / "data")
    with pytest.raises(DataError, match="there are no training data in"):
        read_lineage(world.folder)


def test_what_is_wrong_with_the_configuration_or_the_sources(
    world: World, write_parquet: Write
) -> None:
    path = write_parquet(flights(5000))

    def refused(kind: type[TrueupError], match: str, **settings: Any) -> None:
        world.told(**settings)
        folder = f"rows-{match[:5]}"
        with pytest.raises(kind, match=match) as told:
            opened(world, folder.replace("/", "_"))
        assert "\n" not in str(told.value)

    refused(ConfigError, "does not say what is to be predicted", training={})
    refused(DataError, "there are no data to train flights on.*nothing of flights is in the",
            training={"label": "late"})  # fmt: skip
    refused(DataError, "the label column 'lat' is not in the training data of flights.*'late'",
            training=training([path]) | {"label": "lat"})  # fmt: skip
    refused(DataError, "gone.parquet does not exist",
            training=training([path.with_name("gone.parquet")]))  # fmt: skip
    with sqlite3.connect(world.folder / "more.db") as connection:
        connection.execute("CREATE TABLE rows (tail, at, distance, temp, carrier)")
        connection.execute("INSERT INTO rows VALUES ('N1', '2024-01-05', 1.5, 20.0, 'AA')")
    refused(DataError, "the query has no label 'late', which other data of flights have",
            training=training([path], data={
                "query": "SELECT * FROM rows", "query_url": f"sqlite:///{world.folder}/more.db"}),
            )  # fmt: skip


def test_a_feature_that_clients_no_longer_send_is_refused(
    world: World, write_parquet: Write
) -> None:
    world.told(training=training([write_parquet(flights(5000))]))
    serve(world, 600, START + 40 * DAY, "temp")
    serve(world, 10, START + 43 * DAY)
    with pytest.raises(
        DataError,
        match=r"the capture has no values of 'temp', which other data of flights have; .*"
        r"\[models.flights.variables.temp\] role",
    ):
        opened(world)
    world.told(
        training=training([write_parquet(flights(5000))]),
        variables={"temp": {"role": "ignored", "reason": "no longer sent"}},
    )
    assert [source.kind for source in opened(world, "again").sources] == ["files", "capture"]


def test_what_clients_send_besides_is_left_out(world: World, write_parquet: Write) -> None:
    world.told(training=training([write_parquet(flights(5000))]))
    table = flights(600)
    sent = [{**instance, "debug": "x"} for instance in instances(table)]
    world.serve(sent, table.column("late").to_pylist(), START + 40 * DAY)
    serve(world, 10, START + 43 * DAY)
    rows = opened(world)
    assert "debug" not in rows.spec.by_name and rows.sources[1].dataset.rows == 600
    assert any("captured rows of flights have 'debug'" in note for note in rows.notes)


@pytest.mark.parametrize(
    ("label", "training_settings", "match"),
    [
        ([1] * 2000, {}, "the label 'late' is always '1' in all 2,000 of the rows of flights"),
        ([0, 1] * 1000, {"positive_above": 3.0}, "at or below 3 in all 2,000 .*one class"),
        (["a", "b"] * 1000, {"positive_above": 3.0}, "is no number, so it is never above 3"),
        (["a", "b"] * 1000, {"task": "regression"}, "is no number, so there is no regression"),
        ([0, 1, 2, 3] * 500, {"task": "binary"}, r"has 4 different values \(0, 1, 2, 3\)"),
        (list(range(2000)), {"task": "multiclass"}, "more than 1,000 different values"),
    ],
)
def test_labels_that_nothing_can_be_learnt_of(
    world: World,
    write_parquet: Write,
    label: list[Any],
    training_settings: dict[str, Any],
    match: str,
) -> None:
    table = flights(2000).set_column(6, "late", pa.array(label))
    world.told(training=training([write_parquet(table)], **training_settings))
    with pytest.raises(DataError, match=match):
        opened(world)


@pytest.mark.parametrize(
    ("label", "task", "classes"),
    [
        ([0, 1] * 1000, "binary", ("0", "1")),
        ([True, False] * 1000, "binary", ("false", "true")),
        ([10.0, 9.0] * 1000, "binary", ("9", "10")),
        (["no", "yes"] * 1000, "binary", ("no", "yes")),
        (["c", "a", "b", "a"] * 500, "multiclass", ("a", "b", "c")),
        ([1.5, 2.5, 3.5, 4.5] * 500, "regression", ()),
        (list(range(2000)), "regression", ()),
    ],
)
def test_what_is_predicted_is_told_by_the_labels(
    world: World, write_parquet: Write, label: list[Any], task: str, classes: tuple[str, ...]
) -> None:
    table = flights(2000).set_column(6, "late", pa.array(label))
    world.told(training=training([write_parquet(table)]))
    target = opened(world).target
    assert (target.task, target.classes) == (task, classes)
