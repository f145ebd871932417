"""Which version an alias names: promotions, rollbacks, and the decisions that record them.

Of two processes that change the same alias at once, one succeeds and the other gets a
:class:`~trueup.errors.ConflictError`: it decided on a state that is no more.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from trueup.errors import BadInputError, ConflictError, StoreError
from trueup.records.registry import STABLE
from trueup.store.registry import INPUT_SPEC, Author, lock_ready, require_model
from trueup.store.tables import VersionState, aliases, decisions, models, versions
from trueup.store.updates import insert_if_absent, try_update

PROMOTION, ROLLBACK = "promotion", "rollback"


@dataclass(frozen=True, slots=True)
class AliasChange:
    """What a promotion or rollback did.

    :param before: the version that the alias named, ``None`` for a new alias.
    """

    model: str
    alias: str
    before: int | None
    version: int
    revision: int


def promote(
    connection: Connection, model: str, version: int, author: Author, *, alias: str = STABLE
) -> AliasChange | None:
    """Let ``alias`` name ``version``; ``None`` when it does so already.

    :raises BadInputError: there is no such version, or its state is not ``ready``.
    :raises ConflictError: another process changed the alias meanwhile; nothing was changed.
    """
    lock_ready(connection, model, version, VersionState.READY)
    change = _move(connection, model, alias, version, author)
    if change is not None:
        _record(connection, PROMOTION, change, author)
    return change


def rollback(
    connection: Connection, model: str, author: Author, *, alias: str = STABLE
) -> AliasChange:
    """Let ``alias`` name the version that it named before: promotions are undone one by one, the
    last one first. Versions that are not ``ready`` any more are passed over.

    :raises BadInputError: the alias or a version before is not there.
    :raises ConflictError: another process changed the alias meanwhile; nothing was changed.
    """
    require_model(connection, model)
    if _current(connection, model, alias) is None:
        raise BadInputError(
            f"model {model} has no alias {alias}", remedy="trueup versions shows what there is"
        )
    for version in reversed(_versions_before(connection, model, alias)):
        if try_update(
            connection,
            versions,
            where={"model": model, "version": version, "state": VersionState.READY.value},
            values={"state": VersionState.READY.value},
        ):
            change = _move(connection, model, alias, version, author)
            if change is not None:
                _record(connection, ROLLBACK, change, author)
                return change
    raise BadInputError(
        f"alias {alias} of {model} has no version before that could be live again",
        remedy=f"name the version: trueup promote {model} VERSION",
    )


def has_alias(connection: Connection, model: str, alias: str = STABLE) -> bool:
    return _current(connection, model, alias) is not None


def _current(connection: Connection, model: str, alias: str) -> tuple[int, int] | None:
    """Version and revision of an alias."""
    found = connection.execute(
        select(aliases.c.version, aliases.c.revision).where(
            aliases.c.model == model, aliases.c.alias == alias
        )
    ).first()
    return None if found is None else (found.version, found.revision)


def _move(
    connection: Connection, model: str, alias: str, version: int, author: Author
) -> AliasChange | None:
    values = {
        "version": version,
        "changed_at": author.at,
        "changed_by": author.who,
        "reason": author.reason,
    }
    current = _current(connection, model, alias)
    if current is None:
        row = {"model": model, "alias": alias, "revision": 1, **values}
        if not insert_if_absent(connection, aliases, row):
            raise ConflictError(
                f"alias {alias} of {model} was set by another process first",
                remedy="look again and repeat",
                retry=True,
            )
        return AliasChange(model, alias, None, version, 1)
    before, revision = current
    if before == version:
        return None
    moved = try_update(
        connection,
        aliases,
        where={"model": model, "alias": alias, "revision": revision},
        values={**values, "revision": revision + 1},
    )
    if not moved:
        raise ConflictError(
            f"alias {alias} of {model} was changed by another process first",
            remedy="look again and repeat",
            retry=True,
        )
    return AliasChange(model, alias, before, version, revision + 1)


def _record(connection: Connection, kind: str, change: AliasChange, author: Author) -> None:
    """The decision; the model's InputSpec follows the version that is ``stable``."""
    connection.execute(
        decisions.insert().values(
            model=change.model,
            kind=kind,
            subject=change.alias,
            made_at=author.at,
            made_by=author.who,
            reason=author.reason,
            details={
                "from": change.before,
                "to": change.version,
                "revision": change.revision,
            },
        )
    )
    if change.alias != STABLE:
        return
    details = connection.execute(
        select(versions.c.details).where(
            versions.c.model == change.model, versions.c.version == change.version
        )
    ).scalar_one()
    if details.get(INPUT_SPEC) is not None:
        try_update(
            connection,
            models,
            where={"name": change.model},
            values={"input_spec": details[INPUT_SPEC]},
        )


def _versions_before(connection: Connection, model: str, alias: str) -> list[int]:
    """Versions that rollbacks lead to, the next one last: what the history of decisions leaves
    when each rollback takes away what it undid."""
    stack: list[int] = []
    for kind, details in connection.execute(
        select(decisions.c.kind, decisions.c.details)
        .where(
            decisions.c.model == model,
            decisions.c.subject == alias,
            decisions.c.kind.in_((PROMOTION, ROLLBACK)),
        )
        .order_by(decisions.c.id)
    ):
        version = details["to"]
        if kind == PROMOTION:
            stack.append(version)
            continue
        while stack and stack[-1] != version:
            stack.pop()
    if not stack:
        raise StoreError(f"the store has no record of how alias {alias} of {model} came to be")
    return stack[:-1]
