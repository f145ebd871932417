"""A person's rows are erased from everywhere that is within reach, and what is not is said."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from sqlalchemy import insert, select, update

from trueup.cli.main import main
from trueup.config.serving import ColumnPolicy, ModelCaptureSettings
from trueup.config.settings import ModelSettings
from trueup.datasets.infer import infer_spec
from trueup.datasets.open import open_dataset
from trueup.errors import BadInputError, ConflictError
from trueup.monitor.capture import forget as forget_module
from trueup.monitor.capture import labels_join
from trueup.monitor.capture.backfill import profile_missing
from trueup.monitor.capture.forget import Decision, ForgetReport, find, forget
from trueup.monitor.capture.forget_match import Person, person
from trueup.monitor.capture.forget_reach import unreached
from trueup.monitor.capture.ingest import declared_spec, policies_of
from trueup.monitor.capture.labels_refs import key_ref, split_ref
from trueup.monitor.capture.labels_store import commit, remove_files
from trueup.monitor.capture.model_facts import FactsBook
from trueup.monitor.capture.window_profiles import merged, window_profile
from trueup.profile.codec import dumps
from trueup.profile.file import ProfileFile, save_profile
from trueup.profile.mapreduce import first_pass_dataset, profile_dataset
from trueup.records.capture import Body, FrameKind
from trueup.records.keys import WindowKey
from trueup.store.capture_key import capture_key
from trueup.store.engine import reading, writing
from trueup.store.tables import baselines, decisions, heartbeats, manifest, models, segments

NOON = datetime(2024, 3, 5, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
SECRET = "4711"


def who(world: Any, *request_ids: str, **keys: str) -> Person:
    spec = declared_spec(world.engine, FactsBook(world.engine, world.settings).of("shop"))
    policies = policies_of(world.settings, world.engine, "shop", spec)
    return person(keys, request_ids, policies)


def erase(world: Any, *request_ids: str, **keys: str) -> ForgetReport:
    decision = Decision("tester", "asked for", capture_key(world.engine, "shop"))
    theirs = who(world, *request_ids, **keys)
    return forget(
        world.settings, world.engine, world.blobs, "shop", theirs, decision, now=NOON
    )  # fmt: skip


def everything(world: Any) -> str:
    """All that the manifest's files hold, as text."""
    with reading(world.engine) as connection:
        uris = connection.scalars(select(manifest.c.uri)).all()
    texts = [pq.read_table(uri).to_pandas().to_csv() for uri in uris]
    on_disk = set(map(str, Path(world.settings.blob_root).rglob("*.parquet")))
    assert on_disk == set(uris)
    return "\n".join(texts)


def rows_of(world: Any) -> pd.DataFrame:
    with reading(world.engine) as connection:
        uris = connection.scalars(select(manifest.c.uri).where(manifest.c.kind == "rows")).all()
    return pd.concat([pq.read_table(uri).to_pandas() for uri in uris], ignore_index=True)


def test_rows_labels_and_waiting_labels_of_a_person_go(any_world: Any) -> None:
    world = any_world
    rows = [{"order": n, "price": 1.0} for n in (4711, 2, 3)]
    first = world.segment([world.served(rows, "visit"), world.served(rows[1:], "other")])
    refused = {"kind": FrameKind.REFUSED, "status": 400, "response": b"", "error": "bad"}
    world.segment(
        [
            world.served([{"order": 4711, "price": "x"}], **refused),
            world.served([{"order": 5, "price": 1.0}]),
        ]
    )
    world.segment(
        [
            world.labels(
                [
                    {"id": "visit/0", "label": "theirs"},
                    {"id": "visit/1", "label": "kept"},
                    {"key": {"order": 3}, "label": "kept"},
                    {"key": {"order": 4711, "line": "z"}, "label": "waiting theirs"},
                    {"key": {"order": 99}, "label": "waiting kept"},
                ]
            )
        ]
    )
    world.compact()
    world.join()
    assert SECRET in everything(world)
    before = find(world.engine, world.blobs, "shop", who(world, order=SECRET), now=NOON)
    report = erase(world, order=SECRET)
    assert (report.rows, report.labels, report.waiting) == (2, 1, 1)
    assert (before.rows, before.labels, before.waiting) == (2, 1, 1)
    assert report.left == []
    assert SECRET not in everything(world) and "theirs" not in everything(world)
    assert len(rows_of(world)) == 5
    found = world.labelled([f"{first}-0-1", f"{first}-0-2", f"{first}-1-1", f"{first}-0-0"])
    assert [row["label.bought"] for row in found] == ["kept", "kept", "kept", None]
    # what is left goes on as before: nothing is labelled twice, nothing comes back
    world.segment([world.served([{"order": 99, "price": 1.0}])])
    world.compact()
    assert world.join().labelled == 1
    again = erase(world, order=SECRET)
    assert again.nothing and again.digest == report.digest


def test_the_record_says_who_decided_and_nothing_about_the_person(world: Any) -> None:
    world.segment([world.served([{"order": 4711, "price": 1.0}], "their-request")])
    world.compact()
    report = erase(world, "their-request", order=SECRET)
    with reading(world.engine) as connection:
        record = connection.execute(select(decisions)).one()
        store = str(connection.execute(select(segments)).all())
    assert (record.kind, record.made_by, record.reason) == ("forget", "tester", "asked for")
    assert record.details["rows"] == 1 and record.details["who_hash"] == report.digest
    assert record.details["by"] == ["order"]
    said = json.dumps(record.details) + str(record.subject) + store
    assert SECRET not in said and "their-request" not in said


def test_rows_of_a_request_go_with_its_retries(world: Any) -> None:
    row = [{"price": 1.0}, {"price": 2.0}]
    world.segment([world.served(row, "theirs"), world.served(row, "theirs2")])
    world.segment([world.served(row, "theirs", shadow=True)])
    world.segment([world.labels([{"id": "theirs/9", "label": 1}, {"id": "theirs2/9", "label": 1}])])
    world.compact()
    world.join()
    report = erase(world, "theirs")
    assert (report.rows, report.waiting) == (4, 1)
    assert set(rows_of(world)["request_id"]) == {"theirs2"}
    assert world.join().waiting == 1


def test_requests_that_could_not_be_read_are_searched_for_the_value(world: Any) -> None:
    broken = b'{"instances": [{"order": 4711, "price": '
    other = b'{"instances": [{"order": 47110, "price": '
    refused = {"kind": FrameKind.REFUSED, "status": 400, "response": b"", "error": "no JSON"}
    frame = world.served([{"order": 1, "price": 1.0}], **refused)
    world.segment([dataclasses.replace(frame, request=each, rows=0) for each in (broken, other)])
    world.segment([world.served([{"order": [4711], "price": 1.0}, {"order": True, "price": 1.0}])])
    world.compact()
    report = erase(world, order=SECRET)
    assert report.rows == 2
    left = rows_of(world)
    assert len(left) == 2 and left["raw_request"].str.contains("47110").sum() == 1


def test_profiles_are_those_of_the_rows_that_are_left(world: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame({"order": range(100), "price": [n / 7 for n in range(100)]})
    training = open_dataset(frame)
    spec = infer_spec(training, overrides={"order": {"role": "feature", "kind": "categorical"}})
    edges = first_pass_dataset(training, spec)
    save_profile(ProfileFile(profile_dataset(training, edges), "t"), tmp_path / "b.profile")
    with writing(world.engine) as connection:
        connection.execute(update(models).values(input_spec=spec.model_dump(mode="json")))
        connection.execute(
            insert(baselines).values(
                id="b1", model="shop", created_at=NOON, created_by="test", reason="",
                edges_id=edges.edges_id, profile_uri=str(tmp_path / "b.profile"),
                profile_sha256="", input_spec=spec.model_dump(mode="json"), details={},
            )
        )  # fmt: skip
    for start in (0, 50):
        rows = [{"order": n % 7, "price": n / 7} for n in range(start, start + 50)]
        world.segment([world.served(rows[:25]), world.served(rows[25:], event_us=_us(NOON - HOUR))])
    world.compact()
    report = erase(world, order="3")
    assert report.rows == 14 and report.profiles == 4
    left = rows_of(world)
    for moment in (NOON, NOON - HOUR):
        window = WindowKey.containing(moment, HOUR)
        with reading(world.engine) as connection:
            profile = window_profile(connection, "shop", window, edges)
        inside = left[left["event_time"] == pd.Timestamp(moment)]
        plain = inside[["segment", "in.order", "in.price"]].rename(
            columns=lambda name: name.removeprefix("in.")
        )
        parts = [
            profile_dataset(open_dataset(rows[["order", "price"]].reset_index(drop=True)), edges)
            for _, rows in plain.groupby("segment")
        ]
        assert profile.rows == len(inside) and dumps(profile) == dumps(merged(parts, edges))
    missing = profile_missing(world.settings, world.engine, world.blobs, "shop", NOON)
    assert missing.sources == 0


def _us(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def test_a_hashed_key_is_found_by_its_value_and_dropped_ones_are_not(world: Any) -> None:
    columns = {
        "line": ColumnPolicy(policy="hash"), "order": ColumnPolicy(policy="drop"),
        "price": ColumnPolicy(policy="truncate"),
    }  # fmt: skip
    world.settings.models["shop"] = ModelSettings(capture=ModelCaptureSettings(columns=columns))
    spec = declared_spec(world.engine, FactsBook(world.engine, world.settings).of("shop"))
    policies = policies_of(world.settings, world.engine, "shop", spec)
    rows = [policies.row({"line": line, "price": 1.0}) for line in ("anna", "bert")]
    body = json.dumps(rows).encode()
    world.segment(
        [dataclasses.replace(world.served(rows), body=Body.ROWS, request=body)]
    )  # fmt: skip
    world.compact()
    assert "anna" not in everything(world)
    assert erase(world, line="anna").rows == 1
    assert rows_of(world)["in.line"].tolist() == [rows[1]["line"]]
    for name in ("order", "price"):
        with pytest.raises(BadInputError, match="column policy is"):
            who(world, **{name: "1"})


def test_nobody_is_no_person(world: Any) -> None:
    with pytest.raises(BadInputError, match="nobody is named"):
        who(world)
    with pytest.raises(BadInputError, match="missing"):
        who(world, order="")


def test_forgetting_and_joining_at_once(any_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A join that began before rows were erased must not bring their labels back."""
    world = any_world
    world.segment([world.served([{"order": 4711, "price": 1.0}], "visit")])
    world.segment([world.labels([{"id": "visit/0", "label": "theirs"}])])
    world.compact()
    calls = []

    def erased_meanwhile(*arguments: Any, **options: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            erase(world, order=SECRET)
        commit(*arguments, **options)

    monkeypatch.setattr(labels_join, "commit", erased_meanwhile)
    joined = world.join()
    assert (joined.labelled, joined.waiting) == (0, 0)
    assert len(calls) == 1  # the second time there was nothing to join
    with reading(world.engine) as connection:
        assert connection.scalars(select(manifest.c.id)).all() == []


def test_a_run_that_another_process_overtook_begins_again(
    any_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = any_world
    world.segment([world.served([{"order": n, "price": 1.0} for n in (4711, 5)])])
    world.compact()
    calls = []

    def overtaken(connection: Any, files: Any) -> None:
        calls.append(files)
        if len(calls) == 1:
            raise ConflictError("another process was first", retry=True)
        remove_files(connection, files)

    monkeypatch.setattr(forget_module, "remove_files", overtaken)
    assert erase(world, order=SECRET).rows == 1
    assert len(calls) == 2 and SECRET not in everything(world)


def test_what_is_out_of_reach_is_said(world: Any) -> None:
    assert unreached(world.settings, world.engine) == []
    (world.spool / "0000000000000000000000000a.open").write_bytes(b"")
    with writing(world.engine) as connection:
        connection.execute(
            insert(heartbeats).values(
                process="p", kind="server", host="elsewhere", pid=1, started_at=NOON, seen_at=NOON,
                details={},
            )
        )  # fmt: skip
    said = unreached(world.settings, world.engine)
    assert len(said) == 2 and "still being written" in said[0] and "elsewhere" in said[1]


@pytest.mark.parametrize("values", [["a"], ["a\x1f", "b"], ["\x1f|", "\x1f\x1f", ""], ["", ""]])
def test_values_of_a_key_come_back(values: list[str]) -> None:
    assert split_ref(str(key_ref(values))) == values


@pytest.fixture
def configured(world: Any, tmp_path: Path) -> str:
    path = tmp_path / "trueup.toml"
    url = world.settings.store.url.get_secret_value()
    path.write_text(
        f'blob_root = "{world.settings.blob_root}"\nspool_dir = "{world.settings.spool_dir}"\n'
        f'[store]\nurl = "{url}"\n'
    )
    return str(path)


def test_the_command_asks_or_is_told_and_takes_sealed_segments_too(
    world: Any, configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    now = int(datetime.now(timezone.utc).timestamp()) * 1_000_000
    rows = [{"order": n, "price": 1.0} for n in (4711, 5)]
    world.segment([world.served(rows, arrival_us=now)])
    arguments = ["forget", "shop", "--key", "order=4711", "--config", configured]
    assert main(arguments) == 2
    assert "give --yes" in capsys.readouterr().err
    assert main([*arguments, "--yes", "--reason", "their wish"]) == 0
    out = capsys.readouterr().out
    assert "Erased 1 rows" in out and "backups" in out and SECRET not in out
    assert SECRET not in everything(world) and not list(world.spool.iterdir())
    assert main([*arguments, "--yes", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 0 and found["out_of_reach"] == []


def test_the_command_ends_with_one_where_a_spool_is_out_of_reach(
    world: Any, configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from trueup.frames.writer import FrameWriter

    with FrameWriter(world.spool / "0000000000000000000000000a.open"):
        code = main(["forget", "shop", "--request-id", "x", "--config", configured, "--yes"])
    assert code == 1
    assert "Out of reach: 1 segment" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [([], "nobody is named"), (["--key", "order"], "has no value"),
     (["--key", "order=1", "--key", "order=2"], "given twice")],
)  # fmt: skip
def test_command_lines_that_name_nobody(
    world: Any,
    configured: str,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    words: str,
) -> None:
    assert main(["forget", "shop", *options, "--config", configured, "--yes"]) == 2
    assert words in capsys.readouterr().err
