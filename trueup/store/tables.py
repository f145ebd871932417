"""The tables. What they mean is in docs/architecture.md; how they came to be, in ``migrations/``.

States are texts, moved by conditional updates only (:mod:`trueup.store.updates`). Keys that cross
borders (segments, baselines, checks) are texts minted by their writer, so that writing twice is
seen as such. Times are UTC; lengths of windows are whole seconds.
"""

from __future__ import annotations

from enum import Enum

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from trueup.store.columns import Json, UtcDateTime

#: Names of constraints that migrations can refer to on every database.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts rows by a 64-bit integer only when the column is declared INTEGER.
_AUTO_ID = BigInteger().with_variant(Integer, "sqlite")


class VersionState(str, Enum):
    """Of a model version: its artifact is there and sound when ``ready``."""

    STAGED = "staged"
    READY = "ready"
    FAILED = "failed"
    RETIRED = "retired"


class SegmentState(str, Enum):
    """Of a capture segment; ``compacted`` ones may be deleted from the spool."""

    OPEN = "open"
    SEALED = "sealed"
    COMPACTED = "compacted"


class ManifestKind(str, Enum):
    """Of a Parquet file: captured rows; labels that found their row; labels that did not yet;
    frames that were set aside; rows that are in another file now, kept for who reads them."""

    ROWS = "rows"
    LABELS = "labels"
    WAITING_LABELS = "waiting"
    QUARANTINE = "quarantine"
    RETIRED = "retired"


class RunState(str, Enum):
    """Of a scheduled run."""

    DUE = "due"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


meta = Table(
    "meta",
    metadata,
    Column("key", String(100), primary_key=True),
    Column("value", Text, nullable=False),
    comment="facts about this store, such as its own id",
)

models = Table(
    "models",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("input_spec", Json, comment="InputSpec; absent until the first version"),
    Column("capture_key", String(64), comment="hex; of the column policy that hashes"),
)

versions = Table(
    "versions",
    metadata,
    Column("model", ForeignKey("models.name"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("state", String(20), nullable=False, comment="VersionState"),
    Column("artifact_uri", Text, nullable=False),
    Column("manifest_sha256", String(64), comment="of the artifact's manifest of files"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("details", Json, nullable=False, comment="lineage: data, code, job"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("model", String(100), primary_key=True),
    Column("alias", String(100), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("revision", Integer, nullable=False, comment="counts up with each change"),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("changed_by", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
    comment="what is live: the only truth",
)

baselines = Table(
    "baselines",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("model", ForeignKey("models.name"), nullable=False),
    Column("version", Integer, comment="absent for a baseline that people set"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("edges_id", String(64), nullable=False),
    Column("profile_uri", Text, nullable=False),
    Column("profile_sha256", String(64), nullable=False),
    Column("input_spec", Json, nullable=False),
    Column("details", Json, nullable=False, comment="importances, variation between windows"),
    Index(None, "model", "created_at"),
)

# Sources of captured rows: segments of servers, and ingested batches.
segments = Table(
    "segments",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("host", String(255), nullable=False, comment="whose local spool it is in"),
    Column("path", Text, nullable=False),
    Column("state", String(20), nullable=False, comment="SegmentState"),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("sealed_at", UtcDateTime),
    Column("compacted_at", UtcDateTime),
    Column("newest_event_at", UtcDateTime, comment="for the watermark"),
    Column("frames", BigInteger),
    Column("bytes", BigInteger),
    Column("lost_bytes", BigInteger, comment="damage and torn tail found by recovery"),
    Column("details", Json, comment="what compaction counted: rows, refused, late, retimed …"),
    Index(None, "state", "opened_at"),
)

manifest = Table(
    "manifest",
    metadata,
    Column("id", _AUTO_ID, primary_key=True),
    Column("segment_id", ForeignKey("segments.id"), nullable=False),
    Column("model", String(100), nullable=False),
    Column("uri", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("first_event_at", UtcDateTime, nullable=False),
    Column("last_event_at", UtcDateTime, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("kind", String(20), nullable=False, server_default="rows", comment="ManifestKind"),
    Column("details", Json, comment="counts per window, variables, what a rewrite replaced"),
    UniqueConstraint("uri"),
    Index(None, "model", "kind", "first_event_at"),
    Index(None, "segment_id"),
    sqlite_autoincrement=True,  # ids are never given twice: labels are joined up to one
    comment="the Parquet files of the capture; files that are not here do not exist",
)

profiles = Table(
    "profiles",
    metadata,
    Column("model", String(100), primary_key=True),
    Column("window_start", UtcDateTime, primary_key=True),
    Column("window_seconds", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("arm", String(100), primary_key=True),
    Column("edges_id", String(64), primary_key=True),
    Column("source", String(64), primary_key=True, comment="segment or ingest that it is of"),
    Column("rows", BigInteger, nullable=False),
    Column("profile", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    comment="partial profiles: a window's is the merge over its sources",
)

checks = Table(
    "checks",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("model", ForeignKey("models.name"), nullable=False),
    Column("window_start", UtcDateTime, nullable=False),
    Column("window_seconds", Integer, nullable=False),
    Column("revision", Integer, nullable=False, comment="counts up when late rows change it"),
    Column("baseline_id", ForeignKey("baselines.id"), nullable=False),
    Column("policy_hash", String(64), nullable=False),
    Column("verdict", String(20), nullable=False),
    Column("stale", Boolean(create_constraint=False), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("report", Json, nullable=False, comment="report v1"),
    UniqueConstraint(
        "model",
        "window_start",
        "window_seconds",
        "baseline_id",
        "revision",
        name="uq_checks_window",  # PostgreSQL's names have 63 characters
    ),
    Index(None, "model", "created_at"),
)

schedule_runs = Table(
    "schedule_runs",
    metadata,
    Column("schedule", String(200), primary_key=True),
    Column("due_at", UtcDateTime, primary_key=True),
    Column("state", String(20), nullable=False, comment="RunState"),
    Column("fence", BigInteger, nullable=False, comment="of the leader that wrote this"),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("message", Text),
    Index(None, "state", "due_at"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("holder", String(200), comment="absent when released"),
    Column("fence", BigInteger, nullable=False, comment="counts up with each acquisition"),
    Column("acquired_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("process", String(100), primary_key=True),
    Column("kind", String(20), nullable=False, comment="server, daemon or web"),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("details", Json, nullable=False, comment="versions loaded, lag, losses"),
    Index(None, "seen_at"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", _AUTO_ID, primary_key=True),
    Column("model", ForeignKey("models.name"), nullable=False),
    Column("kind", String(40), nullable=False, comment="promotion, verdict, event, rebaseline …"),
    Column("subject", String(200), comment="the check, version or alias it is about"),
    Column("made_at", UtcDateTime, nullable=False),
    Column("valid_from", UtcDateTime, comment="the time on the time line that an event marks"),
    Column("valid_until", UtcDateTime),
    Column("made_by", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("details", Json, nullable=False),
    Index(None, "model", "made_at"),
    comment="what people and policies decided; rows are added, never changed",
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(20), primary_key=True, comment="the part of a token that may be shown"),
    Column("name", String(200), nullable=False),
    Column("scopes", Json, nullable=False, comment="of predict, ingest, read, admin"),
    Column("secret_sha256", String(64), nullable=False, comment="of a secret with 256 random bits"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    comment="credentials; the secrets themselves are not kept",
)

#: One job at a time learns a model.
_LEARNING = text("kind = 'train' AND state IN ('queued', 'preparing', 'running')")

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("model", String(100), nullable=False),
    Column("kind", String(20), nullable=False, comment="train"),
    Column("state", String(20), nullable=False, comment="JobState"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("spec", Json, nullable=False, comment="JobSpec"),
    Column("folder", Text, nullable=False),
    Column("holder", String(200), comment="process that runs it; unique per start of a process"),
    Column("seen_at", UtcDateTime, comment="when its holder last wrote"),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("message", Text, nullable=False, comment="why it failed or was cancelled"),
    Column("progress", Json, comment="JobProgress, of late"),
    Column("machine_seconds", Float, nullable=False),
    Column("cost", Float, nullable=False),
    Column("version", Integer, comment="that came of it"),
    Column("cancel_at", UtcDateTime, comment="when somebody asked for its end"),
    Column("cancel_by", String(200)),
    Column("cancel_reason", Text),
    Index(None, "model", "created_at"),
    Index(None, "state", "seen_at"),
    Index(
        "uq_jobs_learning",
        "model",
        unique=True,
        sqlite_where=_LEARNING,
        postgresql_where=_LEARNING,
    ),
    comment="what is done by clusters of tasks",
)
