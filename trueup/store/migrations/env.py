"""Run by Alembic with the connection that :func:`trueup.store.schema.upgrade` gives it.

To change the schema: change ``tables.py``, add ``versions/vNNNN_what.py`` after the latest one, and
let ``tests/spine`` compare the two on SQLite and PostgreSQL.
"""

from __future__ import annotations

from alembic import context

from trueup.store.tables import metadata


def run() -> None:
    """Run the migrations inside the caller's transaction."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        render_as_batch=True,  # SQLite changes a column by rebuilding its table
    )
    with context.begin_transaction():
        context.run_migrations()


if hasattr(context, "config"):  # absent when a tool imports this file outside of a migration
    run()
