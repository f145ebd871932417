"""One leads at a time, and an old leader cannot write."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import Engine

from trueup.errors import BadInputError, ConflictError
from trueup.store.engine import open_engine, writing
from trueup.store.leases import Lease, acquire, guard, release, renew

START = datetime(2013, 7, 1, tzinfo=timezone.utc)
LENGTH = timedelta(seconds=30)


def take(engine: Engine, holder: str, seconds: float = 0) -> Lease | None:
    with writing(engine) as connection:
        now = START + timedelta(seconds=seconds)
        return acquire(connection, "daemon", holder=holder, now=now, length=LENGTH)


def test_a_held_lease_is_not_given_twice(engine: Engine) -> None:
    first = take(engine, "a")
    assert first == Lease("daemon", "a", 1, START + LENGTH)
    assert take(engine, "b", 29.9) is None
    assert take(engine, "a", 1) is None  # nor to a second process of that name


def test_an_expired_lease_goes_to_the_next_with_a_higher_fence(engine: Engine) -> None:
    first = take(engine, "a")
    second = take(engine, "b", 30)
    assert first is not None
    assert second is not None
    assert second.fence == first.fence + 1
    with writing(engine) as connection:
        now = START + timedelta(seconds=31)
        assert renew(connection, first, now=now, length=LENGTH) is None
        assert not release(connection, first, now=now)
        with pytest.raises(ConflictError, match="was lost"):
            guard(connection, first)
        guard(connection, second)


def test_a_renewed_lease_lasts_longer(engine: Engine) -> None:
    first = take(engine, "a")
    assert first is not None
    with writing(engine) as connection:
        longer = renew(connection, first, now=START + timedelta(seconds=20), length=LENGTH)
    assert longer == Lease("daemon", "a", 1, START + timedelta(seconds=50))
    assert take(engine, "b", 40) is None
    assert take(engine, "b", 50) is not None


def test_a_leader_who_overslept_goes_on_when_nobody_took_over(engine: Engine) -> None:
    first = take(engine, "a")
    assert first is not None
    with writing(engine) as connection:
        guard(connection, first)
        assert renew(connection, first, now=START + timedelta(hours=1), length=LENGTH) is not None
    assert take(engine, "b", 3600) is None


def test_a_released_lease_is_free_at_once(engine: Engine) -> None:
    first = take(engine, "a")
    assert first is not None
    with writing(engine) as connection:
        assert release(connection, first, now=START)
        assert not release(connection, first, now=START)
        with pytest.raises(ConflictError):
            guard(connection, first)
    second = take(engine, "b")
    assert second is not None
    assert second.fence == 2


def test_leases_of_other_names_are_independent(engine: Engine) -> None:
    take(engine, "a")
    with writing(engine) as connection:
        other = acquire(connection, "compactor", holder="b", now=START, length=LENGTH)
    assert other is not None
    assert other.fence == 1


@pytest.mark.parametrize("round_number", range(3))
def test_of_many_who_run_for_it_one_wins(engine: Engine, round_number: int) -> None:
    at = threading.Barrier(6)

    def run(number: int) -> Lease | None:
        at.wait()
        return take(engine, f"{round_number}-{number}")

    with ThreadPoolExecutor(6) as pool:
        won = [lease for lease in pool.map(run, range(6)) if lease is not None]
    assert len(won) == 1


def test_nobody_acquires_while_a_guarded_transaction_runs(engine: Engine, store_url: str) -> None:
    first = take(engine, "a")
    assert first is not None
    guarded, finished = threading.Event(), threading.Event()
    order: list[str] = []

    def work() -> None:
        with writing(engine) as connection:
            guard(connection, first)
            guarded.set()
            # On either database the other must be seen to be unable to go on, not just be slow.
            impatient = open_engine(store_url, busy_timeout_s=0.1)
            with pytest.raises(Exception, match=r"(?i)lock"):
                take(impatient, "hasty", 60)
            impatient.dispose()
            order.append("written")
        finished.set()

    with ThreadPoolExecutor(2) as pool:
        worker = pool.submit(work)
        assert guarded.wait(30)
        successor = pool.submit(take, engine, "b", 60)
        worker.result()
        lease = successor.result()
    order.append("acquired")
    assert order == ["written", "acquired"]
    assert finished.is_set()
    assert lease is not None
    assert lease.fence == 2


def test_a_lease_without_length_is_refused(engine: Engine) -> None:
    with pytest.raises(BadInputError), writing(engine) as connection:
        acquire(connection, "daemon", holder="a", now=START, length=timedelta(0))
