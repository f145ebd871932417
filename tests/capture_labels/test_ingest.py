"""Raw inputs that were logged elsewhere come into the capture: files, and queries."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import insert, select, text, update

from trueup.cli.main import main
from trueup.config.serving import ColumnPolicy, ModelCaptureSettings
from trueup.config.settings import ModelSettings
from trueup.datasets.example_proto import example_class
from trueup.datasets.infer import infer_spec
from trueup.datasets.open import open_dataset
from trueup.errors import BadInputError, DataError
from trueup.frames.format import encode
from trueup.monitor.capture.ingest import IngestReport, IngestWishes, ingest
from trueup.monitor.capture.ingest_columns import fitted
from trueup.monitor.capture.ingest_rows import IN_FUTURE, NO_TIME, NO_VALUES, TOO_OLD
from trueup.monitor.capture.ingest_source import open_source
from trueup.monitor.capture.model_facts import FactsBook
from trueup.monitor.capture.window_profiles import window_profile
from trueup.profile.codec import dumps
from trueup.profile.file import ProfileFile, save_profile
from trueup.profile.mapreduce import first_pass_dataset, profile_dataset
from trueup.records.input_spec import Kind, Variable
from trueup.records.keys import WindowKey
from trueup.store.engine import reading, writing
from trueup.store.tables import baselines, manifest, models, profiles, segments

NOON = datetime(2024, 3, 5, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


def bring(world: Any, place: str | Path, **wishes: Any) -> IngestReport:
    query = wishes.pop("query", None)
    now = wishes.pop("now", NOON)
    with open_source(str(place), query=query) as source:
        return ingest(
            world.settings, world.engine, world.blobs, "shop", source, IngestWishes(**wishes),
            now=now,
        )  # fmt: skip


def captured(world: Any) -> pd.DataFrame:
    with reading(world.engine) as connection:
        uris = connection.scalars(
            select(manifest.c.uri).where(manifest.c.kind == "rows").order_by(manifest.c.id)
        ).all()
    return pd.concat([pq.read_table(uri).to_pandas() for uri in uris], ignore_index=True)


ROWS: list[dict[str, Any]] = [
    {"at": "2024-03-05T10:00:00Z", "order": 1, "line": "a", "price": 1.5, "score": 0.25},
    {"at": "2024-03-05T10:30:00Z", "order": 2, "line": "b", "price": 2.0, "score": 0.5},
    {"at": "2024-03-05T11:30:00Z", "order": None, "line": None, "price": 3.5, "score": 0.75},
]


def as_csv(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    pd.DataFrame(rows).convert_dtypes().to_csv(folder / "log.csv", index=False)
    return folder / "log.csv"


def as_json(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def as_parquet(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    frame = pd.DataFrame(rows).convert_dtypes()
    frame["at"] = pd.to_datetime(frame["at"])
    frame.to_parquet(folder / "log.parquet")
    return folder / "log.parquet"


def as_tfrecord(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    written = []
    for row in rows:
        example = example_class()()
        for name, value in row.items():
            feature = example.features.feature[name]
            if isinstance(value, str):
                feature.bytes_list.value.append(value.encode())
            elif isinstance(value, float):
                feature.float_list.value.append(value)
            elif value is not None:
                feature.int64_list.value.append(value)
        written.append(example.SerializeToString())
    path = folder / "log.tfrecord"
    path.write_bytes(encode(written))
    return path


@pytest.mark.parametrize("write", [as_csv, as_json, as_parquet, as_tfrecord])
def test_files_of_each_format_give_the_same_rows(
    world: Any, tmp_path: Path, write: Callable[..., Path]
) -> None:
    report = bring(world, write(tmp_path, ROWS), time="at", predictions=["score"], version=3)
    assert (report.rows, report.refused.total, report.type_errors) == (3, 0, {})
    found = captured(world)
    assert found["in.order"].tolist()[:2] == [1, 2] and pd.isna(found["in.order"][2])
    assert found["in.line"].tolist() == ["a", "b", None]
    assert found["in.price"].tolist() == [1.5, 2.0, 3.5]
    assert found["out.outputs"].tolist() == [0.25, 0.5, 0.75]
    assert found["event_time"].tolist() == [pd.Timestamp(row["at"]) for row in ROWS]
    assert set(found["version"]) == {3} and set(found["status"]) == {200}
    assert found["row_id"].tolist() == [f"{report.source}-{n}-0" for n in range(3)]
    assert "in.at" not in found


def test_rows_of_a_query(any_world: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    world = any_world
    url = world.settings.store.url.get_secret_value()
    with writing(world.engine) as connection:
        connection.execute(text('CREATE TABLE log (at TEXT, "order" BIGINT, price FLOAT)'))
        for n in range(40_000):
            if n % 10_000 == 0:
                values = ",".join(
                    f"('2024-03-05T{10 + k % 2}:00:00Z', {k}, {k}.5)" for k in range(n, n + 10_000)
                )
                connection.execute(text(f"INSERT INTO log VALUES {values}"))
    query = "SELECT * FROM log WHERE at LIKE '2024%' AND ':x' <> '12:30' ORDER BY \"order\""
    report = bring(world, url, query=query, time="at")
    assert report.rows == 40_000
    assert captured(world)["in.price"].sum() == sum(n + 0.5 for n in range(40_000))
    with pytest.raises(BadInputError, match="brought in before"):
        bring(world, url, query=query, time="at")


def test_queries_that_fail_say_why_and_show_no_password(world: Any, tmp_path: Path) -> None:
    url = world.settings.store.url.get_secret_value()
    for place, query, words in (
        (url, "SELECT * FROM nowhere", "nowhere"),
        (url, "DELETE FROM meta WHERE 0", "no SELECT"),
        (url, "SELECT 1 AS a, 2 AS a", "two columns"),
        (url, "SELECT name FROM models WHERE 0", "no rows"),
        (f"sqlite:///{tmp_path}/none.db", "SELECT 1", "no database file"),
        ("postgresql://me:secret@127.0.0.1:1/x", "SELECT 1", "failed"),
        ("files.csv", "SELECT 1", "database URL"),
    ):
        with pytest.raises((BadInputError, DataError)) as failure:
            bring(world, place, query=query)
        assert words in str(failure.value) and "secret" not in str(failure.value)
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(BadInputError, match="--query"):
        bring(world, url)


def test_refused_rows_are_counted_with_the_first_of_each_reason(world: Any, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"at": "2024-03-05T10:00:00Z", "price": 1.0},
        {"at": None, "price": 2.0},
        {"at": "2023-03-05T10:00:00Z", "price": 3.0},
        {"at": "2024-03-06T10:00:00Z", "price": 4.0},
        {"at": "2024-03-05T10:00:00Z", "price": None},
        {"at": "2023-03-05T11:00:00Z", "price": 3.0},
    ]
    report = bring(world, as_json(tmp_path, rows), time="at")
    assert report.rows == 1
    assert report.refused.counts == {NO_TIME: 1, TOO_OLD: 2, IN_FUTURE: 1, NO_VALUES: 1}
    assert report.refused.examples[TOO_OLD] == [3, 6]
    assert captured(world)["in.price"].tolist() == [1.0]


def test_nothing_changes_where_no_row_can_be_used(world: Any, tmp_path: Path) -> None:
    path = as_json(tmp_path, [{"at": "2001-01-01T00:00:00Z", "price": 1.0}])
    with pytest.raises(BadInputError, match=r"no row of .* can be used .*older"):
        bring(world, path, time="at")
    with reading(world.engine) as connection:
        assert connection.execute(select(segments.c.id)).all() == []
    assert list(world.blobs.list()) == []


def test_values_of_another_type_are_named_and_kept_as_json(world: Any, tmp_path: Path) -> None:
    rows = [
        {"price": 1, "order": 1.0, "line": "a", "colour": "red"},
        {"price": "cheap", "order": 2, "line": "b", "colour": 5},
    ]
    report = bring(world, as_json(tmp_path, rows))
    assert report.type_errors == {"price": 1}
    assert any("colour" in note for note in report.notes)
    assert any("dated now" in note for note in report.notes)
    found = captured(world)
    assert found["in.price"].tolist()[0] == 1.0 and pd.isna(found["in.price"][1])
    assert found["type_errors"].tolist()[1].tolist() == ["price"]
    assert json.loads(found["raw_request"][1])["price"] == "cheap"
    assert found["in.colour"].tolist() == ["red", "5"]


def test_the_same_content_is_brought_in_once(world: Any, tmp_path: Path) -> None:
    path = as_json(tmp_path, ROWS)
    first = bring(world, path, time="at")
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(path.read_bytes())
    with pytest.raises(BadInputError, match=r"brought in before.*--again"):
        bring(world, copy, time="at")
    second = bring(world, copy, time="at", again=True)
    assert second.source != first.source
    assert len(captured(world)) == 6


def test_labels_find_ingested_rows_by_request_id_and_key(world: Any, tmp_path: Path) -> None:
    rows = [{"rid": rid, "price": 1.0, "order": n} for n, rid in enumerate("aabcc")]
    rows += [{"rid": None, "price": 2.0, "order": 9}]
    bring(world, as_json(tmp_path, rows), request_id="rid", keys=["order"])
    items = [
        {"id": "a/1", "label": 1},
        {"id": "c/0", "label": 2},
        {"key": {"order": 9}, "label": 3},
    ]
    world.segment([world.labels(items)])
    world.compact()
    assert world.join().labelled == 3
    found = captured(world).sort_values("in.order")
    assert found["row"].tolist() == [0, 1, 0, 0, 1, 0]
    labels = [row["label.bought"] for row in world.labelled(found["row_id"].tolist())]
    assert labels == [None, 1, None, 2, None, 3]


def test_requests_that_go_over_batches_keep_their_rows_together(world: Any, tmp_path: Path) -> None:
    count = 150_000  # batches have 64 thousand rows
    table = pa.table(
        {
            "rid": pa.array([f"r{n // 7}" for n in range(count)]),
            "price": pa.array(range(count), pa.float64()),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    bring(world, tmp_path / "log.parquet", request_id="rid")
    found = captured(world).sort_values("in.price")
    assert found["row"].tolist() == [n % 7 for n in range(count)]
    assert found["row_id"].is_unique and len(found) == count


def test_window_profiles_are_those_of_the_rows(world: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "at": [(NOON - HOUR * (n % 5)).isoformat() for n in range(1000)],
            "line": [f"l{n % 3}" for n in range(1000)],
            "price": [float(n) for n in range(1000)],
        }
    )
    training = open_dataset(frame)
    spec = infer_spec(training, time="at")
    edges = first_pass_dataset(training, spec)
    save_profile(
        ProfileFile(profile_dataset(training, edges), "training"), tmp_path / "base.profile"
    )
    with writing(world.engine) as connection:
        connection.execute(update(models).values(input_spec=spec.model_dump(mode="json")))
        connection.execute(
            insert(baselines).values(
                id="b1", model="shop", created_at=NOON, created_by="test", reason="",
                edges_id=edges.edges_id, profile_uri=str(tmp_path / "base.profile"),
                profile_sha256="", input_spec=spec.model_dump(mode="json"), details={},
            )
        )  # fmt: skip
    frame.to_parquet(tmp_path / "log.parquet")
    report = bring(world, tmp_path / "log.parquet")
    assert report.profiles == 5
    known = FactsBook(world.engine, world.settings).of("shop").edges
    assert known is not None
    edges = known
    window = WindowKey.containing(NOON - HOUR, HOUR)
    with reading(world.engine) as connection:
        profile = window_profile(connection, "shop", window, edges)
        sources = set(connection.scalars(select(profiles.c.source)))
    assert sources == {report.source}
    inside = frame[frame["at"] == (NOON - HOUR).isoformat()]
    expected = profile_dataset(open_dataset(inside), edges)
    assert profile.rows == 200
    assert dumps(profile) == dumps(expected)


def test_column_policies_hold_for_what_is_brought_in(world: Any, tmp_path: Path) -> None:
    policies = ModelCaptureSettings(
        columns={"line": ColumnPolicy(policy="hash"), "order": ColumnPolicy(policy="drop")}
    )
    world.settings.models["shop"] = ModelSettings(capture=policies)
    rows = [{"line": "secret", "order": 4711, "price": "?", "friend": "also secret"}]
    bring(world, as_json(tmp_path, rows))
    found = captured(world)
    assert len(found["in.line"][0]) == 64 and "in.order" not in found and "in.friend" not in found
    assert "secret" not in found.to_json() and "4711" not in found.to_json()


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"time": "att"}, "time column 'att'.*did you mean 'at'"),
        ({"predictions": ["p=scor"]}, "did you mean 'score'"),
        ({"keys": ["nothing"]}, "key column"),
        ({"request_id": "rid"}, "request id column"),
    ],
)
def test_columns_that_are_not_there(
    world: Any, tmp_path: Path, wishes: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadInputError, match=words):
        bring(world, as_json(tmp_path, ROWS), **wishes)


def test_data_of_another_model_are_refused(world: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="none of the model's variables"):
        bring(world, as_json(tmp_path, [{"x": 1}]))


@pytest.mark.parametrize(
    ("values", "declared", "expected", "wrong"),
    [
        ([1, 2.5], {"dtype": "int64"}, [1.0, 2.5], None),
        ([1.0, None], {"dtype": "int32"}, [1, None], None),
        ([1.0, 1e300], {"dtype": "int64"}, [1, None], [False, True]),
        (["1", "x", ""], {"dtype": "int64"}, [1, None, None], [False, True, False]),
        ([True], {"dtype": "float32"}, [None], [True]),
        ([1], {"dtype": "string", "kind": "categorical"}, [None], [True]),
        (["yes", "true", "0"], {"dtype": "bool", "kind": "categorical"}, [None, True, False],
         [True, False, False]),
        ([[1.0], [1.0, 2.0], None], {"dtype": "float64"}, [1.0, None, None], [False, True, False]),
        ([1.0, None], {"dtype": "float64", "shape": (-1,)}, [[1.0], None], None),
        ([[1.0, 2.0, 3.0, 4.0]], {"dtype": "float64", "shape": (-1, 2)}, [[[1.0, 2.0], [3.0, 4.0]]],
         None),
        (["2024-01-01", "soon"], {"dtype": "timestamp", "kind": "time"},
         [datetime(2024, 1, 1, tzinfo=timezone.utc), None], [False, True]),
        ([b"a", b"\xff"], {"dtype": "string", "kind": "text"}, ["a", "\\xff"], None),
        ([None, None], {"dtype": "float32"}, [None, None], None),
    ],
)  # fmt: skip
def test_columns_as_declared(
    values: list[Any], declared: dict[str, Any], expected: list[Any], wrong: list[bool] | None
) -> None:
    variable = Variable(**{"name": "x", "kind": Kind.NUMERIC, **declared})
    array, misfits = fitted(pa.array(values), variable, textual=False)
    assert array.to_pylist() == expected
    assert (None if misfits is None else misfits.tolist()) == wrong


def test_numbers_of_csv_are_the_texts_that_they_were() -> None:
    variable = Variable(name="x", dtype="string", kind=Kind.CATEGORICAL)
    assert fitted(pa.array([1, 2]), variable, textual=True)[0].to_pylist() == ["1", "2"]


# -- the command line ------------------------------------------------------------------------


@pytest.fixture
def configured(world: Any, tmp_path: Path) -> Any:
    """The configuration file of a world."""
    path = tmp_path / "trueup.toml"
    url = world.settings.store.url.get_secret_value()
    path.write_text(
        f'blob_root = "{world.settings.blob_root}"\nspool_dir = "{world.settings.spool_dir}"\n'
        f'[store]\nurl = "{url}"\n'
    )
    return path


def test_commands_bring_in_rows_and_then_their_labels(
    world: Any, tmp_path: Path, configured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(timezone.utc)
    rows = [
        {"at": (now - HOUR).isoformat(), "rid": f"r{n}", "order": n, "price": n / 2}
        for n in range(10)
    ]
    rows += [{"at": None, "rid": "r10", "order": 10, "price": 1.0}]
    log = as_json(tmp_path, rows)
    arguments = ["ingest", "shop", str(log), "--time", "at", "--request-id", "rid"]
    assert main([*arguments, "--config", str(configured)]) == 0
    out = capsys.readouterr().out
    assert "10 rows of shop" in out and "Refused: 1 rows" in out and "row 11" in out
    assert main([*arguments, "--config", str(configured)]) == 2
    assert "brought in before" in capsys.readouterr().err

    outcomes = tmp_path / "outcomes.csv"
    outcomes.write_text(
        "request_id,row,label\nr0,0,true\nr1,0,false\nnone,0,true\n,0,true\nr2,,true\n"
    )
    assert main(["labels", "shop", str(outcomes), "--config", str(configured), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["accepted"], found["joined"]["labelled"], found["joined"]["waiting"]) == (3, 2, 1)
    assert found["labels"] == ["bought"]
    refused = found["refused"]
    assert [each["count"] for each in refused.values()] == [2]

    more = tmp_path / "more.csv"
    more.write_text("order,label.size,labelled_at\n5,7,2024-01-01T00:00:00Z\n")
    options = ["--key", "order", "--config", str(configured)]
    assert main(["labels", "shop", str(more), *options]) == 0
    out = capsys.readouterr().out
    assert "by key order" in out and "one-to-one" in out
    options = ["--labels", "--columns", "in.order,label.bought,label.size"]
    assert main(["capture", "shop", *options, "--config", str(configured)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {row["in.order"]: (row["label.bought"], row["label.size"]) for row in rows}
    nothing = dict.fromkeys(range(10), (None, None))
    assert found == nothing | {0: (True, None), 1: (False, None), 5: (None, 7)}


def test_many_to_many_labels_end_with_exit_code_two(
    world: Any, tmp_path: Path, configured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = as_json(tmp_path, [{"order": 1, "price": 1.0}, {"order": 1, "price": 2.0}])
    assert main(["ingest", "shop", str(log), "--config", str(configured)]) == 0
    outcomes = tmp_path / "outcomes.csv"
    outcomes.write_text("order,label\n1,true\n1,false\n")
    arguments = ["labels", "shop", str(outcomes), "--key", "order", "--config", str(configured)]
    assert main(arguments) == 2
    assert "the key order are many-to-many" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("order,label\n1,1\n", [], "which rows"),
        ("id,outcome\na/0,1\n", [], "no label column"),
        ("id,label,label.bought\na/0,1,1\n", [], "several columns for the label"),
        ("id,label\na/0,1\n", ["--key", "order"], "key column 'order'"),
        ("id,label\na,1\n", [], "no label of .* can be used"),
    ],
)
def test_label_files_that_cannot_be_used(
    world: Any,
    tmp_path: Path,
    configured: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    options: list[str],
    words: str,
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    assert main(["labels", "shop", str(path), *options, "--config", str(configured)]) == 2
    error = capsys.readouterr().err
    assert re.search(words, error), error


def test_unknown_models_are_refused(
    world: Any, tmp_path: Path, configured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = as_json(tmp_path, ROWS)
    assert main(["ingest", "shpo", str(log), "--config", str(configured)]) == 2
    assert "did you mean 'shop'" in capsys.readouterr().err
