"""Central moments to order 4 that merge pairwise.

Sources: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances" (1979); Pébay, "Formulas for robust, one-pass parallel computation of covariances and
arbitrary-order statistical moments", SAND2008-6212.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean, central sums of powers 2 to 4, minimum and maximum of finite values.

    :param n: number of values, ``>= 0``; with 0 the mean is 0 and min/max are inf/-inf.
    :param m2, m3, m4: ``sum((x - mean) ** k)``; inf (m3: NaN) where that is beyond float64. The
        mean never is.
    :param mean_tail: what rounding cut off ``mean``; it keeps merging exact where the mean is many
        orders of magnitude above the deviation (1e9 ± 1, as times and meter readings are).

    >>> whole = Moments.of(np.arange(10.0))
    >>> merged = Moments.of(np.arange(4.0)).merge(Moments.of(np.arange(4.0, 10.0)))
    >>> math.isclose(whole.variance, merged.variance, rel_tol=1e-12)
    True
    """

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0
    m3: float = 0.0
    m4: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf
    mean_tail: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Moments of finite ``values``, float, shape ``(n,)``; two passes, so exact to rounding."""
        n = values.size
        if not n:
            return cls()
        x = np.asarray(values, dtype=np.float64)
        low, high = float(x.min()), float(x.max())
        if low == high:
            return cls(n, low, 0.0, 0.0, 0.0, low, high)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = _mean(x)
            d = x - mean
            shift = _mean(d)  # what rounding left in the first mean
            if not math.isfinite(shift):
                return cls._beyond(n, mean, low, high)
            d -= shift
            d2 = d * d
            return cls._bounded(
                n, mean, float(d2.sum()), float(np.einsum("i,i->", d2, d)),
                float(np.einsum("i,i->", d2, d2)), low, high,
            ).shifted(shift)  # fmt: skip

    @classmethod
    def weighted(cls, values: np.ndarray, weights: np.ndarray) -> Moments:
        """Moments of distinct finite ``values``, each of which occurs ``weights`` (> 0) times.

        >>> Moments.weighted(np.array([1.0, 4.0]), np.array([2, 1])).mean
        2.0
        """
        n = int(weights.sum())
        if not n:
            return cls()
        x, w = np.asarray(values, np.float64), np.asarray(weights, np.float64)
        low, high = float(x.min()), float(x.max())
        if low == high:
            return cls(n, low, 0.0, 0.0, 0.0, low, high)
        share = w / n
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float((x * share).sum())
            d = x - mean
            shift = float((d * share).sum())
            if not math.isfinite(shift):
                return cls._beyond(n, mean, low, high)
            d -= shift
            wd2 = w * d * d
            return cls._bounded(
                n, mean, float(wd2.sum()), float((wd2 * d).sum()),
                float((wd2 * d * d).sum()), low, high,
            ).shifted(shift)  # fmt: skip

    @classmethod
    def constant(cls, value: float, n: int) -> Moments:
        """Moments of ``n`` values that all equal ``value``."""
        return cls(n, value, 0.0, 0.0, 0.0, value, value) if n else cls()

    @classmethod
    def _bounded(
        cls, n: int, mean: float, m2: float, m3: float, m4: float, low: float, high: float,
        mean_tail: float = 0.0,
    ) -> Moments:  # fmt: skip
        """With what overflowed in one spelling, however the values were divided."""
        return cls(
            n, mean, m2 if m2 < math.inf else math.inf, m3 if math.isfinite(m3) else math.nan,
            m4 if m4 < math.inf else math.inf, low, high, mean_tail,
        )  # fmt: skip

    @classmethod
    def _beyond(cls, n: int, mean: float, low: float, high: float) -> Moments:
        """Of values whose distance from their mean is beyond float64."""
        return cls(n, mean, math.inf, math.nan, math.inf, low, high)

    def shifted(self, shift: float) -> Moments:
        """The same with ``shift`` added to the mean, to twice the precision of a float64."""
        step, lost = _two_sum(shift, self.mean_tail)
        mean, tail = _two_sum(self.mean, step)
        tail += lost
        return replace(self, mean=mean, mean_tail=tail if math.isfinite(tail) else 0.0)

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets together (Pébay 2008, eq. 2.1 with p = 2, 3, 4)."""
        if not self.n:
            return other
        if not other.n:
            return self
        a, b = self, other
        n = a.n + b.n
        delta = (b.mean - a.mean) + (b.mean_tail - a.mean_tail)
        delta2 = delta * delta  # not ``**``, which raises where a product becomes inf
        share_a, share_b = a.n / n, b.n / n
        low, high = min(a.minimum, b.minimum), max(a.maximum, b.maximum)
        if not math.isfinite(delta):
            return Moments._beyond(n, a.mean * share_a + b.mean * share_b, low, high)
        m2 = a.m2 + b.m2 + delta2 * a.n * share_b
        m3 = (
            a.m3 + b.m3
            + delta2 * delta * a.n * share_b * (share_a - share_b)
            + 3 * delta * (share_a * b.m2 - share_b * a.m2)
        )  # fmt: skip
        m4 = (
            a.m4 + b.m4
            + delta2 * delta2 * a.n * share_b * (share_a**2 - share_a * share_b + share_b**2)
            + 6 * delta2 * (share_a**2 * b.m2 + share_b**2 * a.m2)
            + 4 * delta * (share_a * b.m3 - share_b * a.m3)
        )  # fmt: skip
        merged = Moments._bounded(n, a.mean, m2, m3, m4, low, high, a.mean_tail)
        return merged.shifted(delta * share_b)

    @property
    def variance(self) -> float:
        """Sample variance (divisor n - 1); 0 for fewer than two values."""
        return self.m2 / (self.n - 1) if self.n > 1 else 0.0

    @property
    def sd(self) -> float:
        return math.sqrt(self.variance)

    @property
    def kurtosis(self) -> float:
        """``m4/n / (m2/n)**2`` (3 for a normal); 3 where the variance is 0 or beyond float64."""
        if self.n < 2 or self.m2 <= 0.0:
            return 3.0
        ratio = self.n * (self.m4 / self.m2) / self.m2
        return ratio if math.isfinite(ratio) else 3.0


def _two_sum(a: float, b: float) -> tuple[float, float]:
    """``a + b`` rounded, and what rounding cut off (Knuth, TAOCP 4.2.2)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _mean(x: np.ndarray) -> float:
    mean = float(x.mean())
    return mean if math.isfinite(mean) else float((x / x.size).sum())
