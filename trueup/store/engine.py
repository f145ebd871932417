"""Connections to the store, and transactions whose failures are sentences.

SQLite: write-ahead log, so that readers never wait for the writer; ``BEGIN IMMEDIATE``, so that a
writer waits at the start of its transaction and never fails in its middle; ``synchronous=FULL``, so
that a commit survives power loss. PostgreSQL: psycopg 3, in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError

from trueup.errors import ConfigError, StoreError, UnsupportedError

_READ_ONLY = "trueup_read_only"


def open_engine(url: str, *, busy_timeout_s: float = 30.0) -> Engine:
    """An engine for ``url``; nothing is connected yet.

    :param busy_timeout_s: how long to wait for a lock, and for a server to answer.
    :raises ConfigError: for a URL that is none or of another database.
    :raises UnsupportedError: when PostgreSQL's driver is not installed.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(
            "store.url is no database URL",
            remedy="give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE",
        ) from error
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, busy_timeout_s)
    if parsed.get_backend_name() == "postgresql":
        return _postgresql(parsed, busy_timeout_s)
    raise ConfigError(
        f"store.url names a database of the kind {parsed.get_backend_name()}",
        remedy="use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE",
    )


def _sqlite(url: URL, busy_timeout_s: float) -> Engine:
    if url.database in (None, "", ":memory:"):
        raise ConfigError(
            "store.url names a database in memory, which processes cannot share",
            remedy="give a file: sqlite:///FILE",
        )
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite"), connect_args={"timeout": busy_timeout_s}
    )

    @event.listens_for(engine, "do_connect")
    def make_folder(dialect: Any, record: Any, arguments: Any, parameters: Any) -> None:
        folder = Path(str(url.database)).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"folder {folder} of the store cannot be made: {error.strerror}",
                remedy="set store.url to a file in a folder that can be written",
            ) from error

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        cursor = connection.cursor()
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get(_READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _postgresql(url: URL, busy_timeout_s: float) -> Engine:
    if find_spec("psycopg") is None:
        raise UnsupportedError(
            "a PostgreSQL store needs the driver psycopg, which is not installed",
            remedy="run: pip install 'trueup[postgresql]'",
        )
    options = f"-c timezone=UTC -c lock_timeout={int(busy_timeout_s * 1000)}"
    given = url.query.get("options")
    return create_engine(
        url.set(drivername="postgresql+psycopg").difference_update_query(["options"]),
        pool_pre_ping=True,
        pool_timeout=busy_timeout_s,
        connect_args={
            "connect_timeout": max(1, min(10, int(busy_timeout_s))),
            "options": f"{options} {given}" if given else options,
        },
    )


def shown(engine: Engine) -> str:
    """The store's URL for messages, without passwords."""
    text = engine.url.render_as_string(hide_password=True)
    return re.sub(r"((?:password|passfile|sslpassword)=)[^&]*", r"\1***", text)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that is committed at the end of the block, or rolled back by an exception.

    :raises StoreError: when the store fails; ``retry`` says whether trying again can help.
    """
    with _sentences(engine), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view of the store; waits for no writer, and must not write."""
    with _sentences(engine), engine.connect() as plain:
        if engine.dialect.name == "sqlite":
            options: dict[str, Any] = {_READ_ONLY: True}
        else:
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        connection = plain.execution_options(**options)
        with connection.begin():
            yield connection


@contextmanager
def _sentences(engine: Engine) -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise  # a rule that the caller set: it alone knows what it means
    except SQLAlchemyError as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        what = " ".join(str(cause).split()) or type(cause).__name__
        raise StoreError(
            f"store {shown(engine)} failed: {what[:300]}",
            remedy="trueup doctor says what to mend",
            retry=_worth_retrying(error),
        ) from error


def _worth_retrying(error: SQLAlchemyError) -> bool:
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or type(error).__name__ in (
        "OperationalError",
        "InterfaceError",
    )
