"""Models and versions: what exists, and what of it is live.

Every function works in the transaction of the connection that it is given, and moves shared state
by conditional updates. Whoever relies on a version's state locks its row first, so that a version
cannot be promoted (:mod:`trueup.store.promotion`) and retired at once.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, exists, func, select

from trueup.errors import BadInputError, ConflictError
from trueup.records.input_spec import InputSpec
from trueup.records.registry import AliasRecord, ModelRecord, RegistrySnapshot, VersionRecord
from trueup.store.engine import shown
from trueup.store.tables import VersionState, aliases, baselines, models, versions
from trueup.store.updates import insert_if_absent, must_update, try_update

#: Of ``versions.details``.
INPUT_SPEC = "input_spec"

_MOST_TRIES = 1000
_CAPTURE_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes something, when and why; kept with the change."""

    who: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version as :func:`list_versions` shows it.

    :param aliases: that name it, in order.
    :param details: what was said when it was registered: lineage, signature.
    """

    model: str
    version: int
    state: VersionState
    artifact_uri: str
    manifest_sha256: str | None
    created_at: datetime
    created_by: str
    reason: str
    aliases: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


def ensure_model(connection: Connection, name: str, author: Author) -> bool:
    """Register the model unless it is there; whether it is new."""
    return insert_if_absent(
        connection,
        models,
        {
            "name": name,
            "created_at": author.at,
            "created_by": author.who,
            "capture_key": secrets.token_hex(_CAPTURE_KEY_BYTES),
        },
    )


def register_version(
    connection: Connection,
    model: str,
    author: Author,
    *,
    artifact_uri: str = "",
    details: Mapping[str, Any] | None = None,
) -> int:
    """Reserve the next number of ``model`` (which is there) for a version that is ``staged``."""
    for _ in range(_MOST_TRIES):
        newest = connection.execute(
            select(func.max(versions.c.version)).where(versions.c.model == model)
        ).scalar_one()
        number = (newest or 0) + 1
        row = {
            "model": model,
            "version": number,
            "state": VersionState.STAGED.value,
            "artifact_uri": artifact_uri,
            "created_at": author.at,
            "created_by": author.who,
            "reason": author.reason,
            "details": dict(details or {}),
        }
        if insert_if_absent(connection, versions, row):
            return number
    raise ConflictError(
        f"no number for a version of {model} could be had: others register versions all the time",
        remedy="try again",
        retry=True,
    )


def mark_ready(
    connection: Connection,
    model: str,
    version: int,
    *,
    artifact_uri: str,
    manifest_sha256: str,
    details: Mapping[str, Any],
) -> None:
    """A staged version's artifact is there and sound: it can be promoted from now on."""
    must_update(
        connection,
        versions,
        where=_row(model, version, VersionState.STAGED),
        values={
            "state": VersionState.READY.value,
            "artifact_uri": artifact_uri,
            "manifest_sha256": manifest_sha256,
            "details": dict(details),
        },
    )
    spec = details.get(INPUT_SPEC)
    if spec is not None:
        try_update(
            connection,
            models,
            where={"name": model, "input_spec": None},
            values={"input_spec": spec},
        )


def mark_failed(connection: Connection, model: str, version: int) -> bool:
    """A staged version came to nothing; whether it was staged still."""
    return try_update(
        connection,
        versions,
        where=_row(model, version, VersionState.STAGED),
        values={"state": VersionState.FAILED.value},
    )


def retire(connection: Connection, model: str, version: int) -> None:
    """Take a ready version out of use for good.

    :raises BadInputError: an alias names it, or it is not ready.
    """
    lock_ready(connection, model, version, VersionState.RETIRED)
    named = sorted(
        connection.scalars(
            select(aliases.c.alias).where(aliases.c.model == model, aliases.c.version == version)
        )
    )
    if named:
        raise BadInputError(
            f"version {version} of {model} is live under {', '.join(named)}",
            remedy="promote another version first",
        )


def list_versions(connection: Connection, model: str) -> list[VersionRow]:
    """All versions of ``model``, newest first.

    :raises BadInputError: there is no such model.
    """
    require_model(connection, model)
    named: dict[int, list[str]] = {}
    for row in connection.execute(
        select(aliases.c.alias, aliases.c.version).where(aliases.c.model == model)
    ):
        named.setdefault(row.version, []).append(row.alias)
    rows = connection.execute(
        select(versions).where(versions.c.model == model).order_by(versions.c.version.desc())
    )
    return [
        VersionRow(
            model=row.model,
            version=row.version,
            state=VersionState(row.state),
            artifact_uri=row.artifact_uri,
            manifest_sha256=row.manifest_sha256,
            created_at=row.created_at,
            created_by=row.created_by,
            reason=row.reason,
            aliases=tuple(sorted(named.get(row.version, ()))),
            details=row.details,
        )
        for row in rows
    ]


def snapshot(connection: Connection, now: datetime) -> RegistrySnapshot:
    """What is live: all aliases, and the versions that they name."""
    named: dict[str, list[AliasRecord]] = {}
    for row in connection.execute(
        select(aliases.c.model, aliases.c.alias, aliases.c.version, aliases.c.revision)
    ):
        named.setdefault(row.model, []).append(
            AliasRecord(alias=row.alias, version=row.version, revision=row.revision)
        )
    found = _live_versions(connection)
    keys = connection.execute(select(models.c.name, models.c.capture_key).order_by(models.c.name))
    return RegistrySnapshot(
        store=shown(connection.engine),
        taken_at=now,
        models=tuple(
            ModelRecord(
                name=row.name,
                aliases=tuple(sorted(named.get(row.name, ()), key=lambda each: each.alias)),
                versions=tuple(found.get(row.name, ())),
                capture_key=row.capture_key,
            )
            for row in keys
        ),
    )


def _live_versions(connection: Connection) -> dict[str, list[VersionRecord]]:
    """The versions that an alias names, by model, in order."""
    newest = {
        (row.model, row.version): row
        for row in connection.execute(
            select(baselines.c.model, baselines.c.version, baselines.c.id, baselines.c.edges_id)
            .where(_is_named(baselines))
            .order_by(baselines.c.created_at, baselines.c.id)
        )
    }
    found: dict[str, list[VersionRecord]] = {}
    for row in connection.execute(
        select(versions).where(_is_named(versions)).order_by(versions.c.model, versions.c.version)
    ):
        baseline = newest.get((row.model, row.version))
        found.setdefault(row.model, []).append(
            VersionRecord(
                model=row.model,
                version=row.version,
                artifact_uri=row.artifact_uri,
                manifest_sha256=row.manifest_sha256 or "",
                input_spec=row.details.get(INPUT_SPEC),
                baseline_id=None if baseline is None else baseline.id,
                edges_id=None if baseline is None else baseline.edges_id,
            )
        )
    return found


def _is_named(table: Table) -> ColumnElement[bool]:
    """Whether an alias names the version of a row."""
    return exists().where(aliases.c.model == table.c.model, aliases.c.version == table.c.version)


def input_spec_of(row: VersionRow) -> InputSpec | None:
    """The raw variables of a version, where they are known."""
    spec = row.details.get(INPUT_SPEC)
    return None if spec is None else InputSpec.model_validate(spec)


def require_model(connection: Connection, model: str) -> None:
    """:raises BadInputError: there is no such model; names those that there are."""
    if connection.execute(select(models.c.name).where(models.c.name == model)).first():
        return
    known = list(connection.scalars(select(models.c.name).order_by(models.c.name).limit(20)))
    raise BadInputError(
        f"there is no model {model!r}",
        remedy=f"known are {', '.join(known)}"
        if known
        else f"register it: trueup import {model} --saved-model DIR",
    )


def lock_ready(connection: Connection, model: str, version: int, after: VersionState) -> None:
    """Lock the row of a version that is ``ready``, and set its state to ``after``."""
    if try_update(
        connection,
        versions,
        where=_row(model, version, VersionState.READY),
        values={"state": after.value},
    ):
        return
    require_model(connection, model)
    state = connection.execute(
        select(versions.c.state).where(versions.c.model == model, versions.c.version == version)
    ).scalar_one_or_none()
    if state is None:
        raise BadInputError(
            f"model {model} has no version {version}",
            remedy=f"trueup versions {model} shows what there is",
        )
    raise BadInputError(
        f"version {version} of {model} is {state}, not ready",
        remedy=f"trueup versions {model} shows which are",
    )


def _row(model: str, version: int, state: VersionState) -> dict[str, Any]:
    return {"model": model, "version": version, "state": state.value}
