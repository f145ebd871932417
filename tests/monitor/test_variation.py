"""Between-window variation is recovered from simulated windows, and a level test holds its size."""

from __future__ import annotations

import numpy as np
import pytest

from trueup.monitor.variation import Variation, between_window_variation


def windows_of(rng: np.random.Generator, trials: int, count: int, tau: float, rho: float, n: int):
    """AR(1) window means with sd ``tau`` plus the sampling error of ``n`` rows of sd 1."""
    level = np.empty((trials, count))
    level[:, 0] = rng.normal(size=trials)
    for i in range(1, count):
        level[:, i] = rho * level[:, i - 1] + np.sqrt(1 - rho**2) * rng.normal(size=trials)
    return tau * level + rng.normal(scale=1 / np.sqrt(n), size=level.shape)


@pytest.mark.parametrize(("tau", "rho"), [(0.0, 0.0), (0.02, 0.0), (0.02, 0.6), (0.5, 0.3)])
def test_recovers_what_was_simulated(tau: float, rho: float) -> None:
    n, count = 5_000, 90
    sequences = windows_of(np.random.default_rng(7), 400, count, tau, rho, n)
    noise = np.full(count, 1 / n)
    found = [between_window_variation(sequence, noise) for sequence in sequences]
    tau2 = np.mean([variation.tau2 for variation in found if variation])
    assert tau2 == pytest.approx(tau**2, rel=0.15, abs=3e-5)
    if tau:
        assert np.mean([v.rho for v in found if v]) == pytest.approx(rho, abs=0.12)


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_a_test_of_two_spans_holds_its_size(rho: float) -> None:
    """Training of 90 windows against serving of 30, nothing changed: a 5 % test built on the
    estimate must not reject more than about 5 % (rows alone would reject most of the time)."""
    n, tau, trials = 100_000, 0.05, 3_000
    sequences = windows_of(np.random.default_rng(11), trials, 120, tau, rho, n)
    noise = np.full(90, 1 / n)
    rejected = naive = 0
    for sequence in sequences:
        training, serving = sequence[:90], sequence[90:]
        variation = between_window_variation(training, noise)
        assert variation is not None
        rows = 1 / (n * 90) + 1 / (n * 30)
        difference = abs(serving.mean() - training.mean())
        rejected += difference > 1.96 * np.sqrt(rows + variation.of_difference(90, 30))
        naive += difference > 1.96 * np.sqrt(rows)
    assert naive / trials > 0.5
    assert rejected / trials <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials) + 0.015


def test_too_few_windows_say_nothing() -> None:
    assert between_window_variation(np.arange(5.0), np.ones(5)) is None
    with_gaps = np.full(20, np.nan)
    assert between_window_variation(with_gaps, np.ones(20)) is None


def test_no_variation_adds_nothing() -> None:
    assert Variation(90, 0.0, 0.0).of_difference(90, 1) == 0.0
