"""The mergeable state of each feature: what a profile holds. All of it is plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from trueup.errors import ProfileError
from trueup.profile.edges import Edges
from trueup.profile.moments import Moments
from trueup.profile.sketches import Atoms, FrequentItems, Hll


@dataclass(frozen=True)
class NumericState:
    """Counts and moments of one numeric quantity against its :class:`NumericEdges`.

    :param counts: int64, shape ``(bins + 2,)``: underflow, the bins, overflow. Finite values only.
    :param raw, clipped: moments of the finite values, as they are and clipped to
        ``[clip_low, clip_high]``.
    :param zeros: how many values are exactly 0.
    :param atoms: frequent exact values, from a deterministic sample.
    """

    counts: np.ndarray
    raw: Moments
    clipped: Moments
    zeros: int
    atoms: Atoms

    @property
    def n(self) -> int:
        return self.raw.n

    def merge(self, other: NumericState) -> NumericState:
        return NumericState(
            self.counts + other.counts,
            self.raw.merge(other.raw),
            self.clipped.merge(other.clipped),
            self.zeros + other.zeros,
            self.atoms.merge(other.atoms),
        )


@dataclass(frozen=True)
class CategoryState:
    """Counts of one categorical quantity against its :class:`CategoryEdges`.

    :param counts: int64, shape ``(len(values),)``.
    :param unseen: values outside the vocabulary.
    :param unseen_items: names the most frequent of them.
    """

    counts: np.ndarray
    unseen: int
    unseen_items: FrequentItems

    @property
    def n(self) -> int:
        return int(self.counts.sum()) + self.unseen

    def merge(self, other: CategoryState) -> CategoryState:
        return CategoryState(
            self.counts + other.counts,
            self.unseen + other.unseen,
            self.unseen_items.merge(other.unseen_items),
        )


@dataclass(frozen=True)
class TextState:
    """Character classes of text: how many values are empty, and how many characters (all values
    together) are letters, digits, whitespace, other ASCII, or beyond ASCII.

    :param classes: int64, shape ``(5,)``: upper-case, lower-case ASCII letters, digits, other
        ASCII, beyond ASCII (counted in bytes).
    """

    empty: int
    classes: np.ndarray

    def merge(self, other: TextState) -> TextState:
        return TextState(self.empty + other.empty, self.classes + other.classes)


@dataclass(frozen=True)
class FeatureState:
    """Everything that a profile keeps of one variable.

    Of ``rows``, ``missing`` are null, absent or a missing encoding of the InputSpec, and
    ``type_errors`` hold a value that is not of the declared type; both count rows. For
    multi-valued variables ``elements`` (and ``element_missing``) count values inside the lists,
    and ``numeric``/``categories`` describe the elements. ``non_finite`` counts values (or
    elements) that are ±inf. ``hours`` is the hour-of-day histogram (UTC), int64 ``(24,)``, of
    variables of kind time, whose ``numeric`` is seconds since 1970.

    :param lengths: list lengths of multi-valued variables, else character lengths of strings.
    """

    rows: int = 0
    missing: int = 0
    type_errors: int = 0
    non_finite: int = 0
    elements: int = 0
    element_missing: int = 0
    numeric: NumericState | None = None
    categories: CategoryState | None = None
    lengths: NumericState | None = None
    text: TextState | None = None
    hours: np.ndarray | None = None
    distinct: Hll = field(default_factory=Hll)

    @property
    def present(self) -> int:
        """Rows with a usable value."""
        return self.rows - self.missing - self.type_errors

    def merge(self, other: FeatureState) -> FeatureState:
        return FeatureState(
            self.rows + other.rows,
            self.missing + other.missing,
            self.type_errors + other.type_errors,
            self.non_finite + other.non_finite,
            self.elements + other.elements,
            self.element_missing + other.element_missing,
            _merge(self.numeric, other.numeric),
            _merge(self.categories, other.categories),
            _merge(self.lengths, other.lengths),
            _merge(self.text, other.text),
            other.hours if self.hours is None
            else self.hours if other.hours is None else self.hours + other.hours,
            self.distinct.merge(other.distinct),
        )  # fmt: skip


@dataclass(frozen=True)
class CoMoments:
    """Sums of products of standardized, clipped values over rows where both are present.

    :param n: int64 ``(k, k)``; ``sums``: float64 ``(k, k)``, ``sum(z_i)`` over rows where i and j
        are present; ``products``: float64 ``(k, k)``, ``sum(z_i * z_j)``; ``squares``: float64
        ``(k, k)``, ``sum(z_i**2)`` over rows where both are present. k = ``len(edges.pairs)``.
    """

    n: np.ndarray
    sums: np.ndarray
    products: np.ndarray
    squares: np.ndarray

    def merge(self, other: CoMoments) -> CoMoments:
        return CoMoments(
            self.n + other.n,
            self.sums + other.sums,
            self.products + other.products,
            self.squares + other.squares,
        )


@dataclass(frozen=True)
class Profile:
    """Mergeable statistics of a set of rows, counted against ``edges``.

    :param rows: number of rows, also those without any usable value.
    :param features: by variable name; exactly the compared variables of ``edges.spec``, plus
        those of role time. A column that the data did not have has ``missing == rows`` and is
        named in ``absent``.
    :param absent: variables of the spec that the data set had no column for.
    :param extra: columns (with their Arrow type) that the data had and the spec does not.
    """

    edges: Edges
    rows: int
    features: dict[str, FeatureState]
    comoments: CoMoments | None = None
    absent: frozenset[str] = frozenset()
    extra: tuple[tuple[str, str], ...] = ()

    def merge(self, other: Profile) -> Profile:
        """The profile of both sets of rows; :class:`ProfileError` unless the edges are equal."""
        if self.edges.edges_id != other.edges.edges_id:
            raise ProfileError(
                f"profiles of edges {self.edges.edges_id} and {other.edges.edges_id} cannot be "
                "merged",
                remedy="profile both data sets against one baseline",
            )
        return Profile(
            self.edges,
            self.rows + other.rows,
            {name: state.merge(other.features[name]) for name, state in self.features.items()},
            _merge(self.comoments, other.comoments),
            _absent(self, other),
            tuple(sorted(set(self.extra) | set(other.extra))),
        )


def _absent(a: Profile, b: Profile) -> frozenset[str]:
    """Absent is what neither side has; no rows do not tell which columns they would have."""
    if bool(a.rows) == bool(b.rows):
        return a.absent & b.absent
    return a.absent if a.rows else b.absent


def _merge(a, b):  # type: ignore[no-untyped-def]
    if a is None:
        return b
    return a if b is None else a.merge(b)
