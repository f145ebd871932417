"""Frozen bins and vocabularies: what every profile that shall be comparable is counted against."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trueup.records.input_spec import InputSpec

MAX_BINS = 256
"""Bins per numeric feature; 64 or fewer are shown."""

MAX_VOCABULARY = 1024
"""Categories that are counted exactly; the rest falls into *unseen* (or *rare*, see below)."""


@dataclass(frozen=True)
class NumericEdges:
    """Bins of one numeric quantity (values, element values, or list and string lengths).

    :param edges: float64, shape ``(bins + 1,)``, strictly increasing, ``1 <= bins <= 256``. Bin i
        is ``[edges[i], edges[i+1])``, the last one closed. They lie at the training quantiles; a
        value that repeats so often that it spans a quantile (an atom) gets the bin
        ``[v, nextafter(v))`` of its own, and up to 255 distinct values get one bin each.
    :param clip_low, clip_high: training quantiles .001 and .999; clipped moments use them.
    :param atoms: the values that have a bin of their own because they repeat.
    """

    edges: np.ndarray
    clip_low: float
    clip_high: float
    atoms: tuple[float, ...] = ()

    @property
    def bins(self) -> int:
        return len(self.edges) - 1


@dataclass(frozen=True)
class CategoryEdges:
    """The vocabulary of one categorical quantity.

    :param values: training's most frequent values, most frequent first; ``str`` for strings and
        numbers (canonical decimal form) and for undecodable bytes (backslash escapes).
    :param complete: whether training had no other values. When it had more than are kept,
        everything outside ``values`` is counted as *unseen* on both sides alike.
    """

    values: tuple[str, ...]
    complete: bool = True


@dataclass(frozen=True)
class FeatureEdges:
    """What one variable is counted against; the parts that its kind does not use are ``None``.

    numeric: ``numeric``. categorical: ``categories``. text: ``lengths`` (characters).
    multi-valued: ``lengths`` (elements per row) besides the part of its element kind.
    All-null in training: all parts are ``None``, and only counts are kept.
    """

    numeric: NumericEdges | None = None
    categories: CategoryEdges | None = None
    lengths: NumericEdges | None = None


@dataclass(frozen=True)
class Edges:
    """The frozen edges of all compared variables of an InputSpec, keyed by variable name.

    :param pairs: variable names whose co-moments are kept, at most 30 names.
    :param centers: mean and sd by name, in training, by which co-moments are standardized.
    """

    spec: InputSpec
    features: dict[str, FeatureEdges]
    pairs: tuple[str, ...] = ()
    centers: dict[str, tuple[float, float]] | None = None

    @cached_property
    def edges_id(self) -> str:
        """Hex SHA-256 (16 digits) over spec, bins and vocabularies; equal content, equal id."""
        digest = hashlib.sha256(self.spec.spec_id.encode())
        for name in sorted(self.features):
            feature = self.features[name]
            digest.update(name.encode() + b"\0")
            for part in (feature.numeric, feature.lengths):
                if part is not None:
                    digest.update(np.ascontiguousarray(part.edges, dtype="<f8").tobytes())
                    digest.update(repr((part.clip_low, part.clip_high)).encode())
                digest.update(b"\1")
            if feature.categories is not None:
                digest.update(repr(feature.categories).encode("utf-8", "backslashreplace"))
        digest.update(repr((self.pairs, self.centers)).encode())
        return digest.hexdigest()[:16]
