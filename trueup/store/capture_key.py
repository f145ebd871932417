"""The key of a model's hash policy: made on first use, never changed, kept in the store only."""

from __future__ import annotations

import os
from collections.abc import Callable

from sqlalchemy import Engine, select

from trueup.errors import BadInputError
from trueup.store.engine import reading, writing
from trueup.store.tables import models
from trueup.store.updates import try_update

KEY_BYTES = 32


def capture_key(
    engine: Engine, model: str, *, randomness: Callable[[int], bytes] = os.urandom
) -> bytes:
    """The 32 bytes that ``model``'s columns are hashed with; every process gets the same ones.

    :raises BadInputError: when the store has no such model.
    """
    found = _read(engine, model)
    if found is None:
        with writing(engine) as connection:
            try_update(
                connection,
                models,
                where={"name": model, "capture_key": None},
                values={"capture_key": randomness(KEY_BYTES).hex()},
            )
        found = _read(engine, model)  # ours, or that of another process that was first
    if found is None:
        raise BadInputError(
            f"model {model} is not in the store", remedy="bring it in with trueup import"
        )
    return bytes.fromhex(found)


def _read(engine: Engine, model: str) -> str | None:
    with reading(engine) as connection:
        return connection.scalar(select(models.c.capture_key).where(models.c.name == model))
