"""Nothing changed, so nothing is found: random splits of awkward data come out ok."""

from __future__ import annotations

import numpy as np
import pytest

from trueup.config.compare import CompareSettings
from trueup.records.report import Level, Verdict


def awkward(rng: np.random.Generator, n: int, columns: int) -> dict[str, object]:
    """Columns of many shapes: heavy tails, atoms, rare values, gaps, many categories, all names
    distinct, rounded, correlated, and one that is empty and one that is constant."""
    shared = rng.standard_normal(n)
    gaps = rng.random(n) < 0.03
    zipf = rng.zipf(1.3, n)
    kinds = [
        lambda: shared + rng.standard_normal(n),
        lambda: rng.lognormal(sigma=2.0, size=n),
        lambda: rng.standard_t(2, n),
        lambda: np.where(rng.random(n) < 0.9, 0.0, rng.exponential(size=n)),
        lambda: (rng.random(n) < 0.0007).astype(float),
        lambda: np.where(gaps, np.nan, np.round(shared * 10 + rng.standard_normal(n))),
        lambda: rng.integers(0, 7, n),
        lambda: [f"k{i}" for i in zipf],
        lambda: [f"{i:x}" for i in rng.integers(0, 1 << 60, n)],
        lambda: [f"c{i}" for i in rng.integers(0, 3000, n)],
        lambda: [None if g else f"v{i}" for g, i in zip(gaps, rng.geometric(0.3, n), strict=True)],
        lambda: np.exp(shared) * rng.lognormal(size=n),
    ]
    data = {f"x{i}": kinds[i % len(kinds)]() for i in range(columns)}
    data["empty"], data["constant"] = np.full(n, np.nan), np.full(n, 3.0)
    return data


def split(rng: np.random.Generator, data: dict[str, object], n: int, share: float):
    chosen = rng.random(n) < share

    def part(column, keep):
        if isinstance(column, list):
            return [value for value, kept in zip(column, keep, strict=True) if kept]
        return column[keep]

    return (
        {name: part(column, chosen) for name, column in data.items()},
        {name: part(column, ~chosen) for name, column in data.items()},
    )


@pytest.mark.parametrize("share", [0.5, 0.9, 0.1])
@pytest.mark.parametrize("n", [600, 5_000, 40_000])
def test_no_alert_and_hardly_a_watch(compare, n: int, share: float) -> None:
    """No alert in any split. A false *watch* in at most alpha of the splits, by the adjustment
    over all quantities; of 12 splits at 5 %, 4 or more have a probability of 0.2 %."""
    watched = 0
    for seed in range(12 if n < 40_000 else 3):
        rng = np.random.default_rng([seed, n, int(100 * share)])
        training, serving = split(rng, awkward(rng, n, 24), n, share)
        report = compare(training, serving)
        alerts = [f.reason for f in report.findings if f.level is Level.ALERT]
        assert not alerts, (seed, alerts)
        watched += report.verdict is Verdict.WATCH
    assert watched <= 3


def test_a_hundred_columns(compare) -> None:
    rng = np.random.default_rng(1)
    training, serving = split(rng, awkward(rng, 4_000, 100), 4_000, 0.5)
    report = compare(training, serving)
    assert report.verdict is Verdict.OK, report.reasons
    assert {s.feature for s in report.features} == set(training)


def test_false_watches_keep_to_alpha(compare) -> None:
    """Over 300 small splits without a dead band, false discoveries are at most those asked for,
    and of those hardly one is past the threshold with its whole interval."""
    settings = CompareSettings(alpha=0.2, dead_band=0.0)
    found = alerts = 0
    for seed in range(300):
        rng = np.random.default_rng([7, seed])
        columns: dict[str, object] = {f"x{i}": rng.standard_normal(1000) for i in range(3)}
        columns["skewed"] = rng.exponential(size=1000)
        training, serving = split(rng, columns, 1000, 0.5)
        report = compare(training, serving, settings)
        found += report.verdict is not Verdict.OK
        alerts += report.verdict in (Verdict.DRIFT, Verdict.FAULT)
    assert alerts <= 4
    assert found / 300 <= 0.2 + 4 * np.sqrt(0.2 * 0.8 / 300)
    assert found > 0  # and the test can find something


@pytest.mark.parametrize("n", [40, 100])
def test_tiny_samples(compare, n: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng([n, seed])
        training, serving = split(rng, awkward(rng, 2 * n, 12), 2 * n, 0.5)
        report = compare(training, serving)
        assert report.verdict in (Verdict.OK, Verdict.WATCH), (seed, report.reasons)
