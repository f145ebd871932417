"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# As long-lived as this file: later changes of the column types must not change what it makes.
_TIME = sa.DateTime(timezone=True)
_AUTO_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_heartbeats()
    _create_leases()
    _create_meta()
    _create_models()
    _create_profiles()
    _create_schedule_runs()
    _create_segments()
    _create_baselines()
    _create_decisions()
    _create_manifest()
    _create_versions()
    _create_aliases()
    _create_checks()


def downgrade() -> None:
    op.drop_table("checks")
    op.drop_table("aliases")
    op.drop_table("versions")
    op.drop_table("manifest")
    op.drop_table("decisions")
    op.drop_table("baselines")
    op.drop_table("segments")
    op.drop_table("schedule_runs")
    op.drop_table("profiles")
    op.drop_table("models")
    op.drop_table("meta")
    op.drop_table("leases")
    op.drop_table("heartbeats")


def _create_heartbeats() -> None:
    op.create_table(
        "heartbeats",
        sa.Column("process", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False, comment="server, daemon or web"),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("seen_at", _TIME, nullable=False),
        sa.Column("details", sa.Text(), nullable=False, comment="versions loaded, lag, losses"),
        sa.PrimaryKeyConstraint("process", name="pk_heartbeats"),
    )
    op.create_index("ix_heartbeats_seen_at", "heartbeats", ["seen_at"])


def _create_leases() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=True, comment="absent when released"),
        sa.Column(
            "fence", sa.BigInteger(), nullable=False, comment="counts up with each acquisition"
        ),
        sa.Column("acquired_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )


def _create_meta() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_meta"),
        comment="facts about this store, such as its own id",
    )


def _create_models() -> None:
    op.create_table(
        "models",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column(
            "input_spec",
            sa.Text(),
            nullable=True,
            comment="InputSpec; absent until the first version",
        ),
        sa.PrimaryKeyConstraint("name", name="pk_models"),
    )


def _create_profiles() -> None:
    op.create_table(
        "profiles",
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("window_start", _TIME, nullable=False),
        sa.Column("window_seconds", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("arm", sa.String(length=100), nullable=False),
        sa.Column("edges_id", sa.String(length=64), nullable=False),
        sa.Column(
            "source",
            sa.String(length=64),
            nullable=False,
            comment="segment or ingest that it is of",
        ),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("profile", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint(
            "model",
            "window_start",
            "window_seconds",
            "version",
            "arm",
            "edges_id",
            "source",
            name="pk_profiles",
        ),
        comment="partial profiles: a window's is the merge over its sources",
    )


def _create_schedule_runs() -> None:
    op.create_table(
        "schedule_runs",
        sa.Column("schedule", sa.String(length=200), nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False, comment="RunState"),
        sa.Column(
            "fence", sa.BigInteger(), nullable=False, comment="of the leader that wrote this"
        ),
        sa.Column("started_at", _TIME, nullable=True),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("schedule", "due_at", name="pk_schedule_runs"),
    )
    op.create_index("ix_schedule_runs_state_due_at", "schedule_runs", ["state", "due_at"])


def _create_segments() -> None:
    op.create_table(
        "segments",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column(
            "host", sa.String(length=255), nullable=False, comment="whose local spool it is in"
        ),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False, comment="SegmentState"),
        sa.Column("opened_at", _TIME, nullable=False),
        sa.Column("sealed_at", _TIME, nullable=True),
        sa.Column("compacted_at", _TIME, nullable=True),
        sa.Column("newest_event_at", _TIME, nullable=True, comment="for the watermark"),
        sa.Column("frames", sa.BigInteger(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column(
            "lost_bytes",
            sa.BigInteger(),
            nullable=True,
            comment="damage and torn tail found by recovery",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_segments"),
    )
    op.create_index("ix_segments_state_opened_at", "segments", ["state", "opened_at"])


def _create_baselines() -> None:
    op.create_table(
        "baselines",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column(
            "version", sa.Integer(), nullable=True, comment="absent for a baseline that people set"
        ),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("edges_id", sa.String(length=64), nullable=False),
        sa.Column("profile_uri", sa.Text(), nullable=False),
        sa.Column("profile_sha256", sa.String(length=64), nullable=False),
        sa.Column("input_spec", sa.Text(), nullable=False),
        sa.Column(
            "details", sa.Text(), nullable=False, comment="importances, variation between windows"
        ),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name="fk_baselines_model_models"),
        sa.PrimaryKeyConstraint("id", name="pk_baselines"),
    )
    op.create_index("ix_baselines_model_created_at", "baselines", ["model", "created_at"])


def _create_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", _AUTO_ID, nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column(
            "kind",
            sa.String(length=40),
            nullable=False,
            comment="promotion, verdict, event, rebaseline …",
        ),
        sa.Column(
            "subject",
            sa.String(length=200),
            nullable=True,
            comment="the check, version or alias it is about",
        ),
        sa.Column("made_at", _TIME, nullable=False),
        sa.Column(
            "valid_from",
            _TIME,
            nullable=True,
            comment="the time on the time line that an event marks",
        ),
        sa.Column("valid_until", _TIME, nullable=True),
        sa.Column("made_by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name="fk_decisions_model_models"),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
        comment="what people and policies decided; rows are added, never changed",
    )
    op.create_index("ix_decisions_model_made_at", "decisions", ["model", "made_at"])


def _create_manifest() -> None:
    op.create_table(
        "manifest",
        sa.Column("id", _AUTO_ID, nullable=False),
        sa.Column("segment_id", sa.String(length=40), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("first_event_at", _TIME, nullable=False),
        sa.Column("last_event_at", _TIME, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["segment_id"], ["segments.id"], name="fk_manifest_segment_id_segments"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_manifest"),
        sa.UniqueConstraint("uri", name="uq_manifest_uri"),
        comment="the Parquet files of the capture; files that are not here do not exist",
    )
    op.create_index("ix_manifest_model_first_event_at", "manifest", ["model", "first_event_at"])
    op.create_index("ix_manifest_segment_id", "manifest", ["segment_id"])


def _create_versions() -> None:
    op.create_table(
        "versions",
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False, comment="VersionState"),
        sa.Column("artifact_uri", sa.Text(), nullable=False),
        sa.Column(
            "manifest_sha256",
            sa.String(length=64),
            nullable=True,
            comment="of the artifact's manifest of files",
        ),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False, comment="lineage: data, code, job"),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name="fk_versions_model_models"),
        sa.PrimaryKeyConstraint("model", "version", name="pk_versions"),
    )


def _create_aliases() -> None:
    op.create_table(
        "aliases",
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("alias", sa.String(length=100), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False, comment="counts up with each change"),
        sa.Column("changed_at", _TIME, nullable=False),
        sa.Column("changed_by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model", "version"],
            ["versions.model", "versions.version"],
            name="fk_aliases_model_version_versions",
        ),
        sa.PrimaryKeyConstraint("model", "alias", name="pk_aliases"),
        comment="what is live: the only truth",
    )


def _create_checks() -> None:
    op.create_table(
        "checks",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("window_start", _TIME, nullable=False),
        sa.Column("window_seconds", sa.Integer(), nullable=False),
        sa.Column(
            "revision", sa.Integer(), nullable=False, comment="counts up when late rows change it"
        ),
        sa.Column("baseline_id", sa.String(length=64), nullable=False),
        sa.Column("policy_hash", sa.String(length=64), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("stale", sa.Boolean(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("report", sa.Text(), nullable=False, comment="report v1"),
        sa.ForeignKeyConstraint(
            ["baseline_id"], ["baselines.id"], name="fk_checks_baseline_id_baselines"
        ),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name="fk_checks_model_models"),
        sa.PrimaryKeyConstraint("id", name="pk_checks"),
        sa.UniqueConstraint(
            "model",
            "window_start",
            "window_seconds",
            "baseline_id",
            "revision",
            name="uq_checks_window",
        ),
    )
    op.create_index("ix_checks_model_created_at", "checks", ["model", "created_at"])
