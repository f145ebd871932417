"""The kernel for numbers: bins, raw and clipped moments, zeros, atoms, distinct values."""

from __future__ import annotations

import numpy as np

from trueup.profile.binning import CHUNK, Binner
from trueup.profile.distinct import HllBuilder
from trueup.profile.edges import NumericEdges
from trueup.profile.hashing import hash_numbers
from trueup.profile.lattice import LatticeCounter
from trueup.profile.moments import Moments
from trueup.profile.sketches import Atoms
from trueup.profile.states import NumericState

_ATOM_STRIDE = 37  # prime and no period of a calendar, so that cycles in the rows do not alias
_ATOMS_ALL = 1 << 13  # values that are looked at one by one before sampling begins
_ATOM_LEAST_SEEN = 3  # times, in the sample: once or twice is chance, however many it stands for
_ATOM_BUFFER = 1 << 16
_ATOM_POOL = 1 << 12  # distinct values kept while more are collected


class NumericBuilder:
    """A :class:`NumericState` under construction.

    :param distinct: where the values' hashes go; None where distinct values are not asked for.
    """

    def __init__(self, edges: NumericEdges, distinct: HllBuilder | None) -> None:
        self._edges = edges
        self._distinct = distinct
        self._binner = Binner(edges)
        self._lattice = LatticeCounter()
        self._counts = np.zeros(self._binner.size, np.int64)
        self._raw = self._clipped = Moments()
        self._zeros = 0
        self._atoms = _AtomSampler()

    def add(self, values: np.ndarray) -> None:
        """Count finite ``values``, shape ``(n,)``, integers or float64."""
        for start in range(0, values.size, CHUNK):
            rest = self._lattice.take(values[start : start + CHUNK])
            if rest.size:
                self._add_chunk(np.ascontiguousarray(rest, np.float64))

    def add_counted(self, values: np.ndarray, weights: np.ndarray) -> None:
        """Count distinct finite float64 ``values``, each ``weights`` (> 0) times."""
        if not values.size:
            return
        np.add.at(self._counts, self._binner.search(values), weights)
        clipped = np.clip(values, self._edges.clip_low, self._edges.clip_high)
        self._raw = self._raw.merge(Moments.weighted(values, weights))
        self._clipped = self._clipped.merge(Moments.weighted(clipped, weights))
        self._zeros += int(weights[values == 0.0].sum())
        self._atoms.add_counted(values, weights)
        if self._distinct is not None:
            self._distinct.add(hash_numbers(values))

    def state(self) -> NumericState:
        """What was counted; the builder is used up."""
        self.add_counted(*self._lattice.counted())
        return NumericState(
            self._counts, self._raw, self._clipped, self._zeros, self._atoms.atoms()
        )

    def _add_chunk(self, values: np.ndarray) -> None:
        low, high = float(values.min()), float(values.max())
        self._add_moments(values, low, high)
        self._counts += self._binner.count(values)
        if low <= 0.0 <= high:
            self._zeros += int(np.count_nonzero(values == 0.0))
        self._atoms.add(values)
        if self._distinct is not None:
            self._distinct.add(hash_numbers(values))

    def _add_moments(self, values: np.ndarray, low: float, high: float) -> None:
        """Raw and clipped moments by one sweep: both are those of the values inside the clip
        range, merged with the few outside as they are, or with the clip bounds instead."""
        clip_low, clip_high = self._edges.clip_low, self._edges.clip_high
        outside = np.zeros(0, np.intp)
        guess = values[0]
        if low < clip_low or high > clip_high:
            is_outside = (values < clip_low) | (values > clip_high)
            outside = np.flatnonzero(is_outside)
            guess = values[int(np.argmin(is_outside))]
        bounds = (max(low, clip_low), min(high, clip_high))
        inside = _moments_without(values, outside, guess, bounds)
        self._raw = self._raw.merge(inside)
        self._clipped = self._clipped.merge(inside)
        if outside.size:
            beyond = values[outside]
            below = int(np.count_nonzero(beyond < clip_low))
            self._raw = self._raw.merge(Moments.of(beyond))
            self._clipped = self._clipped.merge(Moments.constant(clip_low, below)).merge(
                Moments.constant(clip_high, beyond.size - below)
            )


def _moments_without(
    values: np.ndarray, outside: np.ndarray, guess: float, bounds: tuple[float, float]
) -> Moments:
    """Moments of ``values`` but those at ``outside``, in two passes around ``guess``, which is
    one of the values that count, so that no precision is lost however far they are from 0."""
    n = values.size - outside.size
    if not n:
        return Moments()
    with np.errstate(over="ignore", invalid="ignore"):
        d = values - guess
        d[outside] = 0.0
        shift = float(d.sum()) / n
        if not np.isfinite(shift):
            return Moments.of(np.delete(values, outside))
        d -= shift
        d[outside] = 0.0
        d2 = d * d
        m2 = float(d2.sum())
        m3 = float(np.einsum("i,i->", d2, d))
        m4 = float(np.einsum("i,i->", d2, d2))
    return Moments(n, float(guess), m2, m3, m4, *bounds).shifted(shift)


class _AtomSampler:
    """Exact values of a deterministic sample, with the number of values each stands for."""

    def __init__(self) -> None:
        self._seen = 0
        self._error = 0
        self._pieces: list[tuple[np.ndarray, np.ndarray]] = []
        self._buffered = 0

    def add(self, values: np.ndarray) -> None:
        head = values[: max(_ATOMS_ALL - self._seen, 0)]
        tail = values[head.size :: _ATOM_STRIDE]
        if head.size:
            self._push(head.copy(), np.ones(head.size, np.int64))
        if tail.size:
            weights = np.full(tail.size, _ATOM_STRIDE, np.int64)
            weights[-1] = values.size - head.size - _ATOM_STRIDE * (tail.size - 1)
            self._push(tail.copy(), weights)
        self._seen += values.size

    def add_counted(self, values: np.ndarray, weights: np.ndarray) -> None:
        self._push(values, weights)
        self._seen += int(weights.sum())

    def atoms(self) -> Atoms:
        self._compress(None)
        values, weights = self._pieces[0] if self._pieces else (np.zeros(0), np.zeros(0, np.int64))
        sampled = self._seen > _ATOMS_ALL
        least = _ATOM_LEAST_SEEN * _ATOM_STRIDE if sampled else 0
        return Atoms.of(values, weights, self._seen, self._error, least)

    def _push(self, values: np.ndarray, weights: np.ndarray) -> None:
        self._pieces.append((values, weights))
        self._buffered += values.size
        if self._buffered > _ATOM_BUFFER:
            self._compress(_ATOM_POOL)

    def _compress(self, keep: int | None) -> None:
        if not self._pieces:
            return
        values = np.concatenate([values for values, _ in self._pieces]) + 0.0  # -0.0 is 0.0
        weights = np.concatenate([weights for _, weights in self._pieces])
        distinct, inverse = np.unique(values, return_inverse=True)
        totals = np.zeros(distinct.size, np.int64)
        np.add.at(totals, inverse.ravel(), weights)
        if keep is not None and distinct.size > keep:
            order = np.lexsort((distinct, -totals))
            self._error += int(totals[order[keep]])
            kept = np.sort(order[:keep])
            distinct, totals = distinct[kept], totals[kept]
        self._pieces = [(distinct, totals)]
        self._buffered = distinct.size
