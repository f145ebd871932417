"""Another unit or scale: serving is a + b · training, with a and b of a known conversion."""

from __future__ import annotations

import math
from dataclasses import dataclass

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

BETTER_THAN = 0.05
"""The conversion must leave at most this share of the squared error that no change at all, or
the best mere shift, leaves."""

OFFSET_TOLERANCE = 0.05
"""How near the means must be after mapping back, in standard deviations."""

SKEWNESS_TOLERANCE, KURTOSIS_TOLERANCE = 0.15, 0.35
"""How near skewness (relative to 1 + its size) and ln(kurtosis) must be: a conversion keeps both
exactly, and a change of the world rarely does."""

ATOM_TOLERANCE = 1e-3
"""Relative; frequent exact values of training must reappear converted, if it has such values."""

GRID = np.linspace(0.02, 0.98, 49)
LEAST_POINTS = 10


@dataclass(frozen=True)
class Conversion:
    """``serving = offset + factor · training``."""

    name: str
    factor: float
    offset: float = 0.0

    @property
    def inverse(self) -> Conversion:
        source, _, target = self.name.partition(" → ")
        name = f"{target} → {source}" if target else f"1/{self.name}"
        return Conversion(name, 1 / self.factor, -self.offset / self.factor)


_ONE_WAY = (
    Conversion("minutes → seconds, or hours → minutes", 60.0),
    Conversion("hours → seconds", 3600.0),
    Conversion("days → hours", 24.0),
    Conversion("miles → kilometres", 1.609344),
    Conversion("miles → kilometres (by 1.6)", 1.6),
    Conversion("inches → centimetres", 2.54),
    Conversion("pounds → kilograms", 0.45359237),
    Conversion("feet → metres", 0.3048),
    Conversion("°C → °F", 1.8, 32.0),
    Conversion("°C → K", 1.0, 273.15),
    Conversion("°F → K", 5 / 9, 459.67 * 5 / 9),
    Conversion("kibi units → units", 1024.0),
)
CONVERSIONS = (
    *_ONE_WAY,
    *(conversion.inverse for conversion in _ONE_WAY),
    *(Conversion(f"factor 10^{power}", 10.0**power) for power in range(-12, 13) if power),
)


def unit(pair: FeaturePair) -> Diagnosis | None:
    """The known conversion that explains the shift, if one does and nothing contradicts it."""
    before, after, edges = pair.training.numeric, pair.serving.numeric, pair.edges.numeric
    if before is None or after is None or edges is None:
        return None
    if before.raw.sd <= 0.0 or after.raw.sd <= 0.0:
        return None
    x, y = resolved_quantiles(before, after, edges)
    fits = []
    for conversion in CONVERSIONS:
        residuals = [
            residual
            for residual in (
                _moment_residual(before.raw, after.raw, conversion),
                _quantile_residual(x, y, conversion, before.clipped.sd),
            )
            if residual is not None
        ]
        if residuals and max(residuals) <= BETTER_THAN and _atoms_agree(before, after, conversion):
            fits.append((max(residuals), conversion))
    if not fits:
        return None
    residual, best = min(fits, key=lambda fit: fit[0])
    return _diagnosis(pair, best, before, after, residual)


def resolved_quantiles(
    before: NumericState, after: NumericState, edges: NumericEdges
) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of training and of serving at the probabilities of ``GRID`` where serving's lie
    in a bin that is narrow against its standard deviation (they were binned by training)."""
    below0, below = (np.cumsum(s.counts)[:-1] / max(s.n, 1) for s in (before, after))
    width = np.diff(edges.edges)
    place = np.searchsorted(below, GRID, side="left") - 1
    inside = (place >= 0) & (place < edges.bins) & (GRID > below[0]) & (GRID <= below[-1])
    narrow = np.zeros(len(GRID), dtype=bool)
    narrow[inside] = width[place[inside]] <= 0.1 * after.raw.sd
    known = narrow & (GRID > below0[0]) & (GRID < below0[-1])
    return _interpolated(below0, edges.edges, known), _interpolated(below, edges.edges, known)


def _interpolated(below: np.ndarray, edges: np.ndarray, known: np.ndarray) -> np.ndarray:
    keep = np.concatenate(([True], np.diff(below) > 0))  # a function needs increasing arguments
    return np.interp(GRID[known], below[keep], edges[keep])


def _quantile_residual(
    x: np.ndarray, y: np.ndarray, conversion: Conversion, sd0: float
) -> float | None:
    """Squared error against that of no change or a mere shift; ``None`` where too few quantiles
    are resolved, infinity where the straight line through them has another slope."""
    if len(x) < LEAST_POINTS or np.ptp(x) <= 0.5 * sd0:
        return None
    slope, start = np.polyfit(x, y, 1)
    middle = float(np.mean(x))
    off = abs(start + slope * middle - conversion.offset - conversion.factor * middle)
    if abs(slope / conversion.factor - 1) > RATIO_TOLERANCE:
        return math.inf
    if off > OFFSET_TOLERANCE * conversion.factor * sd0:
        return math.inf
    difference = y - x
    alone = min(float(np.mean(difference**2)), float(np.var(difference)))
    if conversion.factor == 1.0:
        alone = float(np.mean(difference**2))
    rest = float(np.mean((y - conversion.offset - conversion.factor * x) ** 2))
    return rest / alone if alone > 0 else math.inf


def _moment_residual(old: Moments, new: Moments, conversion: Conversion) -> float | None:
    """As for quantiles, by mean and standard deviation; ``None`` where outliers make them
    uncertain, infinity where the shape (skewness, kurtosis) changed."""
    kurtosis = max(old.kurtosis, new.kurtosis)
    error = math.sqrt(max(kurtosis - 1, 0.0) / 4 * (1 / old.n + 1 / new.n))
    if error > RATIO_TOLERANCE:
        return None
    mean, sd = conversion.offset + conversion.factor * old.mean, conversion.factor * old.sd
    if abs(math.log(new.sd / sd)) > RATIO_TOLERANCE + 3 * error:
        return math.inf
    if abs(new.mean - mean) > (OFFSET_TOLERANCE + 3 / math.sqrt(min(old.n, new.n))) * sd:
        return math.inf
    skewness0, skewness = _skewness(old), _skewness(new)
    if abs(skewness - skewness0) > SKEWNESS_TOLERANCE * (1 + abs(skewness0)):
        return math.inf
    if abs(math.log(new.kurtosis / old.kurtosis)) > KURTOSIS_TOLERANCE:
        return math.inf
    shift2, spread2 = (new.mean - old.mean) ** 2, (new.sd - old.sd) ** 2
    alone = shift2 + spread2 if conversion.factor == 1.0 else spread2
    rest = (new.mean - mean) ** 2 + (new.sd - sd) ** 2
    return rest / alone if alone > 0 else math.inf


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
