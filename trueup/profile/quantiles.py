"""From a sample of training's values to frozen bins."""

from __future__ import annotations

import numpy as np

from trueup.profile.edges import MAX_BINS, NumericEdges

CLIP_SHARE = 0.001
"""Training quantiles .001 and .999 bound the clipped moments (docs/statistics.md, section 1)."""


def numeric_edges(values: np.ndarray, low: float, high: float) -> NumericEdges:
    """Bins at the quantiles of ``values`` that cover ``[low, high]``.

    :param values: ascending, finite float64, shape ``(n,)``, n >= 1: all values, or a sample.
    :param low, high: smallest and largest of all values, whether in the sample or not.

    >>> edges = numeric_edges(np.array([1.0, 1.0, 3.0]), 1.0, 3.0)
    >>> edges.bins, [float(edge) for edge in edges.edges[:2]]
    (2, [1.0, 3.0])
    """
    whole = np.concatenate([[low], values, [high]])
    first = np.flatnonzero(np.append(True, whole[1:] != whole[:-1]))  # sorted: no need of unique()
    distinct, counts = whole[first], np.diff(first, append=whole.size)
    counts[0] -= 1
    counts[-1] -= 1
    if distinct.size < MAX_BINS:
        edges = np.append(distinct, np.nextafter(distinct[-1], np.inf))
        atoms = distinct[counts > 1]
    else:
        atoms = distinct[counts * MAX_BINS >= values.size]
        edges = _quantile_edges(values, low, high, atoms)
    clip_low, clip_high = np.quantile(values, [CLIP_SHARE, 1.0 - CLIP_SHARE], method="inverted_cdf")
    if clip_low == clip_high:  # nearly constant: what varies is all beyond the clip quantiles
        clip_low, clip_high = low, high
    return NumericEdges(edges, float(clip_low), float(clip_high), tuple(atoms.tolist()))


def _quantile_edges(values: np.ndarray, low: float, high: float, atoms: np.ndarray) -> np.ndarray:
    after_atoms = np.nextafter(atoms, np.inf)
    quantiles = MAX_BINS
    while True:
        positions = np.arange(1, quantiles) * values.size // quantiles
        inner = np.concatenate([values[positions], atoms, after_atoms, [low, high]])
        edges = np.unique(inner)
        if edges.size <= MAX_BINS + 1:
            return edges
        quantiles -= edges.size - MAX_BINS - 1
