"""The lane: batches of what waits, in order of keys, bounded, and nobody left without an answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from trueup.serving.attempt import Attempt, Fate
from trueup.serving.lane import Lane

LONG_S = 20.0


class Model:
    """Runs batches when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[Attempt]] = []
        self.started = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)

    def run(self, batch: Sequence[Attempt]) -> None:
        self.batches.append(list(batch))
        self.started.release()
        assert self.gate.acquire(timeout=LONG_S)
        self.ended.release()

    def let(self, count: int) -> None:
        for _ in range(count):
            self.gate.release()
            assert self.ended.acquire(timeout=LONG_S)


@pytest.fixture
def model() -> Model:
    return Model()


Make = Callable[..., Lane]


@pytest.fixture
def make(model: Model) -> Iterator[Make]:
    lanes: list[Lane] = []

    def made(**changes: Any) -> Lane:
        options = {"max_batch_rows": 8, "max_queue_rows": 20, "wake_later": lambda call: call()}
        lanes.append(Lane("m/1", model.run, **{**options, **changes}))
        return lanes[-1]

    yield made
    for _ in range(100):
        model.gate.release()
    for lane in lanes:
        assert lane.close(LONG_S)


def attempt(rows: int = 1, *, key: object = "a", deadline_s: float = 1e9) -> Attempt:
    instances: Any = SimpleNamespace(rows=rows, key=key)
    request: Any = SimpleNamespace(gone=False)
    return Attempt(request, instances, instances.rows, "", "", None, deadline_s)


def busy(lane: Lane, model: Model) -> Attempt:
    """The lane runs this one, and whatever comes now waits."""
    first = attempt()
    assert lane.submit(first)
    assert model.started.acquire(timeout=LONG_S)
    return first


def test_an_idle_lane_runs_one_request_alone(make: Make, model: Model) -> None:
    first = busy(make(), model)
    assert model.batches == [[first]]
    assert first.fate is Fate.RUNNING


def test_what_gathered_meanwhile_is_one_batch(make: Make, model: Model) -> None:
    lane = make()
    first = busy(lane, model)
    waiting = [attempt(rows) for rows in (1, 3, 4, 2)]
    assert all(lane.submit(each) for each in waiting)
    assert lane.waiting_rows == 10
    model.let(3)
    assert model.batches == [[first], waiting[:3], waiting[3:]]
    assert lane.waiting_rows == 0


def test_a_request_larger_than_a_batch_comes_alone(make: Make, model: Model) -> None:
    lane = make()
    first = busy(lane, model)
    large, small = attempt(15), attempt(1)
    assert lane.submit(large)
    assert lane.submit(small)
    model.let(3)
    assert model.batches == [[first], [large], [small]]


def test_keys_take_turns(make: Make, model: Model) -> None:
    lane = make(max_batch_rows=1)
    busy(lane, model)
    a1, a2, b1 = attempt(key="a"), attempt(key="a"), attempt(key="b")
    for each in (a1, a2, b1):
        assert lane.submit(each)
    model.let(4)
    assert model.batches[1:] == [[a1], [b1], [a2]]


def test_a_full_queue_takes_no_more_but_an_empty_one_takes_any(make: Make, model: Model) -> None:
    lane = make()
    busy(lane, model)
    assert lane.submit(attempt(50))
    assert not lane.submit(attempt(1))
    assert lane.counts.refused_rows == 1
    model.let(2)
    assert lane.submit(attempt(1))


def test_whose_client_left_is_not_run_but_ended(make: Make, model: Model) -> None:
    ended: list[Attempt] = []
    lane = make(left=ended.extend)
    first = busy(lane, model)
    left, stays = attempt(), attempt()
    for each in (left, stays):
        assert lane.submit(each)
    left.request.gone = True
    model.let(2)
    assert model.batches == [[first], [stays]]
    assert lane.counts.cancelled == 1
    assert left.fate is Fate.ENDED
    assert ended == [left]  # else its bytes would count as pending for ever


def test_overdue_attempts_free_their_place(make: Make, model: Model) -> None:
    lane = make()
    first = busy(lane, model)
    late, later = attempt(5, deadline_s=10.0), attempt(5, deadline_s=20.0)
    for each in (late, later):
        assert lane.submit(each)
    assert lane.expired(15.0) == [late]
    assert (late.fate, lane.waiting_rows) == (Fate.ENDED, 5)
    assert lane.expired(15.0) == []
    model.let(2)
    assert model.batches == [[first], [later]]


def test_closing_runs_what_waits(make: Make, model: Model) -> None:
    lane = make()
    first = busy(lane, model)
    last = attempt()
    assert lane.submit(last)
    for _ in range(2):
        model.gate.release()
    assert lane.close(LONG_S)
    assert model.batches == [[first], [last]]
    assert not lane.submit(attempt())


def test_requests_of_one_turn_of_the_loop_are_handed_over_together(
    make: Make, model: Model
) -> None:
    later: list[Callable[[], None]] = []
    lane = make(wake_later=later.append)
    together = [attempt(), attempt(), attempt()]
    assert all(lane.submit(each) for each in together)
    assert len(later) == 1
    later[0]()
    assert model.started.acquire(timeout=LONG_S)
    assert model.batches == [together]
