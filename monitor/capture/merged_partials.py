"""The partial profiles of several sources as those of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from trueup.errors import TrueupError
from trueup.monitor.capture.model_facts import edges_of
from trueup.profile.codec import dumps, loads
from trueup.profile.edges import Edges
from trueup.profile.states import Profile
from trueup.store.tables import baselines, profiles

_IDS_AT_ONCE = 500


class PartialKey(NamedTuple):
    """Which partial profile, and when it was written."""

    source: str
    window_start: datetime
    window_seconds: int
    version: int
    arm: str
    edges_id: str
    created_at: datetime


@dataclass
class MergedPartials:
    """:param keys: of what was merged. :param rows: of ``profiles``, but model, source and time."""

    keys: set[PartialKey] = field(default_factory=set)
    rows: list[dict[str, Any]] = field(default_factory=list)


def partial_keys(connection: Connection, model: str, sources: Sequence[str]) -> list[PartialKey]:
    """Of all profiles that ``sources`` have."""
    columns = [profiles.c[name] for name in PartialKey._fields]
    return [
        PartialKey(*row)
        for start in range(0, len(sources), _IDS_AT_ONCE)
        for row in connection.execute(
            select(*columns).where(
                profiles.c.model == model,
                profiles.c.source.in_(sources[start : start + _IDS_AT_ONCE]),
            )
        )
    ]


def merge_partials(connection: Connection, model: str, sources: Sequence[str]) -> MergedPartials:
    """One partial per window, version, arm and edges. Those whose edges no baseline has any more
    nobody can read: they are left out."""
    found = MergedPartials(set(partial_keys(connection, model, sources)))
    groups: dict[tuple[Any, ...], list[str]] = {}
    for key in sorted(found.keys):
        groups.setdefault(key[1:6], []).append(key.source)
    edges: dict[str, Edges | None] = {}
    for (start, seconds, version, arm, edges_id), theirs in groups.items():
        if edges_id not in edges:
            edges[edges_id] = _edges(connection, model, edges_id)
        known = edges[edges_id]
        if known is None:
            continue
        where = {
            "window_start": start, "window_seconds": seconds, "version": version, "arm": arm,
            "edges_id": edges_id,
        }  # fmt: skip
        merged = _merged(connection, model, where, theirs, known)
        if merged is not None:
            found.rows.append({**where, "rows": merged.rows, "profile": dumps(merged)})
    return found


def _merged(
    connection: Connection, model: str, where: dict[str, Any], sources: list[str], edges: Edges
) -> Profile | None:
    merged: Profile | None = None
    for start in range(0, len(sources), _IDS_AT_ONCE):
        for (data,) in connection.execute(
            select(profiles.c.profile)
            .where(
                profiles.c.model == model,
                profiles.c.source.in_(sources[start : start + _IDS_AT_ONCE]),
                *(profiles.c[name] == value for name, value in where.items()),
            )
            .order_by(profiles.c.source)
        ):
            profile = loads(data, edges)
            merged = profile if merged is None else merged.merge(profile)
    return merged


def _edges(connection: Connection, model: str, edges_id: str) -> Edges | None:
    uris = connection.scalars(
        select(baselines.c.profile_uri)
        .where(baselines.c.model == model, baselines.c.edges_id == edges_id)
        .order_by(baselines.c.created_at.desc())
    )
    for uri in uris:
        try:
            return edges_of(uri, edges_id)
        except TrueupError:
            continue
    return None
