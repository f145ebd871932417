"""Imports that were killed: their versions are given up, and their files deleted.

A process that imports says once a minute, in its version's row, that it lives. A version that is
``staged`` and of which nothing was heard for a day is ``failed`` then, under the condition that its
row is as it was: a process that was only paused is refused when it goes on, and clears up itself.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, select

from trueup.errors import StoreError
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading, writing
from trueup.store.tables import VersionState, baselines, versions
from trueup.store.updates import try_update

IMPORTER = "importer"
"""Of a staged version's details: the process that imports it, and when it was last heard of."""

JOB = "job"
"""Of a version's details: the job that it came of."""

SILENCE = timedelta(hours=24)
"""After so long without a sign of life an import is given up; files that nothing names are deleted
at that age."""

_BEAT_S = 60.0
_COLLECTED = "collected"


@dataclass(frozen=True)
class GivenUp:
    """A version whose import came to nothing, and how many files it had left."""

    model: str
    version: int
    files: int


def importer() -> dict[str, Any]:
    """This process, as details of the version that it imports."""
    pid = os.getpid()
    return {
        IMPORTER: {
            "host": platform.node(), "pid": pid, "started": _started(pid),
            "seen_at": datetime.now(timezone.utc).isoformat(),
        }
    }  # fmt: skip


@contextmanager
def heard_of(engine: Engine, model: str, version: int) -> Iterator[None]:
    """Say of a staged version once a minute that its import goes on."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(_BEAT_S):
            with suppress(StoreError), writing(engine) as connection:  # the next one will do
                try_update(
                    connection, versions,
                    where=_staged(model, version), values={"details": importer()},
                )  # fmt: skip

    thread = threading.Thread(target=beat, name="import", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def last_sign(details: Mapping[str, Any], created_at: datetime) -> datetime:
    """When a staged version's import was last heard of."""
    try:
        return max(created_at, datetime.fromisoformat(details[IMPORTER]["seen_at"]))
    except (KeyError, TypeError, ValueError):
        return created_at


def give_up_unfinished(engine: Engine, blobs: BlobRoot, now: datetime) -> list[GivenUp]:
    """Give up imports of which nothing was heard for :data:`SILENCE`, and delete what they and
    failed ones left behind. Never one whose process lives, as far as that can be known here."""
    with reading(engine) as connection:
        found = connection.execute(
            select(
                versions.c.model, versions.c.version, versions.c.state, versions.c.created_at,
                versions.c.details,
            ).where(
                versions.c.state.in_((VersionState.STAGED.value, VersionState.FAILED.value)),
                versions.c.created_at < now - SILENCE,
            )
        ).all()  # fmt: skip
    given_up = []
    for row in found:
        details = row.details or {}
        if row.state == VersionState.STAGED.value:
            if now - last_sign(details, row.created_at) < SILENCE or _lives(details):
                continue
            if not _fail(engine, row.model, row.version, details):
                continue
        elif details.get(_COLLECTED):
            continue
        files = _delete_files(blobs, row.model, row.version, now)
        _note_collected(engine, row.model, row.version, details)
        given_up.append(GivenUp(row.model, row.version, files))
    for model in sorted({each.model for each in given_up}):
        _delete_baselines(engine, blobs, model, now - SILENCE)
    return given_up


def give_up_of_job(engine: Engine, blobs: BlobRoot, model: str, job_id: str) -> None:
    """Give up at once what a training job, whose process is known to be gone, had begun to
    register."""
    with reading(engine) as connection:
        rows = connection.execute(
            select(versions.c.version, versions.c.details).where(
                versions.c.model == model, versions.c.state == VersionState.STAGED.value
            )
        ).all()
    for row in rows:
        details = row.details or {}
        if details.get(JOB) == job_id and _fail(engine, model, row.version, details):
            _delete_files(blobs, model, row.version, datetime.now(timezone.utc))
            _note_collected(engine, model, row.version, details)


def _staged(model: str, version: int) -> dict[str, Any]:
    return {"model": model, "version": version, "state": VersionState.STAGED.value}


def _fail(engine: Engine, model: str, version: int, details: Mapping[str, Any]) -> bool:
    """Whether the version was still as it had been seen."""
    with writing(engine) as connection:
        return try_update(
            connection, versions,
            where={**_staged(model, version), "details": dict(details)},
            values={"state": VersionState.FAILED.value},
        )  # fmt: skip


def _note_collected(engine: Engine, model: str, version: int, details: Mapping[str, Any]) -> None:
    where = {**_staged(model, version), "state": VersionState.FAILED.value}
    with writing(engine) as connection:
        try_update(
            connection, versions, where=where, values={"details": {**details, _COLLECTED: True}}
        )


def _delete_files(blobs: BlobRoot, model: str, version: int, now: datetime) -> int:
    """Of the artifact of one version, with what was not finished."""
    names = list(blobs.stale(f"models/{model}/{version}", now + timedelta(days=1)))
    return sum(blobs.delete(name) for name in names)


def _delete_baselines(engine: Engine, blobs: BlobRoot, model: str, before: datetime) -> None:
    """Files of baselines that no row names, unless the model is being imported."""
    with reading(engine) as connection:
        if _is_imported(connection, model):
            return
        named = set()
        for row in connection.execute(
            select(baselines.c.profile_uri, baselines.c.details).where(baselines.c.model == model)
        ):
            windows = (row.details or {}).get("windows") or {}
            for uri in (row.profile_uri, windows.get("uri", "")):
                named.add(uri.rpartition("/")[2])  # ids of baselines are unique, wherever they are
    for name in blobs.stale(f"baselines/{model}", before):
        if name.rpartition("/")[2] not in named:
            blobs.delete(name)


def _is_imported(connection: Connection, model: str) -> bool:
    found = connection.execute(
        select(versions.c.version).where(
            versions.c.model == model, versions.c.state == VersionState.STAGED.value
        )
    )
    return found.first() is not None


def _lives(details: Mapping[str, Any]) -> bool:
    """Whether the process is one of this machine and still there, be it paused."""
    process = details.get(IMPORTER)
    if not isinstance(process, Mapping) or process.get("host") != platform.node():
        return False
    started = process.get("started")
    return started is not None and _started(process.get("pid")) == started


def _started(pid: object) -> str | None:
    """What tells a process from a later one of the same number (Linux); ``None``: not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{int(str(pid))}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if fields[0] == "Z" else f"{boot} {fields[19]}"
