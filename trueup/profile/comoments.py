"""Sums of products of standardized values, by matrix products over a batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trueup.profile.cast import Numbers
from trueup.profile.edges import Edges
from trueup.profile.states import CoMoments


class CoMomentBuilder:
    """:class:`CoMoments` of the pairs of ``edges`` under construction."""

    def __init__(self, edges: Edges) -> None:
        self.names = edges.pairs
        centers = edges.centers or {}
        self._scales = []
        for name in edges.pairs:
            numeric = edges.features[name].numeric
            assert numeric is not None
            mean, sd = centers[name]
            self._scales.append((numeric.clip_low, numeric.clip_high, mean, 1.0 / sd))
        shape = (len(edges.pairs), len(edges.pairs))
        self._sum = CoMoments(
            np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape), np.zeros(shape)
        )

    def add(self, rows: int, numbers: Mapping[str, Numbers]) -> None:
        """Count ``rows`` rows; a variable that is not in ``numbers`` is missing in all of them."""
        if not rows or not self.names:
            return
        z = np.zeros((len(self.names), rows))
        incomplete, present = [], []
        for i, name in enumerate(self.names):
            column = numbers.get(name)
            at = np.zeros(rows, bool) if column is None else column.at
            if column is not None:
                self._standardize(i, column, z[i])
            if at is not None:
                incomplete.append(i)
                present.append(at)
        self._sum = self._sum.merge(_sums(z, incomplete, present))

    def _standardize(self, i: int, column: Numbers, out: np.ndarray) -> None:
        low, high, mean, per_sd = self._scales[i]
        z = np.maximum(column.values, low)
        np.minimum(z, high, out=z)
        z -= mean
        z *= per_sd
        if column.at is None:
            out[:] = z
        else:
            out[column.at] = z

    def comoments(self) -> CoMoments | None:
        """None where fewer than two variables are paired."""
        return self._sum if len(self.names) > 1 else None


def _sums(z: np.ndarray, incomplete: list[int], present: list[np.ndarray]) -> CoMoments:
    """Sums over the columns of ``z`` (variables × rows, 0 where missing). Only variables with
    missing rows need the products with a mask; of the others a plain sum says the same."""
    k, rows = z.shape
    squares_of_z = z * z
    n = np.full((k, k), rows, np.int64)
    sums = np.repeat(z.sum(axis=1)[:, None], k, axis=1)
    squares = np.repeat(squares_of_z.sum(axis=1)[:, None], k, axis=1)
    if incomplete:
        mask = np.array(present, np.float64)
        n[:, incomplete] = mask.sum(axis=1).astype(np.int64)
        n[incomplete, :] = n[:, incomplete].T
        n[np.ix_(incomplete, incomplete)] = np.rint(mask @ mask.T).astype(np.int64)
        sums[:, incomplete] = z @ mask.T
        squares[:, incomplete] = squares_of_z @ mask.T
    return CoMoments(n, sums, z @ z.T, squares)
