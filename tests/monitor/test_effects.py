"""Properties of the distances, of the groups they are taken over, and of intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.monitor import effects
from trueup.monitor.cells import bin_groups, category_cells
from trueup.monitor.intervals import psi_interval, rate_difference, wilson
from trueup.monitor.quantities.unseen import expected_unseen


@st.composite
def two_sides(draw, largest: int = 30):
    n = draw(st.integers(3, largest))
    side = st.lists(st.integers(0, 10_000), min_size=n, max_size=n)
    return np.array(draw(side)), np.array(draw(side))


@given(two_sides())
def test_distances_have_their_range_and_symmetry(sides) -> None:
    q, p = sides
    assert effects.psi(q, p) >= 0.0
    assert effects.psi(q, p) == pytest.approx(effects.psi(p, q), rel=1e-9, abs=1e-12)
    for distance in (effects.jensen_shannon, effects.l_infinity, effects.kolmogorov_smirnov):
        assert 0.0 <= distance(q, p) <= 1.0
        assert distance(q, p) == pytest.approx(distance(p, q), abs=1e-12)


@given(two_sides())
def test_distances_are_zero_on_equal_shares(sides) -> None:
    q, _ = sides
    assert effects.psi(q, q) == 0.0
    for distance in (effects.jensen_shannon, effects.l_infinity, effects.kolmogorov_smirnov):
        assert distance(q, 3 * q) == pytest.approx(0.0, abs=1e-12)


@given(two_sides())
def test_wasserstein_is_a_distance(sides) -> None:
    q, p = sides
    edges = np.cumsum(np.arange(1.0, len(q)))  # bins of growing width
    low, high = edges[0], edges[-1]
    there = effects.wasserstein(q, p, edges, low, high)
    assert there == pytest.approx(effects.wasserstein(p, q, edges, low, high), abs=1e-9)
    assert 0.0 <= there <= (high - low) * (1 + 1e-12)
    assert effects.wasserstein(q, q, edges, low, high) == 0.0


def test_wasserstein_agrees_with_scipy_on_values() -> None:
    from scipy.stats import wasserstein_distance

    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 20_000), rng.gamma(2.0, 0.7, 20_000)
    edges = np.linspace(-5, 15, 2001)
    sides = [np.concatenate(([0], np.histogram(values, edges)[0], [0])) for values in (b, a)]
    found = effects.wasserstein(sides[0], sides[1], edges, -5.0, 15.0)
    assert found == pytest.approx(wasserstein_distance(a, b), rel=1e-3)


def test_jensen_shannon_agrees_with_scipy() -> None:
    from scipy.spatial.distance import jensenshannon

    rng = np.random.default_rng(1)
    q, p = rng.integers(0, 50, 40), rng.integers(0, 50, 40)
    assert effects.jensen_shannon(q, p) == pytest.approx(jensenshannon(q, p, base=2) ** 2)


@given(two_sides(258))
def test_groups_lose_no_count(sides) -> None:
    q, p = sides
    if not q.sum() or not p.sum():
        return
    cells = bin_groups(q, p)
    assert cells.serving.sum() == q.sum()
    assert cells.training.sum() == p.sum()
    assert 1 <= len(cells) <= 3 * 20


@given(two_sides(), st.integers(0, 100), st.integers(0, 100), st.booleans())
def test_category_cells_lose_no_count(sides, unseen, unseen0, complete) -> None:
    q, p = sides
    if q.sum() + unseen == 0 or p.sum() + unseen0 == 0:
        return
    cells = category_cells(q, p, unseen, unseen0, complete)
    assert cells.serving.sum() == q.sum() + unseen
    assert cells.training.sum() == p.sum() + unseen0
    assert len(cells.labels) == len(cells)


def test_expected_counts_of_groups_are_enough() -> None:
    rng = np.random.default_rng(2)
    q, p = rng.poisson(1.0, 258), rng.poisson(40.0, 258)
    cells = bin_groups(q, p)
    share = q.sum() / (q.sum() + p.sum())
    assert ((cells.serving + cells.training) * share >= 5 - 1e-9).all()


@given(st.integers(0, 500), st.integers(1, 500), st.floats(0.5, 0.999))
def test_wilson_holds_the_rate(count, more, confidence) -> None:
    n = count + more
    low, high = wilson(count, n, confidence)
    assert 0.0 <= low <= count / n <= high <= 1.0


@given(st.integers(0, 300), st.integers(1, 300), st.integers(0, 300), st.integers(1, 300))
def test_intervals_of_differences_hold_the_difference(x, more, y, more0) -> None:
    n, n0 = x + more, y + more0
    low, high = rate_difference(x, n, y, n0, 0.95)
    assert -1 - 1e-12 <= low <= x / n - y / n0 <= high <= 1 + 1e-12
    back_low, back_high = rate_difference(y, n0, x, n, 0.95)
    assert [low, high] == pytest.approx([-back_high, -back_low])


def test_psi_intervals_cover() -> None:
    """The true index lies in the 90 % interval at least about nine times in ten."""
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.full(15, 5.0))
    q = p * np.exp(0.3 * rng.normal(size=15))
    q /= q.sum()
    truth = float(np.sum((q - p) * np.log(q / p)))
    inside = 0
    for _ in range(400):
        low, high = psi_interval(rng.multinomial(4000, q), rng.multinomial(4000, p), 0.9)
        inside += low <= truth <= high
    assert inside / 400 >= 0.86


@pytest.mark.parametrize("vocabulary", [None, 100, 400])
def test_the_unseen_share_is_what_was_expected(vocabulary: int | None) -> None:
    """Zipf categories, vocabulary whole or cut: the expectation is unbiased over splits, and its
    variance is the one that the test uses."""
    rng = np.random.default_rng(4)
    p = 1 / np.arange(1, 2001) ** 1.1
    p /= p.sum()
    n0, n, z = 5000, 3000, []
    for _ in range(300):
        training, serving = rng.multinomial(n0, p), rng.multinomial(n, p)
        order = np.argsort(-training, kind="stable")
        kept = order[training[order] > 0][:vocabulary]
        complete = vocabulary is None
        unseen0 = int(n0 - training[kept].sum())
        least, share, extra = expected_unseen(training[kept], unseen0, complete)
        known = kept[training[kept] >= least]
        outside = (n - serving[known].sum()) / n
        z.append((outside - share) / np.sqrt(share * (1 - share) * (1 / n + 1 / n0) + extra))
    assert abs(np.mean(z)) < 4 / np.sqrt(300)
    assert np.std(z) == pytest.approx(1.0, abs=0.17)
