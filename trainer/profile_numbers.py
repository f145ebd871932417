"""Constants of the graph from what a profile counted: quantiles, skewness, distinct values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trueup.profile.edges import NumericEdges
from trueup.profile.states import NumericState

_MOST_DISTINCT = 128
"""With fewer bins than that each bin is one value (the profile has one each for up to 255)."""


@dataclass(frozen=True)
class Shape:
    """Mean, standard deviation and skewness of numbers."""

    mean: float
    sd: float
    skewness: float


def signed_log(values: np.ndarray) -> np.ndarray:
    """``sign(x) log1p(|x|)``.

    >>> signed_log(np.array([0.0, -1.0])).round(3).tolist()
    [0.0, -0.693]
    """
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))


def clipped_shape(state: NumericState) -> Shape:
    """Of the values, clipped to training's quantiles .001 and .999."""
    moments = state.clipped
    if moments.n < 2 or not 0.0 < moments.m2 < np.inf:
        return Shape(moments.mean, 0.0, 0.0)
    skewness = (moments.m3 / moments.n) / (moments.m2 / moments.n) ** 1.5
    return Shape(moments.mean, moments.sd, skewness if np.isfinite(skewness) else 0.0)


def log_shape(state: NumericState, edges: NumericEdges) -> Shape:
    """Of :func:`signed_log` of the clipped values, from the counts of up to 256 bins, each at the
    middle of its transformed ends: scaling needs no more."""
    ends = signed_log(np.clip(edges.edges, edges.clip_low, edges.clip_high))
    places = np.concatenate([ends[:1], (ends[:-1] + ends[1:]) / 2, ends[-1:]])
    n = float(state.counts.sum())
    if not n:
        return Shape(0.0, 0.0, 0.0)
    share = state.counts / n
    mean = float((share * places).sum())
    away = places - mean
    variance = float((share * away**2).sum())
    if variance <= 0.0:
        return Shape(mean, 0.0, 0.0)
    return Shape(mean, variance**0.5, float((share * away**3).sum()) / variance**1.5)


def quantile_boundaries(state: NumericState, edges: NumericEdges, buckets: int) -> list[float]:
    """Up to ``buckets - 1`` ascending edges of the profile between which there are about equally
    many values; fewer where values repeat."""
    if edges.bins < 2:
        return []
    below = state.counts[0] + np.cumsum(state.counts[1:-2])  # of edges[1:-1]
    wanted = np.arange(1, buckets) * (state.counts.sum() / buckets)
    chosen = np.unique(np.minimum(np.searchsorted(below, wanted), below.size - 1))
    return [float(edge) for edge in edges.edges[1:-1][chosen]]


def distinct_values(edges: NumericEdges) -> np.ndarray | None:
    """All values of training, ascending, where they are few; else ``None``."""
    values = edges.edges[:-1]
    beyond = np.nextafter(values, np.inf)
    if edges.bins > _MOST_DISTINCT or edges.edges[-1] != beyond[-1]:
        return None
    return None if bool((beyond[:-1] == values[1:]).any()) else values


def share_above(state: NumericState, edges: NumericEdges, threshold: float) -> float:
    """Share of the values above ``threshold``; within a bin they are taken as evenly spread."""
    n = state.counts.sum()
    if not n:
        return 0.0
    above = float(state.counts[-1])
    low, high = edges.edges[:-1], edges.edges[1:]
    with np.errstate(over="ignore"):  # bins of one value are as narrow as numbers can be
        part = np.clip((high - threshold) / (high - low), 0.0, 1.0)
    part[low > threshold] = 1.0
    one_value = np.nextafter(low, np.inf) == high
    if distinct_values(edges) is not None:
        one_value[:] = True
    part[one_value] = low[one_value] > threshold
    above += float((state.counts[1:-1] * part).sum())
    return above / float(n)
