"""The distances that TFDV defines, on the same protos and to the same numbers, without TFDV.

Source: tensorflow_data_validation/anomalies/metrics.cc, feature_util.cc and
dataset_constraints_util.cc, read at 1.16.1 and 1.21.0; the tests let TFDV compute them beside.
Functions return ``None`` where TFDV takes no measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from trueup.errors import DataError
from trueup.tfdv.protos import protos

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.statistics_pb2 import (
        DatasetFeatureStatistics,
        FeatureNameStatistics,
        Histogram,
    )

HistogramKind = Literal["STANDARD", "QUANTILES"]


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest difference between shares, and the value that has it (the last in byte order,
    where several do)."""

    value: float
    label: str


def is_weighted(dataset: DatasetFeatureStatistics) -> bool:
    """Whether TFDV compares ``dataset`` by weight: only if all its features have weights."""
    if not dataset.weighted_num_examples:
        return False
    for feature in dataset.features:
        kind = feature.WhichOneof("stats")
        if kind is None:
            continue
        common = getattr(feature, kind).common_stats
        levels = len(common.presence_and_valency_stats)
        if not common.HasField("weighted_common_stats"):
            return False
        if len(common.weighted_presence_and_valency_stats) != levels:
            return False
    return True


def rank_counts(feature: FeatureNameStatistics, *, by_weight: bool = False) -> dict[str, float]:
    """Label → count of the rank histogram, in byte order; empty for numeric features. The first
    of equal labels counts."""
    strings = feature.string_stats
    ranks = strings.weighted_string_stats.rank_histogram if by_weight else strings.rank_histogram
    counts: dict[str, float] = {}
    for bucket in ranks.buckets:
        counts.setdefault(bucket.label, bucket.sample_count)
    return dict(sorted(counts.items(), key=lambda item: item[0].encode()))


def l_infinity(
    a: FeatureNameStatistics, b: FeatureNameStatistics, *, by_weight: bool = False
) -> Difference:
    """``max |a_v / sum(a) - b_v / sum(b)|`` over the labels of the rank histograms, in [0, 1].

    An empty histogram stays empty; two of them (or two numeric features) are at distance 0.
    """
    left, right = rank_counts(a, by_weight=by_weight), rank_counts(b, by_weight=by_weight)
    return _largest(left, right, sum(left.values()), sum(right.values()))


def normalized_absolute_difference(
    a: FeatureNameStatistics, b: FeatureNameStatistics, *, by_weight: bool = False
) -> Difference:
    """``max |a_v - b_v| / (sum(a) + sum(b))`` over the labels: sensitive to volume too."""
    left, right = rank_counts(a, by_weight=by_weight), rank_counts(b, by_weight=by_weight)
    total = sum(left.values()) + sum(right.values())
    return _largest(left, right, total, total)


def jensen_shannon(
    a: FeatureNameStatistics,
    b: FeatureNameStatistics,
    *,
    source: HistogramKind = "STANDARD",
    by_weight: bool = False,
) -> float | None:
    """Jensen-Shannon divergence in base 2, in [0, 1].

    Over the labels, when both have rank histograms; over the histograms of kind ``source``, when
    both have one; otherwise ``None``. Prefer ``"QUANTILES"`` for skewed columns: one far outlier
    puts nearly everything into one bucket of the standard histogram.
    """
    left, right = rank_counts(a, by_weight=by_weight), rank_counts(b, by_weight=by_weight)
    if left and right:
        labels = sorted({*left, *right})
        p = np.array([left.get(label, 0.0) for label in labels])
        q = np.array([right.get(label, 0.0) for label in labels])
        if min(left.values()) <= 0.0 or min(right.values()) <= 0.0:
            return None
        return _divergence(p / p.sum(), q / q.sum())
    first, second = _histogram(a, source, by_weight), _histogram(b, source, by_weight)
    if first is None or second is None:
        return None
    return jensen_shannon_of_histograms(first, second)


def jensen_shannon_of_histograms(a: Histogram, b: Histogram) -> float | None:
    """Jensen-Shannon divergence in base 2 of two histograms, over the union of their edges.

    Mass is spread evenly over a bucket. A bucket of no width is a point mass, matched by its
    place alone. Mass in buckets with an infinite end never matches the other side's. Nor do NaN,
    but TFDV forgets them where the edges differ (metrics.cc, RebucketHistogram), and so do we.
    ``None`` when one of them is empty.

    :raises DataError: when one is a STANDARD and the other a QUANTILES histogram.
    """
    if a.type != b.type:
        raise DataError("a standard and a quantiles histogram cannot be compared")
    left, right = _Parts.of(a), _Parts.of(b)
    edges = np.union1d(left.edges, right.edges)
    points = np.union1d(left.points[0], right.points[0])
    same_edges = np.array_equal(left.edges, right.edges)
    nan_p, nan_q = (float(a.num_nan), float(b.num_nan)) if same_edges else (0.0, 0.0)
    p = np.concatenate([left.spread(edges), left.at(points), [left.infinite, 0.0, nan_p, 0.0]])
    q = np.concatenate([right.spread(edges), right.at(points), [0.0, right.infinite, 0.0, nan_q]])
    if p.sum() == 0.0 or q.sum() == 0.0:
        return None
    return _divergence(p / p.sum(), q / q.sum())


def num_examples_ratio(
    current: DatasetFeatureStatistics, previous: DatasetFeatureStatistics
) -> float | None:
    """Examples in ``current`` per example in ``previous``, by weight where both sides are compared
    by weight; ``None`` when ``previous`` has none."""
    field = "weighted_num_examples" if is_weighted(current) else "num_examples"
    before = float(getattr(previous, field))
    return float(getattr(current, field)) / before if before else None


@dataclass(frozen=True, slots=True)
class _Parts:
    """A histogram taken apart.

    :param low, high, mass: float64 ``(buckets,)``, those with finite ends and some width.
    :param points: places and masses of the buckets without width, places unique and sorted.
    :param infinite: mass of the buckets with an infinite end.
    """

    low: np.ndarray
    high: np.ndarray
    mass: np.ndarray
    points: tuple[np.ndarray, np.ndarray]
    infinite: float

    @classmethod
    def of(cls, histogram: Histogram) -> _Parts:
        table = np.array(
            [(b.low_value, b.high_value, b.sample_count) for b in histogram.buckets], dtype=float
        ).reshape(-1, 3)
        low, high, mass = table.T
        finite = np.isfinite(low) & np.isfinite(high)
        point, wide = finite & (low == high), finite & (low != high)
        places, inverse = np.unique(low[point], return_inverse=True)
        masses = np.bincount(inverse, weights=mass[point], minlength=places.size)
        return cls(low[wide], high[wide], mass[wide], (places, masses), float(mass[~finite].sum()))

    @property
    def edges(self) -> np.ndarray:
        return np.union1d(self.low, self.high)

    def spread(self, edges: np.ndarray) -> np.ndarray:
        """Mass between successive ``edges``, which hold all of :attr:`edges`."""
        result = np.zeros(max(len(edges) - 1, 0))
        first = np.searchsorted(edges, self.low)
        pieces = np.searchsorted(edges, self.high) - first
        bucket = np.repeat(np.arange(len(self.low)), pieces)
        within = np.arange(len(bucket)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        place = first[bucket] + within
        share = (edges[place + 1] - edges[place]) / (self.high - self.low)[bucket]
        np.add.at(result, place, share * self.mass[bucket])
        return result

    def at(self, places: np.ndarray) -> np.ndarray:
        """Point mass at each of ``places``, which hold all of ours."""
        result = np.zeros(len(places))
        result[np.searchsorted(places, self.points[0])] = self.points[1]
        return result


def _histogram(
    feature: FeatureNameStatistics, source: HistogramKind, by_weight: bool
) -> Histogram | None:
    if not feature.HasField("num_stats"):
        return None
    numbers = feature.num_stats
    histograms = numbers.weighted_numeric_stats.histograms if by_weight else numbers.histograms
    wanted = protos().statistics.Histogram.HistogramType.Value(source)
    return next((histogram for histogram in histograms if histogram.type == wanted), None)


def _divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon divergence of shares, base 2; TFDV 1.21 caps what rounding adds at 1."""
    middle = (p + q) / 2.0
    total = 0.0
    for shares in (p, q):
        some = shares > 0.0
        total += float(np.sum(shares[some] * np.log2(shares[some] / middle[some])))
    return min(total / 2.0, 1.0)


def _largest(
    left: dict[str, float], right: dict[str, float], scale_left: float, scale_right: float
) -> Difference:
    best = Difference(0.0, "")
    for label in sorted({*left, *right}, key=str.encode):
        share_left = left.get(label, 0.0) / (scale_left or 1.0)
        share_right = right.get(label, 0.0) / (scale_right or 1.0)
        difference = abs(share_left - share_right)
        if difference >= best.value:
            best = Difference(difference, label)
    return best
