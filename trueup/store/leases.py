"""Leases: one process leads until a time, and a fencing token tells an old leader from a new one.

A lease alone cannot stop a leader that slept through its end and wakes up writing (Kleppmann, "How
to do distributed locking", 2016). So every acquisition counts the lease's *fence* up, and every
write of a leader calls :func:`guard` in its own transaction: with an old fence it fails, and while
it runs nobody else can acquire. Clocks may differ between hosts; a skew costs time without a
leader, or a leader its lease, never two writers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, or_, select, update

from trueup.errors import BadInputError, ConflictError
from trueup.store.tables import leases
from trueup.store.updates import insert_if_absent, try_update


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to lead in ``name`` until ``expires_at``.

    :param holder: unique per process start (never only a host name).
    :param fence: larger than that of every lease of this name before.
    """

    name: str
    holder: str
    fence: int
    expires_at: datetime


def acquire(
    connection: Connection, name: str, *, holder: str, now: datetime, length: timedelta
) -> Lease | None:
    """The lease, when it is free or has expired; ``None`` while another holds it."""
    _require_length(length)
    insert_if_absent(
        connection,
        leases,
        {"name": name, "holder": None, "fence": 0, "acquired_at": now, "expires_at": now},
    )
    expires_at = now + length
    taken = connection.execute(
        update(leases)
        .where(leases.c.name == name, or_(leases.c.holder.is_(None), leases.c.expires_at <= now))
        .values(holder=holder, fence=leases.c.fence + 1, acquired_at=now, expires_at=expires_at)
    )
    if taken.rowcount == 0:
        return None
    fence = connection.execute(select(leases.c.fence).where(leases.c.name == name)).scalar_one()
    return Lease(name, holder, fence, expires_at)


def renew(
    connection: Connection, lease: Lease, *, now: datetime, length: timedelta
) -> Lease | None:
    """The lease with a later end; ``None`` when it was lost, and leading must stop at once.

    An expired lease that nobody took meanwhile is renewed: its fence is still the newest.
    """
    _require_length(length)
    renewed = replace(lease, expires_at=now + length)
    kept = try_update(
        connection,
        leases,
        where={"name": lease.name, "holder": lease.holder, "fence": lease.fence},
        values={"expires_at": renewed.expires_at},
    )
    return renewed if kept else None


def release(connection: Connection, lease: Lease, *, now: datetime) -> bool:
    """Let others lead at once; whether the lease was still ours."""
    return try_update(
        connection,
        leases,
        where={"name": lease.name, "holder": lease.holder, "fence": lease.fence},
        values={"holder": None, "expires_at": now},
    )


def guard(connection: Connection, lease: Lease) -> None:
    """Make the rest of this transaction valid only under ``lease``: call it before writing.

    The row stays locked until the transaction ends, so that nobody acquires in between.

    :raises ConflictError: the lease was lost; nothing may be written.
    """
    held = connection.execute(
        select(leases.c.fence)
        .where(
            leases.c.name == lease.name,
            leases.c.holder == lease.holder,
            leases.c.fence == lease.fence,
        )
        .with_for_update(read=True)
    ).first()
    if held is None:
        raise ConflictError(
            f"lease {lease.name!r} of {lease.holder} (fence {lease.fence}) was lost",
            remedy="another process leads now; stop writing",
        )


def _require_length(length: timedelta) -> None:
    if length <= timedelta(0):
        raise BadInputError(f"a lease of {length} is none")
