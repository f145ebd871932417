"""Tokens: who may ask what. ``trueup_<id>_<secret>``, of which the store keeps a hash.

A secret has 256 random bits, so that a plain SHA-256 of it cannot be guessed from: slow hashes are
for passwords. The id may be shown, and is how a token is listed and revoked.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from trueup.errors import BadInputError
from trueup.store.tables import tokens
from trueup.store.updates import try_update

#: ``admin`` implies all others.
SCOPES = ("predict", "ingest", "read", "admin")

_PREFIX = "trueup"
_ID_BYTES = 5
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Token:
    """What the store knows of one."""

    id: str
    name: str
    scopes: frozenset[str]
    secret_sha256: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def usable(self, now: datetime) -> bool:
        return self.state(now) == "usable"

    def state(self, now: datetime) -> str:
        """``usable``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        expired = self.expires_at is not None and self.expires_at <= now
        return "expired" if expired else "usable"

    def may(self, scopes: Collection[str]) -> bool:
        """Whether it has one of ``scopes``."""
        return "admin" in self.scopes or not self.scopes.isdisjoint(scopes)

    def has_secret(self, secret: str) -> bool:
        """Compares in constant time."""
        return hmac.compare_digest(_hash(secret), self.secret_sha256)


def split(text: str) -> tuple[str, str] | None:
    """Id and secret of a token; ``None`` for what is none.

    >>> split("trueup_0a1b2c3d4e_s3cret"), split("s3cret")
    (('0a1b2c3d4e', 's3cret'), None)
    """
    prefix, _, rest = text.partition("_")
    name, _, secret = rest.partition("_")
    return (name, secret) if prefix == _PREFIX and name and secret else None


def create(
    connection: Connection,
    *,
    name: str,
    scopes: Collection[str],
    created_by: str,
    now: datetime,
    expires_at: datetime | None = None,
) -> tuple[Token, str]:
    """A new token, and its text, which is told this once.

    :raises BadInputError: no name, no scope or an unknown one, or an end in the past.
    """
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise BadInputError(
            f"{name[:50]!r} is no name for a token", remedy="name who shall use it, in one line"
        )
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        problem = f"there is no scope {unknown[0]!r}" if unknown else "a token needs a scope"
        raise BadInputError(problem, remedy=f"give one or more of {', '.join(SCOPES)}")
    if expires_at is not None and expires_at <= now:
        raise BadInputError("a token that has expired is of no use", remedy="give a later end")
    secret = secrets.token_hex(_SECRET_BYTES)
    token = Token(
        id=secrets.token_hex(_ID_BYTES),
        name=name,
        scopes=frozenset(scopes),
        secret_sha256=_hash(secret),
        created_at=now,
        created_by=created_by,
        expires_at=expires_at,
    )
    connection.execute(
        insert(tokens).values(
            id=token.id,
            name=token.name,
            scopes=[scope for scope in SCOPES if scope in token.scopes],
            secret_sha256=token.secret_sha256,
            created_at=token.created_at,
            created_by=token.created_by,
            expires_at=token.expires_at,
        )
    )
    return token, f"{_PREFIX}_{token.id}_{secret}"


def list_tokens(connection: Connection) -> list[Token]:
    """All that ever were, the oldest first."""
    rows = connection.execute(select(tokens).order_by(tokens.c.created_at, tokens.c.id)).mappings()
    return [Token(**{**row, "scopes": frozenset(row["scopes"])}) for row in rows]


def revoke(connection: Connection, token_id: str, *, now: datetime) -> Token:
    """Make a token useless. One that was revoked before keeps the time of that.

    :raises BadInputError: there is no token of this id.
    """
    try_update(
        connection,
        tokens,
        where={"id": token_id, "revoked_at": None},
        values={"revoked_at": now},
    )
    for token in list_tokens(connection):
        if token.id == token_id:
            return token
    shown = token_id[:40]
    if split(token_id) is not None:  # a whole token: its secret is not repeated
        shown = f"{_PREFIX}_…"
    raise BadInputError(
        f"there is no token with the id {shown!r}", remedy="trueup token list shows the ids"
    )


def verify(connection: Connection, text: str, *, now: datetime) -> Token | None:
    """The token that ``text`` is, when it may be used."""
    parts = split(text)
    if parts is None:
        return None
    token_id, secret = parts
    row = connection.execute(select(tokens).where(tokens.c.id == token_id)).mappings().first()
    if row is None:
        return None
    token = Token(**{**row, "scopes": frozenset(row["scopes"])})
    return token if token.has_secret(secret) and token.usable(now) else None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
