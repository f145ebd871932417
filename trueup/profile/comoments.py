"""Sums of products of standardized values, by matrix products over a batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trueup.profile.cast import Numbers
from trueup.profile.edges import Edges
from trueup.profile.states import CoMoments

_BLOCK = 1 << 12
"""Rows whose products are summed at once: 30 variables and their squares are 2 MB."""

_ABSENT = np.zeros(0)


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
        columns, incomplete, present = [], [], []
        for i, name in enumerate(self.names):
            column = numbers.get(name)
            at = np.zeros(rows, bool) if column is None else column.at
            columns.append(_Column(_ABSENT if column is None else column.values, at))
            if at is not None:
                incomplete.append(i)
                present.append(at)
        sums = _Sums(len(columns), len(incomplete))
        for start in range(0, rows, _BLOCK):
            stop = min(start + _BLOCK, rows)
            z = np.zeros((len(columns), stop - start))
            for taken, scale, out in zip(columns, self._scales, z, strict=True):
                taken.standardize(start, stop, scale, out)
            sums.add(z, np.array([at[start:stop] for at in present], np.float64))
        self._sum = self._sum.merge(sums.comoments(rows, incomplete))

    def comoments(self) -> CoMoments | None:
        """None where fewer than two variables are paired."""
        return self._sum if len(self.names) > 1 else None


class _Column:
    """The values of one variable, taken in blocks of rows from the first row on."""

    def __init__(self, values: np.ndarray, at: np.ndarray | None) -> None:
        self._values, self._at = values, at
        self._taken = 0

    def standardize(
        self, start: int, stop: int, scale: tuple[float, float, float, float], out: np.ndarray
    ) -> None:
        """Write the clipped, standardized values of rows ``start`` to ``stop`` into ``out``, which
        is 0 and stays so where values are missing."""
        at = None if self._at is None else self._at[start:stop]
        size = stop - start if at is None else int(np.count_nonzero(at))
        values = self._values[self._taken : self._taken + size]
        self._taken += size
        low, high, mean, per_sd = scale
        z = np.maximum(values, low, out=out if at is None else np.empty(size))
        np.minimum(z, high, out=z)
        z -= mean
        z *= per_sd
        if at is not None:
            out[at] = z


class _Sums:
    """Sums over rows of standardized values. Only variables with missing rows need the products
    with a mask; of the others a plain sum says the same."""

    def __init__(self, variables: int, incomplete: int) -> None:
        shape = (variables, incomplete)
        self._products = np.zeros((variables, variables))
        self._sum, self._squares = np.zeros(variables), np.zeros(variables)
        self._masked_sums, self._masked_squares = np.zeros(shape), np.zeros(shape)
        self._both = np.zeros((incomplete, incomplete))

    def add(self, z: np.ndarray, mask: np.ndarray) -> None:
        """:param z: variables × rows, 0 where missing. :param mask: incomplete variables × rows, 1
        where present."""
        squares = z * z
        self._products += z @ z.T
        self._sum += z.sum(axis=1)
        self._squares += squares.sum(axis=1)
        if len(mask):
            self._both += mask @ mask.T
            self._masked_sums += z @ mask.T
            self._masked_squares += squares @ mask.T

    def comoments(self, rows: int, incomplete: list[int]) -> CoMoments:
        k = self._sum.size
        n = np.full((k, k), rows, np.int64)
        sums = np.repeat(self._sum[:, None], k, axis=1)
        squares = np.repeat(self._squares[:, None], k, axis=1)
        if incomplete:
            both = np.rint(self._both).astype(np.int64)
            n[:, incomplete] = np.diagonal(both)
            n[incomplete, :] = n[:, incomplete].T
            n[np.ix_(incomplete, incomplete)] = both
            sums[:, incomplete] = self._masked_sums
            squares[:, incomplete] = self._masked_squares
        return CoMoments(n, sums, self._products, squares)
