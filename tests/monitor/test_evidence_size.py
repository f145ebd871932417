"""Every test holds its nominal size where nothing changed, on data that is not normal, too.

Simulated with fixed seeds. The tolerance is 4 standard errors of a rate over so many trials, and
where theory says that a small sample deviates, an allowance that is stated with its reason.
"""

from __future__ import annotations

import numpy as np
import pytest

from trueup.monitor import evidence
from trueup.monitor.quantities.correlation import fisher_error

TRIALS = 4000
CHUNK = 500
SIZES = {"even": (1000, 1000), "few serving rows": (500, 2000)}
DRAWS = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "exponential": lambda rng, shape: rng.standard_exponential(shape),
    "t5": lambda rng, shape: rng.standard_t(5, shape),
    "lognormal": lambda rng, shape: rng.lognormal(size=shape),
    "Bernoulli .3": lambda rng, shape: (rng.random(shape) < 0.3).astype(float),
    "Bernoulli .02": lambda rng, shape: (rng.random(shape) < 0.02).astype(float),
}


def band(alpha: float, trials: int = TRIALS) -> float:
    return 4 * np.sqrt(alpha * (1 - alpha) / trials)


def rejected(p_values: np.ndarray, alpha: float) -> float:
    return float(np.mean(p_values <= alpha))


def sums(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and central sums of powers 2 and 4 of each row."""
    mean = x.mean(axis=1)
    d2 = (x - mean[:, None]) ** 2
    return mean, d2.sum(axis=1), (d2**2).sum(axis=1)


def clipped(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both to the training quantiles .001 and .999, as profiles are; not where that would leave
    no variance at all."""
    low, high = np.quantile(before, [0.001, 0.999], axis=1)
    flat = low == high
    low, high = np.where(flat, -np.inf, low)[:, None], np.where(flat, np.inf, high)[:, None]
    return np.clip(before, low, high), np.clip(after, low, high)


@pytest.fixture(scope="module")
def p_values() -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """p-values of the mean and of the variance test, per distribution and pair of sizes."""
    result = {}
    for seed, (name, draw) in enumerate(DRAWS.items()):
        for size, (n, n0) in SIZES.items():
            rng = np.random.default_rng([seed, n])
            means, variances = [], []
            for _ in range(TRIALS // CHUNK):
                x0, x = clipped(draw(rng, (CHUNK, n0)), draw(rng, (CHUNK, n)))
                (m0, s0, f0), (m, s, f) = sums(x0), sums(x)
                v0, v = s0 / (n0 - 1), s / (n - 1)
                means.append(evidence.mean_test(n, m, v, n0, m0, v0).p_value)
                kurtosis = evidence.pooled_kurtosis(n, s, f, n0, s0, f0)
                variances.append(evidence.variance_test(n, v, n0, v0, kurtosis).p_value)
            result[name, size] = np.concatenate(means), np.concatenate(variances)
    return result


@pytest.mark.heavy
@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", DRAWS)
def test_mean(p_values, name: str, size: str, alpha: float) -> None:
    assert abs(rejected(p_values[name, size][0], alpha) - alpha) <= band(alpha) + 0.1 * alpha


VARIANCE_ALLOWANCE = {0.01: (0.005, 0.012), 0.05: (0.02, 0.014)}
"""Below and above nominal: the kurtosis is estimated from the same few heavy-tailed values, and the
log-variance is not quite normal (design: 3 to 6.4 % at 5 % nominal)."""


@pytest.mark.heavy
@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", DRAWS)
def test_variance(p_values, name: str, size: str, alpha: float) -> None:
    below, above = VARIANCE_ALLOWANCE[alpha]
    found = rejected(p_values[name, size][1], alpha)
    assert alpha - below - band(alpha) <= found <= alpha + above + band(alpha)


def test_an_f_test_would_not_do() -> None:
    """What the log-variance test is there for: the F test's size on exponential data."""
    from scipy.stats import f

    rng = np.random.default_rng(3)
    ratio = rng.standard_exponential((2000, 500)).var(axis=1, ddof=1) / rng.standard_exponential(
        (2000, 500)
    ).var(axis=1, ddof=1)
    p = 2 * np.minimum(f.cdf(ratio, 499, 499), f.sf(ratio, 499, 499))
    assert rejected(p, 0.05) > 0.25


@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize(
    ("rate", "n", "n0"),
    [
        (0.3, 1000, 1000),
        (0.05, 500, 2000),
        (0.01, 1000, 1000),
        (0.5, 60, 5000),
        (0.01, 300, 20_000),
    ],
)
def test_rates(rate: float, n: int, n0: int, alpha: float) -> None:
    """Rates that give at least a few counts reject at nominal; discreteness makes them a little
    conservative or, by the mid-p correction, a little liberal."""
    rng = np.random.default_rng([n, n0])
    x, y = rng.binomial(n, rate, TRIALS), rng.binomial(n0, rate, TRIALS)
    found = rejected(evidence.rate_test(x, n, y, n0).p_value, alpha)
    assert found <= alpha * 1.2 + band(alpha)
    assert found >= alpha * 0.4 - band(alpha)


@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize(("n", "n0"), [(1000, 1000), (100, 10_000), (10_000, 500)])
def test_rates_that_training_hardly_has(n: int, n0: int, alpha: float) -> None:
    """Of rates near 0 a test can only be conservative: fewer than nominal, never more."""
    rng = np.random.default_rng([1, n, n0])
    for rate in (0.0002, 0.001):
        x, y = rng.binomial(n, rate, TRIALS), rng.binomial(n0, rate, TRIALS)
        p = evidence.rate_test(x, n, y, n0).p_value
        assert rejected(p, alpha) <= alpha * 1.2 + band(alpha)


@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize("cells", [2, 10, 100])
@pytest.mark.parametrize(("n", "n0"), [(1000, 1000), (1000, 20_000)])
def test_shares(cells: int, n: int, n0: int, alpha: float) -> None:
    rng = np.random.default_rng([cells, n0])
    shares = rng.dirichlet(np.full(cells, 20.0))
    q, p = rng.multinomial(n, shares, TRIALS), rng.multinomial(n0, shares, TRIALS)
    found = rejected(evidence.shares_test(q, p).p_value, alpha)
    assert abs(found - alpha) <= band(alpha) + 0.2 * alpha


@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize(("n", "n0"), [(1000, 1000), (5000, 500), (200, 5000)])
def test_values_outside_of_training(n: int, n0: int, alpha: float) -> None:
    """The count beyond training's extremes, drawn by its exact distribution (uniform values)."""
    rng = np.random.default_rng([2, n, n0])
    x0 = rng.random((2000, n0))
    # The number of serving values beyond is binomial given training's extremes.
    beyond = rng.binomial(n, 1 - (x0.max(axis=1) - x0.min(axis=1)))
    p = evidence.outside_test(beyond, n, 0, n0).p_value
    assert rejected(p, alpha) <= alpha + band(alpha, 2000)
    for count in (1, 2):  # counts are few values, so sizes are: those are met
        attainable = float(evidence.outside_test(count, n, 0, n0).p_value)
        found = rejected(p, attainable * (1 + 1e-9))
        assert abs(found - attainable) <= band(attainable, 2000) + 0.02 * attainable


CORRELATED = {
    "normal, independent": lambda z: z,
    "normal, correlated .6": lambda z: np.stack([z[0], 0.6 * z[0] + 0.8 * z[1]]),
    "exponential, independent": lambda z: -np.log1p(-_uniform(z)),
    "common scale (t5), uncorrelated": lambda z: z[:2] / np.sqrt(z[2] ** 2 + 0.5),
}


def _uniform(z: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    return np.clip(ndtr(z[:2]), 0.0, 1 - 1e-12)


@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize("name", CORRELATED)
def test_correlation(name: str, alpha: float) -> None:
    """Never above nominal by more than the band; heavy tails of independent features are
    over-covered, because their kurtosis alone does not tell them from dependent ones."""
    rng = np.random.default_rng([5, len(name)])
    n, trials = 1000, 2000
    z, sizes = np.empty(trials), np.array(n)
    for start in range(0, trials, 250):
        both = []
        for _ in range(2):
            x, y = CORRELATED[name](rng.standard_normal((3, 250, n)))[:2]
            x, y = (v - v.mean(axis=1, keepdims=True) for v in (x, y))
            r = (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
            kurtosis = [n * (v**4).sum(1) / (v**2).sum(1) ** 2 for v in (x, y)]
            both.append((np.arctanh(r), *kurtosis))
        error = fisher_error(
            sizes, sizes, (both[0][1] + both[1][1]) / 2, (both[0][2] + both[1][2]) / 2
        )
        z[start : start + 250] = (both[1][0] - both[0][0]) / error
    from scipy.special import ndtr

    found = rejected(2 * ndtr(-np.abs(z)), alpha)
    assert found <= alpha + band(alpha, trials) + 0.1 * alpha
    if name.startswith("normal"):
        assert found >= alpha - band(alpha, trials)


@pytest.mark.parametrize(("effect", "power"), [(0.1, 0.55), (0.2, 0.98)], ids=["0.1 sd", "0.2 sd"])
def test_a_real_shift_is_found(effect: float, power: float) -> None:
    rng = np.random.default_rng(8)
    n, trials = 1000, 1000
    m0, m = rng.normal(0, 1 / np.sqrt(n), trials), rng.normal(effect, 1 / np.sqrt(n), trials)
    assert rejected(evidence.mean_test(n, m, 1.0, n, m0, 1.0).p_value, 0.05) > power


def test_a_variance_that_grew_is_found() -> None:
    rng = np.random.default_rng(9)
    x0, x = rng.standard_exponential((500, 2000)), 1.25 * rng.standard_exponential((500, 2000))
    (_, s0, f0), (_, s, f) = sums(x0), sums(x)
    kurtosis = evidence.pooled_kurtosis(2000, s, f, 2000, s0, f0)
    p = evidence.variance_test(2000, s / 1999, 2000, s0 / 1999, kurtosis).p_value
    assert rejected(p, 0.05) > 0.85


def test_what_lies_outside_is_told_apart_also_where_p_is_0() -> None:
    """Windows divide this statistic: were it capped, all of serving could lie outside unseen."""
    outside = np.array([900, 1100, 5000, 29_300])
    found = evidence.outside_test(outside, 29_383, 0, 29_383)
    assert found.p_value[-1] == 0.0 < found.p_value[0]
    assert np.all(np.isfinite(found.statistic)) and np.all(np.diff(found.statistic) > 0)
    # by the leading term of the geometric tail: p = 2**-29300
    assert found.statistic[-1] == pytest.approx(np.sqrt(2 * 29_300 * np.log(2)), rel=0.01)
