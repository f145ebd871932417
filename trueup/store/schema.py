"""The schema's version: brought up to date by Alembic, one process at a time, all or nothing."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, select, text

from trueup.config.settings import StoreSettings
from trueup.errors import StoreVersionError
from trueup.store.engine import open_engine, reading, shown, writing
from trueup.store.tables import meta
from trueup.store.updates import insert_if_absent

_MIGRATIONS = Path(__file__).parent / "migrations"

# Alembic keeps its running migration in module globals.
_one_thread = threading.Lock()

STORE_ID = "store_id"

#: Any number that no other program uses for an advisory lock in the same database.
_UPGRADE_LOCK = 0x7472_7565_7570


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Of a store.

    :param current: its revision; ``None`` for an empty database.
    :param head: the newest revision that this release knows.
    :param known: whether this release knows ``current``; if not, a newer one wrote it.
    """

    current: str | None
    head: str
    known: bool

    @property
    def up_to_date(self) -> bool:
        return self.current == self.head


def open_store(settings: StoreSettings) -> Engine:
    """The store that the configuration names, with its schema up to date."""
    engine = open_engine(settings.url.get_secret_value(), busy_timeout_s=settings.busy_timeout_s)
    upgrade(engine)
    return engine


def schema_state(engine: Engine) -> SchemaState:
    """Which revision the store has; changes nothing in it."""
    with reading(engine) as connection:
        return _state(connection)


def upgrade(engine: Engine) -> None:
    """Bring the schema to this release's. Processes may do so at once: one works, others wait.

    :raises StoreVersionError: a newer release wrote the store; it is left as it is.
    """
    if schema_state(engine).up_to_date:
        return
    with _one_thread, writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
        state = _state(connection)
        if not state.known:
            raise StoreVersionError(
                f"store {shown(engine)} was written by a newer release of Trueup "
                f"(its schema is {state.current}, this release knows {state.head})",
                remedy="upgrade Trueup, or restore a backup from before",
            )
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        insert_if_absent(connection, meta, {"key": STORE_ID, "value": str(uuid.uuid4())})


def store_id(engine: Engine) -> str:
    """What tells this store from any other: hosts that show the same one share it."""
    with reading(engine) as connection:
        found = connection.execute(select(meta.c.value).where(meta.c.key == STORE_ID)).scalar_one()
    return str(found)


def _state(connection: Connection) -> SchemaState:
    scripts = ScriptDirectory.from_config(_config())
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    head = scripts.get_current_head()
    assert head is not None  # there is a first migration
    return SchemaState(current, head, current is None or current in known)


def _config() -> Config:
    config = Config()
    # "%" would be taken for interpolation by Alembic's configuration parser.
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
