"""Windows as the unit of evidence: rows cry wolf where days differ, windows do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import trueup
from trueup.errors import BadInputError
from trueup.records.report import Level, Quantity

DAYS, PER_DAY, FEATURES = 120, 200, 12
SPLIT = 90


def autocorrelated(rng: np.random.Generator, rho: float) -> np.ndarray:
    """A stationary AR(1) sequence of unit variance over all days."""
    value = rng.normal()
    series = []
    for noise in rng.normal(size=DAYS):
        value = rho * value + np.sqrt(1 - rho**2) * noise
        series.append(value)
    return np.repeat(series, PER_DAY)


def days_that_differ(seed: int, tau: float = 0.5, shift: float = 0.0) -> pd.DataFrame:
    """Rows of 120 days; every column has weather of its own: mean, rate, shares and lengths."""
    rng = np.random.default_rng([8, seed])
    rows = DAYS * PER_DAY
    start = pd.Timestamp("2013-01-01", tz="UTC")
    seconds = np.sort(rng.uniform(0, 86_400, (DAYS, PER_DAY)), axis=1)
    frame: dict[str, Any] = {"at": start + pd.to_timedelta(
        (np.arange(DAYS)[:, None] * 86_400 + seconds).ravel(), unit="s")}  # fmt: skip
    late = np.arange(rows) >= SPLIT * PER_DAY
    for i in range(FEATURES):
        weather = tau * autocorrelated(rng, 0.5)
        x = rng.normal(size=rows) + weather + (shift * late if i == 0 else 0.0)
        x[rng.random(rows) < 0.1 * np.exp(tau * autocorrelated(rng, 0.5))] = np.nan
        frame[f"x{i}"] = x
        level = rng.normal(size=rows) + tau * autocorrelated(rng, 0.5)
        frame[f"c{i}"] = np.array(["low", "middle", "high"])[np.digitize(level, [-0.5, 0.5])]
    return pd.DataFrame(frame)


def split(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    return frame[: SPLIT * PER_DAY], frame[SPLIT * PER_DAY :].reset_index(drop=True)


def moved(comparison: trueup.Comparison, *quantities: Quantity) -> set[str]:
    return {
        f.feature
        for f in comparison.report.findings
        if f.level is Level.ALERT and f.quantity in quantities
    }


MOMENTS = (Quantity.MEAN, Quantity.MISSING, Quantity.SHARES)


@pytest.mark.heavy
def test_days_that_differ_alarm_by_rows_and_not_by_windows() -> None:
    by_rows = by_windows = 0
    for seed in range(4):
        sides = split(days_that_differ(seed))
        by_rows += len(moved(trueup.compare(*sides, workers=1), *MOMENTS))
        by_windows += len(moved(trueup.compare(*sides, time="at", workers=1), *MOMENTS))
    features = 4 * 2 * FEATURES
    assert by_rows > 0.15 * features
    assert by_windows <= 0.02 * features


def test_a_real_shift_is_seen_all_the_same() -> None:
    sides = split(days_that_differ(9, shift=1.5))
    comparison = trueup.compare(*sides, time="at", workers=1)
    assert moved(comparison, Quantity.MEAN) == {"x0"}
    finding = next(f for f in comparison.report.findings if f.quantity is Quantity.MEAN)
    assert finding.evidence.method == "Welch t, windows counted"
    assert finding.interval is not None
    rows = trueup.compare(*sides, workers=1)
    alone = next(
        f for f in rows.report.findings if f.feature == "x0" and f.quantity is Quantity.MEAN
    )
    assert alone.interval is not None
    assert finding.interval.low < alone.interval.low < alone.interval.high < finding.interval.high
    assert comparison.report.notes[0] == (
        "windows of 1d by at are the unit of evidence: 90 of training, 30 of serving"
    )


def test_what_cannot_be_seen_is_larger_by_windows() -> None:
    sides = split(days_that_differ(1))
    by_rows, by_windows = (
        {s.feature: s.minimum_detectable for s in c.report.features}
        for c in (trueup.compare(*sides, workers=1), trueup.compare(*sides, time="at", workers=1))
    )
    assert by_windows["x3"]["mean (sd)"] > 2 * by_rows["x3"]["mean (sd)"]


def test_without_variation_windows_change_next_to_nothing() -> None:
    frame = days_that_differ(2, tau=0.0)
    training, serving = split(frame)
    serving = serving.assign(x1=serving["x1"] + 0.3)
    comparison = trueup.compare(training, serving, time="at", workers=1)
    assert moved(comparison, Quantity.MEAN) == {"x1"}
    found = [f for f in comparison.report.findings if f.feature == "x1" and f.interval]
    mean = next(f for f in found if f.quantity is Quantity.MEAN)
    assert mean.interval is not None
    assert mean.interval.high - mean.interval.low < 0.15


def test_the_window_can_be_chosen() -> None:
    sides = split(days_that_differ(3))
    comparison = trueup.compare(*sides, time="at", window="1w", workers=1)
    assert "windows of 1w by at" in comparison.report.notes[0]
    with pytest.raises(BadInputError, match="'1 fortnight' is not a length of time"):
        trueup.compare(*sides, time="at", window="1 fortnight")
    with pytest.raises(BadInputError, match="a window needs a time"):
        trueup.compare(*sides, window="1d")


def test_too_few_windows_are_said_and_rows_do() -> None:
    frame = days_that_differ(4)[: 5 * PER_DAY]
    comparison = trueup.compare(frame, frame, time="at", window="1d", workers=1)
    assert comparison.report.notes[0].startswith(
        "rows count as independent: 5 windows of 1d in training are too few"
    )


def test_serving_without_times_is_one_window() -> None:
    training, serving = split(days_that_differ(5, shift=0.5))
    comparison = trueup.compare(training, serving.drop(columns="at"), time="at", workers=1)
    assert "serving has no times in at: it counts as one window" in comparison.report.notes
    assert not moved(comparison, Quantity.MEAN)
