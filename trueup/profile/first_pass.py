"""The baseline's first pass: bins, clip bounds, vocabularies and pairs from training data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from trueup.profile import cast
from trueup.profile.arrow import is_list
from trueup.profile.build import profiled, sized
from trueup.profile.edges import Edges, FeatureEdges, NumericEdges
from trueup.profile.lists import as_scalars, list_lengths
from trueup.profile.moments import Moments
from trueup.profile.quantiles import numeric_edges
from trueup.profile.sampling import ValueSample, priorities
from trueup.profile.text import text_lengths
from trueup.profile.vocabulary import VocabularyCounter
from trueup.records.input_spec import InputSpec, Kind, Variable

MAX_PAIRED = 30
"""Numeric variables whose pairs are followed, 435 pairs."""

_SAMPLE_LARGEST, _SAMPLE_SMALLEST = 1 << 16, 1 << 12
_SAMPLE_BUDGET = 1 << 24  # values of all columns together: 270 MB with their priorities at most


Limits = dict[str, tuple["np.uint64 | None", "np.uint64 | None"]]
"""By variable: from which priority on its numbers, and its lengths, cannot be in the samples."""


def first_pass(
    batches: Iterable[pa.RecordBatch], spec: InputSpec, part: int = 0, limits: Limits | None = None
) -> FirstPass:
    """What all rows of ``batches`` say about the edges.

    :param part: number of this part of the data set; parts are sampled independently.
    :param limits: of the result that this one is to be included in.
    """
    found = FirstPass.empty(spec, part, limits)
    for batch in sized(batches):
        found.add(batch)
    return found


def edges_of(batches: Iterable[pa.RecordBatch], spec: InputSpec) -> Edges:
    """Frozen edges from all rows of ``batches`` (training data)."""
    return first_pass(batches, spec).edges()


@dataclass
class _Range:
    """Numbers of one quantity: their extremes, and a sample."""

    sample: ValueSample
    low: float = math.inf
    high: float = -math.inf
    n: int = 0

    def add(self, values: np.ndarray, order: np.ndarray) -> None:
        if values.size:
            self.low = min(self.low, float(values.min()))
            self.high = max(self.high, float(values.max()))
            self.n += values.size
            self.sample.add(values, order)

    def include(self, other: _Range) -> None:
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.n += other.n
        self.sample.include(other.sample)

    def edges(self) -> NumericEdges | None:
        return numeric_edges(self.sample.values(), self.low, self.high) if self.n else None


@dataclass
class _Summary:
    """One variable."""

    variable: Variable
    numbers: _Range
    lengths: _Range
    vocabulary: VocabularyCounter = field(default_factory=VocabularyCounter)
    elements: int = 0

    def include(self, other: _Summary) -> None:
        self.numbers.include(other.numbers)
        self.lengths.include(other.lengths)
        self.vocabulary.include(other.vocabulary)

    def add(self, array: pa.Array, order: np.ndarray, part: int) -> None:
        """Count ``array``, whose rows have the sampling priorities ``order``."""
        if pa.types.is_null(array.type):
            return
        variable = self.variable
        if variable.multi_valued:
            if is_list(array.type):
                lengths, array = list_lengths(array)
            else:
                array = array.drop_null()
                lengths = np.ones(len(array), np.int64)
            self.lengths.add(lengths, order[: lengths.size])
            order = priorities(self.elements, len(array), part)
            self.elements += len(array)
        elif is_list(array.type):
            array, _ = as_scalars(array)
        if variable.kind is Kind.CATEGORICAL:
            found = cast.labels(array, variable)
            self.vocabulary.add(found.values, found.counts)
            if not variable.multi_valued:
                lengths = np.repeat(found.lengths, found.counts)
                self.lengths.add(lengths, order[: lengths.size])
        elif variable.kind is Kind.TEXT:
            if not variable.multi_valued:
                lengths = text_lengths(cast.texts(array, variable).values, variable)
                self.lengths.add(lengths, order[: lengths.size])
        else:
            numbers = cast.numbers(array, variable)
            self.numbers.add(numbers.values, order if numbers.at is None else order[numbers.at])

    def edges(self) -> FeatureEdges:
        return FeatureEdges(self.numbers.edges(), self.vocabulary.edges(), self.lengths.edges())

    def center(self, edges: NumericEdges) -> tuple[float, float]:
        """Mean and sd of the clipped values."""
        values = self.numbers.sample.unsorted()
        moments = Moments.of(np.clip(values, edges.clip_low, edges.clip_high))
        return moments.mean, moments.sd


@dataclass
class FirstPass:
    """Mergeable result of the first pass over a part of the training data."""

    spec: InputSpec
    part: int
    summaries: dict[str, _Summary]
    rows: int = 0

    @classmethod
    def empty(cls, spec: InputSpec, part: int = 0, limits: Limits | None = None) -> FirstPass:
        variables = profiled(spec)
        size = _SAMPLE_BUDGET // max(len(variables), 1)
        size = min(max(size, _SAMPLE_SMALLEST), _SAMPLE_LARGEST)
        summaries = {}
        for variable in variables:
            numbers, lengths = (limits or {}).get(variable.name, (None, None))
            summaries[variable.name] = _Summary(
                variable, _Range(ValueSample(size, numbers)), _Range(ValueSample(size, lengths))
            )
        return cls(spec, part, summaries)

    def add(self, batch: pa.RecordBatch) -> None:
        order = priorities(self.rows, batch.num_rows, self.part)
        self.rows += batch.num_rows
        index = {name: i for i, name in enumerate(batch.schema.names)}
        for name, summary in self.summaries.items():
            if name in index:
                summary.add(batch.column(index[name]), order, self.part)

    def include(self, other: FirstPass) -> None:
        """Make this the result of both parts, which must have different numbers. In place, for
        copies of hundreds of columns' samples would be most of the memory that is needed."""
        for name, summary in self.summaries.items():
            summary.include(other.summaries[name])
        self.rows += other.rows

    def limits(self) -> Limits:
        """What parts that are still to be included need not send; the result is the same."""
        return {
            name: (summary.numbers.sample.limit(), summary.lengths.sample.limit())
            for name, summary in self.summaries.items()
        }

    def edges(self) -> Edges:
        """The frozen edges."""
        features = {name: summary.edges() for name, summary in self.summaries.items()}
        pairs, centers = self._pairs(features)
        return Edges(self.spec, features, pairs, centers)

    def _pairs(
        self, features: dict[str, FeatureEdges]
    ) -> tuple[tuple[str, ...], dict[str, tuple[float, float]]]:
        """The scalar numeric variables with most values that vary, in the order of the spec.
        Which matter most is not known before a model is; a baseline with importances has its
        own."""
        candidates = [
            name
            for name, summary in self.summaries.items()
            if summary.variable.kind is Kind.NUMERIC
            and not summary.variable.multi_valued
            and features[name].numeric is not None
        ]
        candidates.sort(key=lambda name: -self.summaries[name].numbers.n)  # stable
        centers: dict[str, tuple[float, float]] = {}
        for name in candidates:
            numeric = features[name].numeric
            assert numeric is not None
            mean, sd = self.summaries[name].center(numeric)
            if 0.0 < sd < math.inf and 1.0 / sd < math.inf:
                centers[name] = (mean, sd)
            if len(centers) == MAX_PAIRED:
                break
        pairs = tuple(name for name in self.summaries if name in centers)
        return pairs, {name: centers[name] for name in pairs}
