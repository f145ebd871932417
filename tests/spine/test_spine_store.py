"""The store does the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, func, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError, StatementError

from trueup.config.settings import StoreSettings
from trueup.errors import ConfigError, ConflictError, StoreError, StoreVersionError
from trueup.store.engine import open_engine, reading, shown, writing
from trueup.store.schema import open_store, schema_state, store_id, upgrade
from trueup.store.tables import (
    SegmentState,
    aliases,
    heartbeats,
    meta,
    metadata,
    models,
    profiles,
    segments,
)
from trueup.store.updates import insert_if_absent, must_update, try_update

NOON = datetime(2013, 7, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)


def segment(name: str, **changes: object) -> dict[str, object]:
    return {
        "id": name,
        "host": "here",
        "path": f"spool/{name}",
        "state": SegmentState.SEALED.value,
        "opened_at": NOON,
        **changes,
    }


def test_the_migrated_schema_is_what_the_tables_say(engine: Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    names = set(inspect(engine).get_table_names())
    assert names == {*metadata.tables, "alembic_version"}


def test_upgrading_twice_changes_nothing(engine: Engine) -> None:
    before = store_id(engine)
    upgrade(engine)
    assert schema_state(engine).up_to_date
    assert store_id(engine) == before


def test_an_empty_store_is_known_and_not_up_to_date(store_url: str) -> None:
    engine = open_engine(store_url)
    state = schema_state(engine)
    assert (state.current, state.known, state.up_to_date) == (None, True, False)
    engine.dispose()


UPGRADE = """
import sys
from pydantic import SecretStr
from trueup.config.settings import StoreSettings
from trueup.store.schema import open_store, store_id
sys.stdin.readline()
print(store_id(open_store(StoreSettings(url=SecretStr(sys.argv[1])))))
"""


def test_processes_may_upgrade_at_once(store_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", UPGRADE, store_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    found = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(found) == 1


def test_a_newer_schema_is_refused_and_left_alone(engine: Engine, store_url: str) -> None:
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreVersionError, match=r"newer release .* 9999") as caught:
        open_store(StoreSettings(url=store_url))
    assert caught.value.exit_code == 2
    assert schema_state(engine).current == "9999"


def test_a_failed_upgrade_leaves_nothing_behind(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(store_url)

    def fail(*_: object) -> None:
        raise RuntimeError("killed in the middle")

    monkeypatch.setattr("trueup.store.schema.insert_if_absent", fail)  # the last step
    with pytest.raises(RuntimeError):
        upgrade(engine)
    monkeypatch.undo()
    assert inspect(engine).get_table_names() == []
    upgrade(engine)
    assert schema_state(engine).up_to_date
    engine.dispose()


def test_times_come_back_aware_and_in_utc(engine: Engine) -> None:
    newyork = timezone(timedelta(hours=-4))
    with writing(engine) as connection:
        connection.execute(
            insert(segments),
            [
                segment("a", opened_at=NOON.astimezone(newyork)),
                segment("b", opened_at=NOON + timedelta(microseconds=1)),
                segment("c", opened_at=NOON.replace(microsecond=0)),
            ],
        )
    with reading(engine) as connection:
        found = connection.execute(
            select(segments.c.id, segments.c.opened_at, segments.c.sealed_at).order_by(
                segments.c.opened_at
            )
        ).all()
        later = connection.execute(
            select(segments.c.id).where(segments.c.opened_at > NOON)
        ).scalars()
        assert list(later) == ["b"]
    assert [row.id for row in found] == ["c", "a", "b"]
    assert found[1].opened_at == NOON
    assert found[1].opened_at.utcoffset() == timedelta(0)
    assert found[1].sealed_at is None


def test_a_time_without_zone_is_refused(engine: Engine) -> None:
    naive = NOON.replace(tzinfo=None)
    with (
        pytest.raises((StoreError, StatementError), match="has no time zone"),
        writing(engine) as connection,
    ):
        connection.execute(insert(segments), [segment("a", opened_at=naive)])


@pytest.mark.parametrize(
    "value", [{"a": [1, 2.5, None]}, "with \x00 and é and \ud800", 0, [], {}, 2**70]
)
def test_json_comes_back_as_it_was(engine: Engine, value: object) -> None:
    row = {"name": "m", "created_at": NOON, "created_by": "me", "input_spec": value}
    with writing(engine) as connection:
        connection.execute(insert(models), [row])
    with reading(engine) as connection:
        assert connection.execute(select(models.c.input_spec)).scalar_one() == value


def test_binary_profiles_come_back_as_they_were(engine: Engine) -> None:
    data = bytes(range(256)) * 12
    with writing(engine) as connection:
        connection.execute(
            insert(profiles).values(
                model="m", window_start=NOON, window_seconds=3600, version=1, arm="", edges_id="e",
                source="s", rows=3_000_000_000, profile=data, created_at=NOON,
            )
        )  # fmt: skip
    with reading(engine) as connection:
        found = connection.execute(select(profiles)).one()
    assert (found.profile, found.rows) == (data, 3_000_000_000)


def test_foreign_keys_hold(engine: Engine) -> None:
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(
            insert(aliases).values(
                model="none", alias="stable", version=1, revision=1, changed_at=NOON,
                changed_by="me", reason="",
            )
        )  # fmt: skip


def test_an_exception_rolls_back(engine: Engine) -> None:
    def fail() -> None:
        with writing(engine) as connection:
            connection.execute(insert(segments), [segment("a")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with reading(engine) as connection:
        assert connection.execute(select(func.count()).select_from(segments)).scalar_one() == 0


def test_conditional_updates_tell_whether_they_did(engine: Engine) -> None:
    sealed = {"id": "a", "state": SegmentState.SEALED.value}
    compacted = {"state": SegmentState.COMPACTED.value, "compacted_at": NOON}
    with writing(engine) as connection:
        assert insert_if_absent(connection, segments, segment("a"))
        assert not insert_if_absent(connection, segments, segment("a", path="other"))
        assert try_update(connection, segments, where=sealed, values=compacted)
        assert not try_update(connection, segments, where=sealed, values=compacted)
        with pytest.raises(ConflictError, match="id='a', state='sealed'"):
            must_update(connection, segments, where=sealed, values=compacted)
        null = {"id": "a", "sealed_at": None}
        assert try_update(connection, segments, where=null, values={"sealed_at": NOON})
        with pytest.raises(ValueError, match="without a condition"):
            try_update(connection, segments, where={}, values=compacted)


def test_of_many_claimants_one_wins(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(insert(segments), [segment(f"s{i}") for i in range(10)])
    start = threading.Barrier(4)

    def claim(_: int) -> int:
        start.wait()
        won = 0
        for number in range(10):
            with writing(engine) as connection:
                won += try_update(
                    connection,
                    segments,
                    where={"id": f"s{number}", "state": SegmentState.SEALED.value},
                    values={"state": SegmentState.COMPACTED.value},
                )
        return won

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(claim, range(4))) == 10


def test_readers_do_not_wait_for_a_writer(engine: Engine) -> None:
    with writing(engine) as writer:
        writer.execute(insert(segments), [segment("a")])
        with reading(engine) as reader:
            assert reader.execute(select(func.count()).select_from(segments)).scalar_one() == 0


def test_reading_must_not_write_on_postgresql(engine: Engine) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no read-only transactions")
    with pytest.raises(StoreError, match="read-only"), reading(engine) as connection:
        connection.execute(insert(segments), [segment("a")])


def test_a_busy_store_is_a_sentence_worth_retrying(engine: Engine, store_url: str) -> None:
    impatient = open_engine(store_url, busy_timeout_s=0.05)
    beat = {
        "process": "p", "kind": "daemon", "host": "h", "pid": 1, "started_at": NOON,
        "seen_at": NOON, "details": {},
    }  # fmt: skip
    with writing(engine) as connection:
        connection.execute(insert(heartbeats), [beat])
        with pytest.raises(StoreError, match=r"(?i)lock") as caught, writing(impatient) as other:
            other.execute(insert(heartbeats), [beat])
    assert caught.value.retry
    impatient.dispose()


def test_sqlite_is_set_as_documented(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/new/folder/store.db", busy_timeout_s=7)
    with reading(engine) as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 7000,
    }


def test_a_store_that_is_no_database_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"this is not a database, and never was" * 100)
    with pytest.raises(StoreError, match="not a database") as caught:
        open_store(StoreSettings(url=f"sqlite:///{tmp_path}/store.db"))
    assert not caught.value.retry
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(StoreError, match="cannot be made"):
        open_store(StoreSettings(url=f"sqlite:///{blocked}/sub/store.db"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://me@host/db", "of the kind mysql"),
        ("nonsense", "no database URL"),
        ("sqlite://", "in memory"),
    ],
)
def test_a_url_that_is_not_supported_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_engine(url)


def test_passwords_are_not_shown() -> None:
    engine = open_engine("postgresql://me:hunter2@127.0.0.1:1/db?sslpassword=hunter2&host=/none")
    assert "hunter2" not in shown(engine)
    with pytest.raises(StoreError) as caught:
        upgrade(engine)
    assert "hunter2" not in str(caught.value)
    assert caught.value.retry


def test_the_store_has_an_id(engine: Engine) -> None:
    with reading(engine) as connection:
        assert connection.execute(select(meta.c.value)).scalar_one() == store_id(engine)
