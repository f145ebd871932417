"""Training: jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TIME = sa.DateTime(timezone=True)
_LEARNING = sa.text("kind = 'train' AND state IN ('queued', 'preparing', 'running')")


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False, comment="train"),
        sa.Column("state", sa.String(length=20), nullable=False, comment="JobState"),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False, comment="JobSpec"),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column(
            "holder",
            sa.String(length=200),
            comment="process that runs it; unique per start of a process",
        ),
        sa.Column("seen_at", _TIME, comment="when its holder last wrote"),
        sa.Column("started_at", _TIME),
        sa.Column("finished_at", _TIME),
        sa.Column("message", sa.Text(), nullable=False, comment="why it failed or was cancelled"),
        sa.Column("progress", sa.Text(), comment="JobProgress, of late"),
        sa.Column("machine_seconds", sa.Float(), nullable=False),
        sa.Column("cost", sa.Float(), nullable=False),
        sa.Column("version", sa.Integer(), comment="that came of it"),
        sa.Column("cancel_at", _TIME, comment="when somebody asked for its end"),
        sa.Column("cancel_by", sa.String(length=200)),
        sa.Column("cancel_reason", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        comment="what is done by clusters of tasks",
    )
    op.create_index("ix_jobs_model_created_at", "jobs", ["model", "created_at"])
    op.create_index("ix_jobs_state_seen_at", "jobs", ["state", "seen_at"])
    op.create_index(
        "uq_jobs_learning",
        "jobs",
        ["model"],
        unique=True,
        sqlite_where=_LEARNING,
        postgresql_where=_LEARNING,
    )


def downgrade() -> None:
    op.drop_table("jobs")
