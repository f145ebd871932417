"""Numbers of versions, promotion, rollback, and what servers are told; on SQLite and PostgreSQL."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timezone
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select

from tests.registry.conftest import AUTHOR
from trueup.errors import BadInputError, ConflictError
from trueup.records.registry import RegistrySnapshot
from trueup.store.engine import reading, writing
from trueup.store.promotion import AliasChange, has_alias, promote, rollback
from trueup.store.registry import (
    ensure_model,
    list_versions,
    mark_failed,
    mark_ready,
    register_version,
    retire,
    snapshot,
)
from trueup.store.tables import VersionState, aliases, baselines, decisions, models

NOW = datetime(2024, 5, 2, tzinfo=timezone.utc)
SPEC = {"variables": [{"name": "x", "dtype": "float32", "kind": "numeric"}]}

Add = Callable[..., int]


def move(engine: Engine, version: int, alias: str = "stable") -> AliasChange | None:
    with writing(engine) as connection:
        return promote(connection, "flights", version, AUTHOR, alias=alias)


def back(engine: Engine) -> int:
    with writing(engine) as connection:
        return rollback(connection, "flights", AUTHOR).version


def live(engine: Engine, alias: str = "stable") -> int | None:
    with reading(engine) as connection:
        return connection.scalar(
            select(aliases.c.version).where(aliases.c.model == "flights", aliases.c.alias == alias)
        )


def test_versions_are_counted_per_model(add_ready: Add) -> None:
    assert [add_ready(), add_ready(), add_ready("other"), add_ready()] == [1, 2, 1, 3]


def test_registrars_at_once_get_different_numbers(engine: Engine) -> None:
    with writing(engine) as connection:
        ensure_model(connection, "flights", AUTHOR)
    start = threading.Barrier(6)

    def register(_: int) -> list[int]:
        start.wait(60)
        numbers = []
        for _ in range(5):
            with writing(engine) as connection:
                numbers.append(register_version(connection, "flights", AUTHOR))
        return numbers

    with ThreadPoolExecutor(6) as pool:
        found = [number for numbers in pool.map(register, range(6)) for number in numbers]
    assert sorted(found) == list(range(1, 31))


def test_a_model_is_registered_once(engine: Engine) -> None:
    with writing(engine) as connection:
        assert ensure_model(connection, "flights", AUTHOR)
        key = connection.scalar(select(models.c.capture_key))
        assert not ensure_model(connection, "flights", AUTHOR)
        assert connection.scalar(select(models.c.capture_key)) == key
    assert key is not None
    assert len(bytes.fromhex(key)) == 32


def test_a_promotion_is_recorded_with_who_and_why(engine: Engine, add_ready: Add) -> None:
    add_ready(), add_ready()
    assert move(engine, 1) == AliasChange("flights", "stable", None, 1, 1)
    assert move(engine, 2) == AliasChange("flights", "stable", 1, 2, 2)
    assert move(engine, 2) is None
    with reading(engine) as connection:
        rows = connection.execute(select(decisions).order_by(decisions.c.id)).all()
        assert has_alias(connection, "flights")
    assert [(row.kind, row.subject, row.made_by, row.reason) for row in rows] == [
        ("promotion", "stable", "ada", "a test")
    ] * 2
    assert rows[1].details == {"from": 1, "to": 2, "revision": 2}


def test_only_what_is_ready_can_be_promoted(engine: Engine, add_ready: Add) -> None:
    add_ready()
    with writing(engine) as connection:
        staged = register_version(connection, "flights", AUTHOR)
    with pytest.raises(BadInputError, match=r"version 2 of flights is staged, not ready"):
        move(engine, staged)
    with writing(engine) as connection:
        assert mark_failed(connection, "flights", staged)
        assert not mark_failed(connection, "flights", 1)
    with pytest.raises(BadInputError, match="is failed, not ready"):
        move(engine, staged)
    with pytest.raises(BadInputError, match="flights has no version 9"):
        move(engine, 9)
    with writing(engine) as connection:
        with pytest.raises(BadInputError, match=r"no model 'flight'; known are flights"):
            promote(connection, "flight", 1, AUTHOR)
        with pytest.raises(ConflictError):
            mark_ready(
                connection, "flights", staged, artifact_uri="", manifest_sha256="", details={}
            )
    assert live(engine) is None


def test_a_live_version_is_not_retired(engine: Engine, add_ready: Add) -> None:
    add_ready(), add_ready()
    move(engine, 1, "canary")
    with (
        pytest.raises(BadInputError, match="version 1 of flights is live under canary"),
        writing(engine) as connection,
    ):
        retire(connection, "flights", 1)
    with writing(engine) as connection:
        retire(connection, "flights", 2)
    with pytest.raises(BadInputError, match="is retired, not ready"):
        move(engine, 2)


def test_rollbacks_undo_promotions_one_by_one(engine: Engine, add_ready: Add) -> None:
    for _ in range(3):
        move(engine, add_ready())
    assert [back(engine), back(engine)] == [2, 1]
    with pytest.raises(BadInputError, match="no version before"):
        back(engine)
    move(engine, 3)
    assert back(engine) == 1
    with reading(engine) as connection:
        last = connection.execute(select(decisions).order_by(decisions.c.id.desc())).first()
        revision = connection.scalar(select(aliases.c.revision))
    assert last is not None
    assert (last.kind, last.details) == ("rollback", {"from": 3, "to": 1, "revision": 7})
    assert revision == 7


def test_a_rollback_passes_over_what_is_retired(engine: Engine, add_ready: Add) -> None:
    for _ in range(3):
        move(engine, add_ready())
    with writing(engine) as connection:
        retire(connection, "flights", 2)
    assert back(engine) == 1
    assert live(engine) == 1


def test_a_rollback_needs_an_alias(engine: Engine, add_ready: Add) -> None:
    add_ready()
    with pytest.raises(BadInputError, match="has no alias stable"):
        back(engine)


@pytest.mark.parametrize("seed", [1, 2])
def test_any_sequence_of_moves_ends_where_a_stack_would(
    engine: Engine, add_ready: Add, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(4):
        add_ready()
    stack: list[int] = []
    for _ in range(60):
        if chance.random() < 0.55:
            version = chance.randint(1, 4)
            changed = move(engine, version)
            if stack and stack[-1] == version:
                assert changed is None
            else:
                stack.append(version)
        elif len(stack) > 1:
            stack.pop()
            assert back(engine) == stack[-1]
        assert live(engine) == (stack[-1] if stack else None)


def test_promotions_at_once_leave_one_history(engine: Engine, add_ready: Add) -> None:
    """Some fail because another was first; what succeeded is a chain without a gap."""
    for _ in range(4):
        add_ready()
    start = threading.Barrier(4)

    def many(version: int) -> list[AliasChange]:
        start.wait(60)
        done = []
        for _ in range(10):
            with suppress(ConflictError):
                change = move(engine, version)
                done += [change] if change is not None else []
        return done

    with ThreadPoolExecutor(4) as pool:
        changes = [c for found in pool.map(many, [1, 2, 3, 4]) for c in found]
    changes.sort(key=lambda change: change.revision)
    assert [change.revision for change in changes] == list(range(1, len(changes) + 1))
    for earlier, later in pairwise(changes):
        assert later.before == earlier.version
    assert live(engine) == changes[-1].version
    with reading(engine) as connection:
        recorded = connection.scalars(select(decisions.c.details).order_by(decisions.c.id)).all()
    assert [each["to"] for each in recorded] == [change.version for change in changes]


def test_promoted_and_retired_at_once_is_never_both(engine: Engine, add_ready: Add) -> None:
    add_ready()
    move(engine, 1)
    for _ in range(12):
        version = add_ready()
        start = threading.Barrier(2)

        def promoting(version: int = version, start: threading.Barrier = start) -> bool:
            start.wait(60)
            try:
                return move(engine, version) is not None
            except BadInputError:
                return False

        def retiring(version: int = version, start: threading.Barrier = start) -> bool:
            start.wait(60)
            try:
                with writing(engine) as connection:
                    retire(connection, "flights", version)
            except BadInputError:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            outcomes = [pool.submit(promoting), pool.submit(retiring)]
            promoted, retired = (outcome.result(60) for outcome in outcomes)
        assert promoted != retired
        with reading(engine) as connection:
            row = list_versions(connection, "flights")[0]
        assert row.state is (VersionState.READY if promoted else VersionState.RETIRED)
        assert row.aliases == (("stable",) if promoted else ())


def test_servers_are_told_what_aliases_name(engine: Engine, add_ready: Add) -> None:
    for _ in range(3):
        add_ready(input_spec=SPEC)
    add_ready("idle")
    move(engine, 3)
    move(engine, 1, "canary")
    with writing(engine) as connection:
        for place, edges in enumerate(("older", "newer")):
            connection.execute(
                insert(baselines).values(
                    id=f"baseline-{edges}", model="flights", version=3,
                    created_at=NOW.replace(hour=place), created_by="ada", reason="", edges_id=edges,
                    profile_uri="", profile_sha256="", input_spec=SPEC, details={},
                )
            )  # fmt: skip
    with reading(engine) as connection:
        found = snapshot(connection, NOW)
    assert [model.name for model in found.models] == ["flights", "idle"]
    flights = found.by_name["flights"]
    assert [(a.alias, a.version, a.revision) for a in flights.aliases] == [
        ("canary", 1, 1), ("stable", 3, 1),
    ]  # fmt: skip
    assert [v.version for v in flights.versions] == [1, 3]
    first, third = flights.versions
    assert (third.baseline_id, third.edges_id) == ("baseline-newer", "newer")
    assert (first.baseline_id, first.edges_id) == (None, None)
    assert third.input_spec is not None and third.input_spec["x"].dtype == "float32"
    assert third.manifest_sha256 == f"{3:064x}"
    assert flights.capture_key is not None
    assert not found.by_name["idle"].versions
    assert RegistrySnapshot.model_validate_json(found.model_dump_json()) == found
    assert "password" not in found.store and found.store.startswith(("sqlite", "postgresql"))


def test_a_models_variables_are_those_of_its_stable_version(engine: Engine, add_ready: Add) -> None:
    def known() -> list[str]:
        with reading(engine) as connection:
            spec: Any = connection.scalar(select(models.c.input_spec))
        return [variable["name"] for variable in spec["variables"]]

    other = {"variables": [{"name": "z", "dtype": "float32", "kind": "numeric"}]}
    add_ready(input_spec=SPEC)
    assert known() == ["x"]
    add_ready(input_spec=other)
    assert known() == ["x"]
    move(engine, 1)
    move(engine, 2)
    assert known() == ["z"]
    back(engine)
    assert known() == ["x"]
    move(engine, 2, "canary")
    assert known() == ["x"]


def test_versions_are_listed_newest_first(engine: Engine, add_ready: Add) -> None:
    add_ready(note="one"), add_ready()
    move(engine, 1)
    move(engine, 1, "canary")
    with reading(engine) as connection:
        rows = list_versions(connection, "flights")
        with pytest.raises(BadInputError, match="there is no model 'ships'"):
            list_versions(connection, "ships")
    assert [(row.version, row.aliases) for row in rows] == [(2, ()), (1, ("canary", "stable"))]
    assert rows[1].details == {"note": "one"}
    assert (rows[1].created_by, rows[1].reason, rows[1].state) == (
        "ada", "a test", VersionState.READY,
    )  # fmt: skip
