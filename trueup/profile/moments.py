"""Central moments to order 4 that merge pairwise.

Sources: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances" (1979); Pébay, "Formulas for robust, one-pass parallel computation of covariances and
arbitrary-order statistical moments", SAND2008-6212.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean, central sums of powers 2 to 4, minimum and maximum of finite values.

    :param n: number of values, ``>= 0``; with 0 the mean is 0 and min/max are inf/-inf.
    :param m2, m3, m4: ``sum((x - mean) ** k)``.

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
        mean = float(x.mean())
        d = x - mean
        shift = float(d.mean())  # what rounding left in the first mean
        d -= shift
        d2 = d * d
        with np.errstate(over="ignore"):
            return cls(
                n, mean + shift, float(d2.sum()), float(np.dot(d2, d)), float(np.dot(d2, d2)),
                low, high,
            )  # fmt: skip

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets together (Pébay 2008, eq. 2.1 with p = 2, 3, 4)."""
        if not self.n:
            return other
        if not other.n:
            return self
        a, b = self, other
        n = a.n + b.n
        delta = b.mean - a.mean
        share_a, share_b = a.n / n, b.n / n
        m2 = a.m2 + b.m2 + delta**2 * a.n * share_b
        m3 = (
            a.m3 + b.m3
            + delta**3 * a.n * share_b * (share_a - share_b)
            + 3 * delta * (share_a * b.m2 - share_b * a.m2)
        )  # fmt: skip
        m4 = (
            a.m4 + b.m4
            + delta**4 * a.n * share_b * (share_a**2 - share_a * share_b + share_b**2)
            + 6 * delta**2 * (share_a**2 * b.m2 + share_b**2 * a.m2)
            + 4 * delta * (share_a * b.m3 - share_b * a.m3)
        )  # fmt: skip
        return Moments(
            n, a.mean + delta * share_b, m2, m3, m4,
            min(a.minimum, b.minimum), max(a.maximum, b.maximum),
        )  # fmt: skip

    @property
    def variance(self) -> float:
        """Sample variance (divisor n - 1); 0 for fewer than two values."""
        return self.m2 / (self.n - 1) if self.n > 1 else 0.0

    @property
    def sd(self) -> float:
        return math.sqrt(self.variance)

    @property
    def kurtosis(self) -> float:
        """``m4/n / (m2/n)**2`` (3 for a normal); 3 where the variance is 0."""
        if self.n < 2 or self.m2 <= 0.0:
            return 3.0
        return self.n * self.m4 / self.m2**2
