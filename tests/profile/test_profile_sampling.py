"""The first pass's sample of values: which values it is does not depend on how they came."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from trueup.profile.sampling import ValueSample, priorities

SIZE = 500


def lowest(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    return values[np.sort(np.argsort(order)[:SIZE])]


def sample_of(
    values: np.ndarray, order: np.ndarray, step: int, limit: np.uint64 | None = None
) -> ValueSample:
    sample = ValueSample(SIZE, limit)
    for start in range(0, values.size, step):
        sample.add(values[start : start + step], order[start : start + step])
    return sample


@pytest.mark.parametrize("rows", [0, 1, SIZE, SIZE + 1, 2 * SIZE, 7 * SIZE + 3])
@pytest.mark.parametrize("step", [1, 64, SIZE, 2 * SIZE, 10 * SIZE])
def test_the_values_of_lowest_priority_are_kept_in_their_order(rows: int, step: int) -> None:
    values, order = np.arange(rows), priorities(0, rows, seed=3)
    sample = sample_of(values, order, step)
    assert sample.unsorted().dtype == np.float64
    np.testing.assert_array_equal(sample.unsorted(), lowest(values, order))


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("rows", [(0, 40), (40, 0), (30, 60), (4000, 30), (30, 4000), (4000, 900)])
def test_parts_give_the_sample_of_the_whole(rows: tuple[int, int], sent: bool, told: bool) -> None:
    together, everything, all_orders = ValueSample(SIZE), [], []
    for part, count in enumerate(rows):
        values, order = np.arange(count) + 10_000.0 * part, priorities(0, count, part)
        found = sample_of(values, order, 64, together.limit() if told else None)
        together.include(pickle.loads(pickle.dumps(found)) if sent else found)
        everything.append(values)
        all_orders.append(order)
    expected = lowest(np.concatenate(everything), np.concatenate(all_orders))
    np.testing.assert_array_equal(together.unsorted(), expected)
    np.testing.assert_array_equal(together.values(), np.sort(expected))


def test_a_sample_goes_on_after_it_was_sent() -> None:
    values, order = np.arange(3000.0), priorities(0, 3000, seed=0)
    for first in (100, 2000):
        sample = pickle.loads(pickle.dumps(sample_of(values[:first], order[:first], 64)))
        sample.add(values[first:], order[first:])
        np.testing.assert_array_equal(sample.unsorted(), lowest(values, order))


def test_only_what_counts_is_sent() -> None:
    values, order = np.arange(SIZE + 10.0), priorities(0, SIZE + 10, seed=0)
    assert len(pickle.dumps(sample_of(values, order, 64))) < 16 * SIZE + 1000


def test_parts_that_know_the_limit_send_less() -> None:
    together = ValueSample(SIZE)
    sizes = []
    for part in range(8):
        values, order = np.arange(4.0 * SIZE), priorities(0, 4 * SIZE, part)
        found = sample_of(values, order, 64, together.limit())
        sizes.append(found.unsorted().size)
        together.include(found)
    assert sizes[0] == SIZE
    assert sum(sizes[4:]) < SIZE
