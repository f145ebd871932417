"""What is shown of a feature: numbers of both sides, histogram, categories."""

from __future__ import annotations

import math

import numpy as np

from trueup.monitor.measured import FeaturePair
from trueup.profile.edges import NumericEdges
from trueup.profile.states import CategoryState, FeatureState, NumericState
from trueup.records.report import CategoryShare, Histogram, SideSummary

SHOWN_BINS = 64
SHOWN_ATOMS = 10
ATOM_SHARE = 0.01
SHOWN_CATEGORIES = 20
SHOWN_NEW_CATEGORIES = 10
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def side_summary(state: FeatureState, edges: NumericEdges | None) -> SideSummary:
    """The numbers of one side; moments are those of the raw finite values."""
    numeric = state.numeric
    values: dict[str, float] = {}
    if numeric is not None and numeric.n:
        values = {
            "mean": numeric.raw.mean, "sd": numeric.raw.sd,
            "minimum": numeric.raw.minimum, "maximum": numeric.raw.maximum,
        }  # fmt: skip
    lengths = state.lengths
    return SideSummary(
        rows=state.rows,
        missing=state.missing,
        type_errors=state.type_errors,
        non_finite=state.non_finite,
        **{name: value for name, value in values.items() if math.isfinite(value)},
        quantiles=quantiles(numeric, edges) if numeric is not None and edges is not None else {},
        distinct=float(state.distinct.estimate()) if state.present else None,
        zeros=numeric.zeros if numeric is not None else None,
        mean_length=lengths.raw.mean if lengths is not None and lengths.n else None,
    )


def quantiles(state: NumericState, edges: NumericEdges) -> dict[str, float]:
    """Quantiles by straight lines inside bins, keyed ``"0.05"`` to ``"0.95"``; exact for values
    that have a bin of their own. Under- and overflow run to the observed extremes."""
    if not state.n:
        return {}
    low = min(state.raw.minimum, float(edges.edges[0]))
    high = max(state.raw.maximum, float(edges.edges[-1]))
    points = np.concatenate(([low], edges.edges, [high]))
    below = np.concatenate(([0.0], np.cumsum(state.counts) / state.n))
    result = {}
    for q in QUANTILES:
        place = int(np.searchsorted(below, q, side="left"))
        place = min(max(place, 1), len(points) - 1)
        mass = below[place] - below[place - 1]
        part = (q - below[place - 1]) / mass if mass > 0 else 1.0
        value = points[place - 1] + part * (points[place] - points[place - 1])
        if float(points[place - 1]) in edges.atoms:
            value = points[place - 1]
        result[str(q)] = float(min(max(value, state.raw.minimum), state.raw.maximum))
    return result


def histogram(pair: FeaturePair) -> Histogram | None:
    """At most 64 bins over all values of both sides, joined from the frozen ones.

    Where there are more frozen bins, those edges are kept that lie nearest to a grid of equal
    widths over the clipped range, and one bin takes each tail. What lies beyond training's range
    stays in bins of its own: how it lies there is not known.
    """
    before, after, edges = pair.training.numeric, pair.serving.numeric, pair.edges.numeric
    if before is None or after is None or edges is None or not before.n + after.n:
        return None
    points, training, serving = edges.edges, before.counts[1:-1], after.counts[1:-1]
    low = min(before.raw.minimum, after.raw.minimum)
    high = max(before.raw.maximum, after.raw.maximum)
    if before.counts[0] + after.counts[0]:
        points = np.concatenate(([low], points))
        training = np.concatenate((before.counts[:1], training))
        serving = np.concatenate((after.counts[:1], serving))
    if before.counts[-1] + after.counts[-1]:
        points = np.concatenate((points, [high]))
        training = np.concatenate((training, before.counts[-1:]))
        serving = np.concatenate((serving, after.counts[-1:]))
    kept = _kept_edges(points, edges, training + serving)
    return Histogram(
        edges=tuple(points[kept].tolist()),
        training=tuple(np.add.reduceat(training, kept[:-1]).tolist()),
        serving=tuple(np.add.reduceat(serving, kept[:-1]).tolist()),
    )


def _kept_edges(points: np.ndarray, edges: NumericEdges, counts: np.ndarray) -> np.ndarray:
    """Indices of the edges that are shown; the heaviest atoms keep both of theirs."""
    last = len(points) - 1
    if last <= SHOWN_BINS:
        return np.arange(last + 1)
    atoms = np.flatnonzero(
        np.isin(points[:-1], edges.atoms) & (counts >= ATOM_SHARE * counts.sum())
    )
    atoms = atoms[np.argsort(-counts[atoms], kind="stable")][:SHOWN_ATOMS]
    grid = np.linspace(edges.clip_low, edges.clip_high, SHOWN_BINS - 3 - 2 * len(atoms))
    right = np.clip(np.searchsorted(points, grid), 1, last)
    nearer_left = grid - points[right - 1] <= points[right] - grid
    inner = np.where(nearer_left, right - 1, right)
    ends = np.flatnonzero(np.isin(points, (edges.edges[0], edges.edges[-1])))
    return np.unique(np.concatenate(([0], ends, inner, atoms, atoms + 1, [last])))


def categories(pair: FeaturePair) -> tuple[tuple[CategoryShare, ...], tuple[int, int]]:
    """The most frequent categories of both sides together, the most frequent new ones, and the
    counts of all others in training and serving. Counts of new ones are lower bounds."""
    before, after, edges = pair.training.categories, pair.serving.categories, pair.edges.categories
    if before is None or after is None or edges is None:
        return (), (0, 0)
    weight = before.counts / max(before.n, 1) + after.counts / max(after.n, 1)
    top = np.argsort(-weight, kind="stable")[:SHOWN_CATEGORIES]
    shown = [
        CategoryShare(value=edges.values[i], training=int(before.counts[i]),
                      serving=int(after.counts[i]))
        for i in top
    ]  # fmt: skip
    shown += [
        CategoryShare(value=value, training=before.unseen_items.items.get(value, 0),
                      serving=count, new=edges.complete)
        for value, count in _most_frequent(after, SHOWN_NEW_CATEGORIES)
    ]  # fmt: skip
    rest0 = before.n - sum(category.training for category in shown)
    rest = after.n - sum(category.serving for category in shown)
    return tuple(shown), (max(0, rest0), max(0, rest))


def _most_frequent(state: CategoryState, limit: int) -> list[tuple[str, int]]:
    items = state.unseen_items.items.items()
    return sorted(items, key=lambda item: (-item[1], item[0]))[:limit]
