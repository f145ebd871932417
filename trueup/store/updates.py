"""Shared state moves by conditional update and row count, never by read-then-write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, update
from sqlalchemy.dialects import postgresql, sqlite

from trueup.errors import ConflictError


def try_update(
    connection: Connection,
    table: Table,
    *,
    where: Mapping[str, Any],
    values: Mapping[str, Any],
) -> bool:
    """``UPDATE table SET values WHERE where``; whether a row was there to change.

    :param where: column → expected value; ``None`` is NULL. Names at least one row's key.
    """
    if not where:
        raise ValueError("an update without a condition would change every row")
    conditions = [table.c[name] == value for name, value in where.items()]
    return connection.execute(update(table).where(*conditions).values(dict(values))).rowcount > 0


def must_update(
    connection: Connection,
    table: Table,
    *,
    where: Mapping[str, Any],
    values: Mapping[str, Any],
) -> None:
    """As :func:`try_update`, but a row that is not as expected is an error.

    :raises ConflictError: another process was first; nothing was changed.
    """
    if not try_update(connection, table, where=where, values=values):
        expected = ", ".join(f"{name}={value!r}" for name, value in where.items())
        raise ConflictError(
            f"{table.name} has no row with {expected}: another process changed it first",
            remedy="look again and repeat",
            retry=True,
        )


def insert_if_absent(connection: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    """Add a row unless one with its key is there; whether it was added."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(dict(values)).on_conflict_do_nothing()
    # SQLAlchemy asks the driver for the row count of an INSERT only when told to.
    return connection.execute(statement.execution_options(preserve_rowcount=True)).rowcount > 0
