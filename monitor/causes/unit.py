"""Another unit or scale: serving is a + b · training, with a and b of a known conversion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trueup.monitor.causes.diagnosis import TYPES, VALUES, Diagnosis
from trueup.monitor.measured import FeaturePair
from trueup.monitor.words import number
from trueup.profile.edges import NumericEdges
from trueup.profile.moments import Moments
from trueup.profile.states import NumericState
from trueup.records.report import Cause, CauseKind

RATIO_TOLERANCE = 0.02
"""How near the fitted factor must be to the named one."""

SURE, SURE_PER_SIZE = 0.02, 0.05
"""A factor is not named unless its standard error is at most this, or at most the second times the
factor's logarithm: things also grow by a half, but hardly sixtyfold."""

ERRORS = 3.0
NEAR_ERRORS = 2.0
"""Standard errors that are allowed: three, but two for factors of less than e, to whose size
things also grow."""

BETTER_THAN = 0.05
"""The conversion must leave at most this share of the squared error that no change at all, or
the best mere shift, leaves."""

OFFSET_TOLERANCE = 0.05
"""How near the means must be after mapping back, in standard deviations."""

LEAST_OFFSET_SD = 3.0
"""A conversion that only adds differs from a mere shift if it adds this many sd."""

SKEWNESS_TOLERANCE, KURTOSIS_TOLERANCE = 0.15, 0.35
"""How near skewness (relative to 1 + its size) and ln(kurtosis) must be: a conversion keeps both
exactly, and a change of the world rarely does. Wider by ``1 + |ln factor|``: the world rarely
becomes ten times as large, and heavy tails make both uncertain."""

ATOM_TOLERANCE = 1e-3
"""Relative; frequent exact values of training must reappear converted, if it has such values."""

GRID = np.linspace(0.02, 0.98, 49)
LEAST_POINTS = 10
NARROW = 0.1
"""A bin is narrow up to this share of serving's standard deviation."""


@dataclass(frozen=True)
class Conversion:
    """``serving = offset + factor · training``."""

    name: str
    factor: float
    offset: float = 0.0

    @property
    def size(self) -> float:
        return abs(self.offset)

    @property
    def inverse(self) -> Conversion:
        source, _, target = self.name.partition(" → ")
        name = f"{target} → {source}" if target else f"1/{self.name}"
        return Conversion(name, 1 / self.factor, -self.offset / self.factor)


_ONE_WAY = (
    Conversion("miles → kilometres", 1.609344),
    Conversion("minutes → seconds, or hours → minutes", 60.0),
    Conversion("hours → seconds", 3600.0),
    Conversion("days → hours", 24.0),
    Conversion("inches → centimetres", 2.54),
    Conversion("pounds → kilograms", 0.45359237),
    Conversion("feet → metres", 0.3048),
    Conversion("°C → °F", 1.8, 32.0),
    Conversion("°C → K", 1.0, 273.15),
    Conversion("°F → K", 5 / 9, 459.67 * 5 / 9),
    Conversion("miles → kilometres (by 1.6)", 1.6),
    Conversion("kibi units → units", 1024.0),
)
CONVERSIONS = (
    *(Conversion(f"factor 10^{power}", 10.0**power) for power in range(-12, 13) if power),
    *_ONE_WAY,
    *(conversion.inverse for conversion in _ONE_WAY),
)
"""The more usual first: of those that fit equally well within the error, the first is named."""


@dataclass(frozen=True)
class Fit:
    """How well one conversion explains serving: ``off`` is ``|ln(fitted / named factor)|``,
    ``unexplained`` what it leaves of the squared error."""

    off: float
    unexplained: float


def unit(pair: FeaturePair) -> Diagnosis | None:
    """The known conversion that explains the shift, if one does and nothing contradicts it."""
    before, after, edges = pair.training.numeric, pair.serving.numeric, pair.edges.numeric
    if before is None or after is None or edges is None:
        return None
    if before.raw.sd <= 0.0 or after.raw.sd <= 0.0 or before.clipped.sd <= 0.0:
        return None
    quantiles = resolved_quantiles(before, after, edges)
    fits: list[tuple[Fit, Conversion]] = []
    for conversion in CONVERSIONS:
        if conversion.factor == 1.0 and conversion.size < LEAST_OFFSET_SD * before.clipped.sd:
            continue
        whole = _by_moments(before.raw, after.raw, conversion)
        part = _by_quantiles(quantiles, conversion, before.clipped, after.n, whole is not None)
        known = [look for look in (part, whole) if look is not None]
        if not known or max(look.unexplained for look in known) > BETTER_THAN:
            continue
        if _atoms_agree(before, after, conversion):
            fits.append((known[-1], conversion))
    if not fits:
        return None
    error = scale_error(before.clipped.kurtosis, before.n, after.n)
    nearest = min(fit.off for fit, _ in fits)
    fit, conversion = next(one for one in fits if one[0].off <= nearest + error)
    return _diagnosis(pair, conversion, before, after, fit.unexplained)


def scale_error(kurtosis: float, n0: float, n: float) -> float:
    """Standard error of the logarithm of a ratio of standard deviations:
    ``sqrt((κ - 1)/4 · (1/N + 1/n))``.

    >>> round(scale_error(3.0, 5000, 5000), 4)
    0.0141
    """
    return math.sqrt(max(kurtosis - 1.0, 0.0) / 4 * (1 / n0 + 1 / n))


def _sure(conversion: Conversion, error: float) -> bool:
    """Whether there are rows enough to tell this factor from growth."""
    return error <= max(SURE, SURE_PER_SIZE * abs(math.log(conversion.factor)))


def _allowed(conversion: Conversion, error: float) -> float:
    """How far the logarithm of the fitted factor may be off."""
    if abs(math.log(conversion.factor)) < 1.0:
        return max(RATIO_TOLERANCE, NEAR_ERRORS * error)
    return RATIO_TOLERANCE + ERRORS * error


def _allowed_offset(n0: float, n: float) -> float:
    """How far the mean may be off, in standard deviations."""
    return OFFSET_TOLERANCE + ERRORS * math.sqrt(1 / n0 + 1 / n)


@dataclass(frozen=True)
class Quantiles:
    """Quantiles ``x`` of training and ``y`` of serving at the same probabilities; ``slack`` is
    how far ``y`` may be off, the width of the bin that it lies in."""

    x: np.ndarray
    y: np.ndarray
    slack: np.ndarray

    # What does not depend on the conversion is reckoned once for all of them.

    @cached_property
    def line(self) -> tuple[float, float]:
        """Slope of the least-squares line through the points, and its value at the mean of x."""
        centred = self.x - self.x.mean()
        return float(centred @ self.y) / float(centred @ centred), float(self.y.mean())

    @cached_property
    def sd(self) -> float:
        """Standard deviation of ``x``."""
        return float(np.std(self.x))

    @cached_property
    def range(self) -> float:
        return float(np.ptp(self.x))

    @cached_property
    def unmoved(self) -> tuple[float, float]:
        """Mean squared difference of ``y`` and ``x``, as they are and after a mere shift."""
        difference = self.y - self.x
        return float(np.mean(difference**2)), float(np.var(difference))


def resolved_quantiles(before: NumericState, after: NumericState, edges: NumericEdges) -> Quantiles:
    """Quantiles at the probabilities of ``GRID`` where serving's lie in a bin that is narrow
    against its standard deviation (its values were binned by training's edges)."""
    below0, below = (np.cumsum(s.counts)[:-1] / max(s.n, 1) for s in (before, after))
    width = np.diff(edges.edges)
    place = np.searchsorted(below, GRID, side="left") - 1
    inside = (place >= 0) & (place < edges.bins) & (GRID > below[0]) & (GRID <= below[-1])
    narrow = np.zeros(len(GRID), dtype=bool)
    narrow[inside] = width[place[inside]] <= NARROW * after.raw.sd
    known = narrow & (GRID > below0[0]) & (GRID < below0[-1])
    x = _interpolated(below0, edges.edges, known)
    # A value with a bin of its own is the quantile itself, wherever in the bin the line crosses.
    left = edges.edges[np.searchsorted(below0, GRID[known], side="left") - 1]
    x = np.where(np.isin(left, edges.atoms), left, x)
    return Quantiles(x, _interpolated(below, edges.edges, known), width[place[known]])


def _interpolated(below: np.ndarray, edges: np.ndarray, known: np.ndarray) -> np.ndarray:
    keep = np.concatenate(([True], np.diff(below) > 0))  # a function needs increasing arguments
    return np.interp(GRID[known], below[keep], edges[keep])


def _by_quantiles(
    quantiles: Quantiles, conversion: Conversion, before: Moments, n: int, supported: bool
) -> Fit | None:
    """By a straight line through the quantiles; ``None`` where too few of them are resolved, or
    of too few rows.

    :param supported: the moments agree already, so that a rougher line is enough.

    What is left unexplained is infinite where the line contradicts the conversion.
    """
    x, y = quantiles.x, quantiles.y
    if len(x) < LEAST_POINTS or quantiles.range <= 0.5 * before.sd:
        return None
    error = scale_error(before.kurtosis, before.n, n) * max(1.0, before.sd / quantiles.sd)
    if not supported and not _sure(conversion, error):
        return None
    slope, level = quantiles.line
    if slope <= 0.0:
        return Fit(math.inf, math.inf)
    off = abs(math.log(slope) - math.log(conversion.factor))  # the quotient may underflow
    limit = _allowed_offset(before.n, n) * conversion.factor * before.sd
    apart = abs(level - conversion.offset - conversion.factor * float(np.mean(x)))
    allowed = RATIO_TOLERANCE + ERRORS * error if supported else _allowed(conversion, error)
    if off > allowed or apart > limit:
        return Fit(off, math.inf)
    left = np.abs(y - conversion.offset - conversion.factor * x) - quantiles.slack
    rest = float(np.mean(np.maximum(left, 0.0) ** 2))
    if math.sqrt(rest) > limit:
        return Fit(off, math.inf)
    as_it_is, shifted = quantiles.unmoved
    alone = as_it_is if conversion.factor == 1.0 else min(as_it_is, shifted)
    return Fit(off, rest / alone if alone > 0 else math.inf)


def _by_moments(old: Moments, new: Moments, conversion: Conversion) -> Fit | None:
    """As by quantiles, by mean, standard deviation and shape of the raw values; ``None`` where
    outliers make them uncertain."""
    error = scale_error(max(old.kurtosis, new.kurtosis), old.n, new.n)
    size = abs(math.log(conversion.factor))
    if not _sure(conversion, error):
        return None
    mean, sd = conversion.offset + conversion.factor * old.mean, conversion.factor * old.sd
    off = abs(math.log(new.sd / sd))
    skewness0, skewness = _skewness(old), _skewness(new)
    if (
        off > _allowed(conversion, error)
        or abs(new.mean - mean) > _allowed_offset(old.n, new.n) * sd
        or abs(skewness - skewness0) > SKEWNESS_TOLERANCE * (1 + size) * (1 + abs(skewness0))
        or abs(math.log(new.kurtosis / old.kurtosis)) > KURTOSIS_TOLERANCE * (1 + size)
    ):
        return Fit(off, math.inf)
    shift2, spread2 = (new.mean - old.mean) ** 2, (new.sd - old.sd) ** 2
    alone = shift2 + spread2 if conversion.factor == 1.0 else spread2
    rest = (new.mean - mean) ** 2 + (new.sd - sd) ** 2
    return Fit(off, rest / alone if alone > 0 else math.inf)


def _skewness(moments: Moments) -> float:
    return math.sqrt(moments.n) * moments.m3 / moments.m2**1.5


def _atoms_agree(before: NumericState, after: NumericState, conversion: Conversion) -> bool:
    """Whether most of training's frequent exact values are found converted in serving. Delays in
    whole minutes that really grew by a half stay whole minutes: no conversion does that."""
    if not before.atoms.sampled or not after.atoms.sampled:
        return True
    expected = found = 0.0
    values = np.array(sorted(after.atoms.counts))
    for value, count in before.atoms.counts.items():
        share = count / before.atoms.sampled
        target = conversion.offset + conversion.factor * value
        if count < 3 or share * after.atoms.sampled < 10 or target == value:
            continue
        expected += share
        near = values[np.abs(values - target) <= ATOM_TOLERANCE * abs(target) + 1e-12]
        share1 = sum(after.atoms.counts[v] for v in near.tolist()) / after.atoms.sampled
        found += min(share, share1)
    return expected < 0.05 or found >= 0.5 * expected


def _diagnosis(
    pair: FeaturePair, conversion: Conversion, before: NumericState, after: NumericState,
    residual: float,
) -> Diagnosis:  # fmt: skip
    formula = f"{number(conversion.factor)} × training"
    if conversion.offset:
        sign = "+" if conversion.offset > 0 else "−"
        formula += f" {sign} {number(abs(conversion.offset))}"
    fitted = after.raw.sd / before.raw.sd
    return Diagnosis(
        Cause(
            kind=CauseKind.UNIT,
            statement=f"{pair.name} is in another unit or scale: serving ≈ {formula} "
            f"({conversion.name}), fitted factor {number(fitted)}",
            remedy=f"convert {pair.name} back to the unit that the model was trained with",
            parameters={
                "factor": conversion.factor, "offset": conversion.offset, "fitted": fitted,
                "conversion": conversion.name, "unexplained": residual,
            },
        ),
        VALUES | TYPES,
    )  # fmt: skip
