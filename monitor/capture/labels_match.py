"""Finding equal references among millions: one side is held, sorted by hash; the other streams by.

Either side may be labels or captured rows. Nothing but the held side's references, their hashes and
one batch of the other side is in memory.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.profile.hashing import hash_strings


class Held:
    """References to look up, with duplicates as they are.

    :param refs: Arrow strings, shape ``(n,)``; null ones match nothing.
    """

    def __init__(self, refs: pa.Array) -> None:
        self._at = _present(refs)
        self._refs = _taken(refs, self._at)
        hashes = hash_strings(self._refs)
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._order = order

    def __len__(self) -> int:
        return len(self._at)

    def pairs(self, refs: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Every pair of a held and a given reference that are equal.

        :returns: indices into the held and into the given array, int64, both of shape ``(k,)``;
            ordered by the given one.

        >>> held = Held(pa.array(["a", "b", "a"]))
        >>> [part.tolist() for part in held.pairs(pa.array(["b", "c", "a"]))]
        [[1, 0, 2], [0, 2, 2]]
        """
        at = _present(refs)
        if not len(self._at) or not len(at):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        given = _taken(refs, at)
        hashes = hash_strings(given)
        first = np.searchsorted(self._hashes, hashes, side="left")
        last = np.searchsorted(self._hashes, hashes, side="right")
        counts = last - first
        theirs = np.repeat(np.arange(len(at)), counts)
        if not len(theirs):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        within = np.arange(len(theirs)) - np.repeat(np.cumsum(counts) - counts, counts)
        ours = self._order[np.repeat(first, counts) + within]
        equal = np.asarray(pc.equal(self._refs.take(pa.array(ours)), given.take(pa.array(theirs))))
        return self._at[ours[equal]], at[theirs[equal]]


def _present(refs: pa.Array) -> np.ndarray:
    if not refs.null_count:
        return np.arange(len(refs))
    return np.flatnonzero(np.asarray(refs.is_valid()))


def _taken(refs: pa.Array, at: np.ndarray) -> pa.Array:
    return refs if len(at) == len(refs) else refs.take(pa.array(at))
