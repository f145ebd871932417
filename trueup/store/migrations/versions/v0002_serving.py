"""Serving: credentials, kinds of capture files, the key that column policies hash with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_tokens()
    op.add_column(
        "models",
        sa.Column(
            "capture_key",
            sa.String(length=64),
            comment="hex; of the column policy that hashes",
        ),
    )
    op.add_column(
        "segments",
        sa.Column(
            "details",
            sa.Text(),
            comment="what compaction counted: rows, refused, late, retimed …",
        ),
    )
    op.add_column(
        "manifest",
        sa.Column(
            "kind",
            sa.String(length=20),
            nullable=False,
            server_default="rows",
            comment="ManifestKind",
        ),
    )
    op.add_column(
        "manifest",
        sa.Column(
            "details",
            sa.Text(),
            comment="counts per window, variables, what a rewrite replaced",
        ),
    )
    op.drop_index("ix_manifest_model_first_event_at", "manifest")
    _number_files_once()
    op.create_index(
        "ix_manifest_model_kind_first_event_at", "manifest", ["model", "kind", "first_event_at"]
    )


def downgrade() -> None:
    op.drop_index("ix_manifest_model_kind_first_event_at", "manifest")
    op.create_index("ix_manifest_model_first_event_at", "manifest", ["model", "first_event_at"])
    op.drop_column("manifest", "details")
    op.drop_column("manifest", "kind")
    op.drop_column("segments", "details")
    op.drop_column("models", "capture_key")
    op.drop_table("tokens")


def _number_files_once() -> None:
    """SQLite gives the id of a deleted last row again, unless the table says otherwise; what was
    done up to an id would then be taken for done of a file that came later."""
    if op.get_bind().dialect.name == "sqlite":
        options = {"sqlite_autoincrement": True}
        with op.batch_alter_table("manifest", recreate="always", table_kwargs=options):
            pass


def _create_tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column(
            "id",
            sa.String(length=20),
            nullable=False,
            comment="the part of a token that may be shown",
        ),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False, comment="of predict, ingest, read, admin"),
        sa.Column(
            "secret_sha256",
            sa.String(length=64),
            nullable=False,
            comment="of a secret with 256 random bits",
        ),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("revoked_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        comment="credentials; the secrets themselves are not kept",
    )
