"""TFDV's numeric statistics as edges and state of a profile."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trueup.profile.edges import NumericEdges
from trueup.profile.moments import Moments
from trueup.profile.sketches import Atoms
from trueup.profile.states import NumericState
from trueup.tfdv.histograms import Buckets, whole_counts
from trueup.tfdv.protos import protos
from trueup.tfdv.statistics import BINS, KURTOSIS, SKEWNESS

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.statistics_pb2 import (
        FeatureNameStatistics,
        Histogram,
    )


@dataclass(frozen=True)
class Numbers:
    """What a feature's numeric statistics say.

    :param edges, state: ``None`` when there is no finite value.
    :param nan, infinite: how many values are NaN, and how many ±inf.
    :param own: whether the bins are those of a profile, to the last count.
    :param fourth_known: whether the fourth moment is known; else it is an upper bound.
    :param moments_known: whether mean and deviation are known; else they are from the histogram.
    """

    edges: NumericEdges | None
    state: NumericState | None
    nan: int
    infinite: int
    own: bool = False
    fourth_known: bool = False
    moments_known: bool = True


def read_numbers(feature: FeatureNameStatistics, values: int) -> Numbers:
    """The numbers of ``feature``, which has ``values`` values, NaN and ±inf included."""
    numbers = feature.num_stats
    standard = _of_kind(numbers.histograms, "STANDARD")
    quantiles = _of_kind(numbers.histograms, "QUANTILES")
    nan = max((int(histogram.num_nan) for histogram in numbers.histograms), default=0)
    infinite = round(_infinite_mass(standard or quantiles))
    n = values - nan - infinite
    if n <= 0:
        return Numbers(None, None, nan, infinite)
    custom = {statistic.name: statistic for statistic in feature.custom_stats}
    finite = _finite(standard) if infinite else Buckets.of([])
    minimum = float(finite.low[0]) if finite.low.size else numbers.min
    maximum = float(finite.high[-1]) if finite.high.size else numbers.max
    if BINS in custom:
        edges, counts = _own_bins(custom[BINS].histogram)
    else:
        source = _finite(standard if infinite else quantiles or standard)
        edges, counts = _bins(source, minimum, maximum)
        counts = whole_counts(counts, n)
    known = math.isfinite(numbers.mean) and math.isfinite(numbers.std_dev)
    m2 = n * numbers.std_dev * numbers.std_dev  # TFDV divides by n
    mean = numbers.mean
    if not known:
        mean, m2 = _spread_moments(finite, minimum, maximum)
        m2 *= n
    m4 = _fourth_bound([standard, quantiles], mean, m2, n, max(maximum - mean, mean - minimum))
    m3 = 0.0
    if KURTOSIS in custom and known:
        m4 = custom[KURTOSIS].num * m2 * m2 / n
        m3 = custom[SKEWNESS].num * m2 * math.sqrt(m2 / n) if SKEWNESS in custom else 0.0
    moments = Moments(n, mean, m2, m3, m4, minimum, maximum)
    state = NumericState(counts, moments, moments, int(numbers.num_zeros), Atoms())
    fourth_known = m2 <= 0.0 or (KURTOSIS in custom and known)
    return Numbers(edges, state, nan, infinite, BINS in custom, fourth_known, known)


def read_lengths(histogram: Histogram, mean: float, low: int, high: int, rows: int) -> tuple[
    NumericEdges, NumericState
]:  # fmt: skip
    """List lengths from ``num_values_histogram``: the spread is that of its buckets."""
    edges, counts = _bins(_finite(histogram), float(low), float(high))
    spread = _finite(histogram)
    _, variance = _spread_moments(spread, float(low), float(high))
    m2 = variance * rows
    m4 = _fourth_bound([histogram], mean, m2, rows, max(high - mean, mean - low))
    moments = Moments(rows, mean, m2, 0.0, m4, float(low), float(high))
    zeros = int(counts[1]) if low == 0 and edges.bins > 1 and edges.edges[1] < 1 else 0
    return edges, NumericState(whole_counts(counts, rows), moments, moments, zeros, Atoms())


def _of_kind(histograms: Iterable[Histogram], kind: str) -> Histogram | None:
    wanted = protos().statistics.Histogram.HistogramType.Value(kind)
    return next((h for h in histograms if h.type == wanted and h.buckets), None)


def _infinite_mass(histogram: Histogram | None) -> float:
    if histogram is None:
        return 0.0
    return sum(
        bucket.sample_count
        for bucket in histogram.buckets
        if not (math.isfinite(bucket.low_value) and math.isfinite(bucket.high_value))
    )


def _finite(histogram: Histogram | None) -> Buckets:
    rows = (
        []
        if histogram is None
        else [
            (b.low_value, b.high_value, b.sample_count)
            for b in histogram.buckets
            if math.isfinite(b.low_value) and math.isfinite(b.high_value)
        ]
    )
    return Buckets.of(sorted(rows))


def _bins(buckets: Buckets, minimum: float, maximum: float) -> tuple[NumericEdges, np.ndarray]:
    """Bins and masses (underflow, bins, overflow) from TFDV's ``(low, high]`` buckets.

    Buckets with one upper end become one bin: TFDV divides the mass at a repeated value among
    them and the one below, so only their sum is true. The minimum, where it repeats, keeps its
    bucket without width. With no buckets, all mass lies in one bin.
    """
    ends, group = np.unique(buckets.high, return_inverse=True)
    mass = np.bincount(group, weights=buckets.count, minlength=len(ends))
    outside = (ends < minimum) | (ends > maximum)
    if not len(ends) or outside.any():
        ends, mass = np.array([maximum]), np.array([max(buckets.count.sum(), 1.0)])
    upper = np.nextafter(ends, np.inf)
    edges = np.concatenate([[minimum], upper[:-1], [max(maximum, ends[-1])]])
    if edges[-1] <= edges[-2]:
        edges[-1] = np.nextafter(edges[-2], np.inf)
    return NumericEdges(edges, minimum, maximum, _atoms(edges)), np.concatenate(
        [[0.0], mass, [0.0]]
    )


def _own_bins(histogram: Histogram) -> tuple[NumericEdges, np.ndarray]:
    """The bins that :mod:`trueup.tfdv.statistics` wrote, under- and overflow included."""
    edges = np.array([bucket.high_value for bucket in histogram.buckets[:-1]])
    counts = np.array([round(bucket.sample_count) for bucket in histogram.buckets], dtype=np.int64)
    return NumericEdges(edges, float(edges[0]), float(edges[-1]), _atoms(edges)), counts


def _atoms(edges: np.ndarray) -> tuple[float, ...]:
    """The values with a bin of their own."""
    return tuple(edges[:-1][edges[1:] <= np.nextafter(edges[:-1], np.inf)].tolist())


def _spread_moments(buckets: Buckets, minimum: float, maximum: float) -> tuple[float, float]:
    """Mean and variance of mass spread evenly over ``buckets``."""
    total = float(buckets.count.sum())
    if total <= 0.0:
        reach = np.float64(maximum) / 2.0 - np.float64(minimum) / 2.0
        with np.errstate(over="ignore"):
            return minimum / 2.0 + maximum / 2.0, float(reach * reach / 3.0)
    share = buckets.count / total
    middle, width = (buckets.low + buckets.high) / 2.0, buckets.high - buckets.low
    mean = float(share @ middle)
    with np.errstate(over="ignore"):
        return mean, float(share @ ((middle - mean) ** 2 + width**2 / 12.0))


def _fourth_bound(
    histograms: Iterable[Histogram | None], mean: float, m2: float, n: int, reach: float
) -> float:
    """The least upper bound of ``sum((x - mean)**4)`` that is known.

    Either ``reach² · m2`` (no value is farther from the mean than ``reach``), or every value at the
    far end of its bucket, as true as the histogram; never below ``m2²/n`` (Jensen's inequality).
    """
    with np.errstate(over="ignore"):
        bounds = [float(np.float64(reach) ** 2 * m2)]
        for histogram in histograms:
            buckets = _finite(histogram)
            mass = float(buckets.count.sum())
            if mass > 0.0:
                far = np.maximum(np.abs(buckets.low - mean), np.abs(buckets.high - mean))
                bounds.append(float(buckets.count @ far**4) * n / mass)
        return max(min(bounds), float(np.float64(m2) ** 2 / n))
