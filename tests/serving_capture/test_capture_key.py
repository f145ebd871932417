"""The key of a model's hashes: made once, the same for every process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, update

from trueup.errors import BadInputError
from trueup.store.capture_key import capture_key
from trueup.store.engine import open_engine, writing
from trueup.store.schema import upgrade
from trueup.store.tables import models


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'store.db'}")
    upgrade(engine)
    now = datetime(2024, 1, 1, tzinfo=timezone.utc)
    with writing(engine) as connection:
        for name in ("flights", "other"):
            connection.execute(insert(models).values(name=name, created_at=now, created_by="test"))
    yield engine
    engine.dispose()


def test_a_key_is_made_once(engine: Engine) -> None:
    key = capture_key(engine, "flights")
    assert len(key) == 32
    assert capture_key(engine, "flights", randomness=bytes) == key
    assert capture_key(engine, "other") != key


def test_of_several_processes_all_get_the_first_ones_key(engine: Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: capture_key(engine, "flights"), range(8)))
    assert len(keys) == 1


def test_the_key_that_a_model_came_with_is_used(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(update(models).values(capture_key="ab" * 32))
    assert capture_key(engine, "flights") == bytes.fromhex("ab" * 32)


def test_a_model_that_there_is_not(engine: Engine) -> None:
    with pytest.raises(BadInputError, match="model nobody is not in the store"):
        capture_key(engine, "nobody")
