"""One feature's statistics as variable, edges and state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from trueup.profile.canonical import spell
from trueup.profile.edges import MAX_VOCABULARY, CategoryEdges, FeatureEdges, NumericEdges
from trueup.profile.hashing import hash_strings
from trueup.profile.sketches import FrequentItems, Hll
from trueup.profile.states import CategoryState, FeatureState, NumericState
from trueup.records.input_spec import Dtype, Kind, Role, Variable
from trueup.tfdv.numbers_in import read_lengths, read_numbers
from trueup.tfdv.protos import protos
from trueup.tfdv.statistics import (
    BINS,
    BOOL_DOMAIN,
    DISTINCT,
    DOMAIN_INFO,
    NON_FINITE,
    ROLE,
    TIME_DOMAIN,
    TYPE_ERRORS,
)

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.statistics_pb2 import (
        CommonStatistics,
        FeatureNameStatistics,
    )

#: TFDV's stand-in for values that are not UTF-8 (constants.NON_UTF8_PLACEHOLDER).
NOT_UTF8 = "__BYTES_VALUE__"

#: Of more distinct values the estimate stops growing; it is shown, and nothing is tested on it.
MOST_STAND_INS = 1 << 20

TEN_BINS = (
    "bins are the buckets of TFDV's quantile histogram; their shares are off by up to 1 % of rows"
)
NO_BINS = "has no histogram, so only mean, variance and missing values are compared"
FOURTH = (
    "skewness and fourth moment are not known; an upper bound from the histogram stands for the "
    "latter, so a change of variance needs more evidence, and a change of unit is not told from "
    "one of size"
)
SPREAD = "holds ±inf, so mean and variance are estimated from the histogram"
CUT = "only the most frequent values are known; all others count as unseen on both sides"
TEXT = "no values are known, so only missing values are compared"
PLACEHOLDER = f"values that are not UTF-8 are all called {NOT_UTF8}"
LIST_SPREAD = "the spread of list lengths is estimated from their histogram"


class ReadFeature(NamedTuple):
    """A feature with what is to be said about it.

    :param unique: how many different values it has; ``None`` where the statistics do not say.
    :param decided: whether the variable's role is known, of the schema or from statistics of ours.
    """

    variable: Variable
    edges: FeatureEdges
    state: FeatureState
    facts: tuple[str, ...]
    unique: int | None = None
    decided: bool = False


class _Content(NamedTuple):
    """What a feature's values are, without how many rows have any."""

    edges: FeatureEdges
    numeric: NumericState | None = None
    categories: CategoryState | None = None
    nan: int = 0
    infinite: int = 0
    distinct: Hll = Hll()
    facts: tuple[str, ...] = ()


def read_feature(
    name: str, feature: FeatureNameStatistics, rows: int, declared: Variable | None
) -> ReadFeature:
    """``feature`` of a data set of ``rows`` examples; ``declared`` is what a schema says of it."""
    common = getattr(feature, feature.WhichOneof("stats")).common_stats
    present = int(common.num_non_missing)
    values = int(common.tot_num_values) or round(present * common.avg_num_values)
    custom = {statistic.name: statistic.num for statistic in feature.custom_stats}
    variable = _variable(name, feature, common, declared)
    infinite = int(custom.get(NON_FINITE, 0))
    content = _content(feature, variable, values - infinite, int(custom.get(DISTINCT, 0)))
    edges, facts, lengths = content.edges, content.facts, None
    multi = variable.multi_valued
    if multi and present and common.num_values_histogram.buckets:
        length_edges, lengths = _lengths(common, values, present)
        edges = replace(edges, lengths=length_edges)
        facts = (*facts, LIST_SPREAD)
    type_errors = min(int(custom.get(TYPE_ERRORS, 0)), rows - present)
    without_value = 0 if multi else content.nan + max(present - values, 0)
    state = FeatureState(
        rows=rows,
        missing=rows - present - type_errors + without_value,
        type_errors=type_errors,
        non_finite=infinite + content.infinite,
        elements=values if multi else 0,
        element_missing=content.nan if multi else 0,
        numeric=content.numeric,
        categories=content.categories,
        lengths=lengths,
        distinct=content.distinct,
    )
    unique = int(custom[DISTINCT]) if DISTINCT in custom else None
    if feature.HasField("string_stats"):
        unique = int(feature.string_stats.unique)
    decided = declared is not None
    written = next((c.str for c in feature.custom_stats if c.name == ROLE), "")
    role, _, reason = written.partition(": ")
    if declared is None and role in {known.value for known in Role}:
        variable = variable.model_copy(update={"role": Role(role), "reason": reason})
        decided = True
    return ReadFeature(variable, edges, state, facts, unique, decided)


def _content(
    feature: FeatureNameStatistics, variable: Variable, values: int, unique: int
) -> _Content:
    if feature.HasField("string_stats"):
        return _strings(feature, values)
    if not feature.HasField("num_stats"):
        return _Content(FeatureEdges(), facts=(TEXT,) if values else ())
    if variable.dtype == "bool":
        return _booleans(feature, values)
    numbers = read_numbers(feature, values)
    facts: tuple[str, ...] = ()
    if numbers.state is not None:
        known = {
            (TEN_BINS if feature.num_stats.histograms else NO_BINS): numbers.own,
            FOURTH: numbers.fourth_known,
            SPREAD: numbers.moments_known,
        }
        facts = tuple(fact for fact, is_known in known.items() if not is_known)
    return _Content(
        FeatureEdges(numeric=numbers.edges),
        numeric=numbers.state,
        nan=numbers.nan,
        infinite=numbers.infinite,
        distinct=_distinct((), unique),
        facts=facts,
    )


def _variable(
    name: str,
    feature: FeatureNameStatistics,
    common: CommonStatistics,
    declared: Variable | None,
) -> Variable:
    dtype, kind = _dtype_and_kind(feature)
    if declared is not None and _fits(declared, feature):
        return declared.model_copy(update={"optional": declared.optional or common.num_missing > 0})
    shape: tuple[int, ...] = ()
    multi = max(common.max_num_values, len(common.presence_and_valency_stats)) > 1
    if multi:
        same = common.min_num_values == common.max_num_values
        shape = (int(common.max_num_values),) if same and common.max_num_values > 1 else (-1,)
    return Variable(
        name=name,
        dtype=dtype,
        kind=kind,
        shape=shape,
        optional=common.num_missing > 0,
    )


def _fits(declared: Variable, feature: FeatureNameStatistics) -> bool:
    """Whether the statistics are of the kind that the schema's variable asks for."""
    if feature.HasField("num_stats"):
        return declared.dtype not in ("string", "bytes") and (
            declared.kind is not Kind.CATEGORICAL or declared.dtype == "bool"
        )
    return declared.kind in (Kind.CATEGORICAL, Kind.TEXT)


def _dtype_and_kind(feature: FeatureNameStatistics) -> tuple[Dtype, Kind]:
    types = protos().statistics.FeatureNameStatistics
    info = next((c.str for c in feature.custom_stats if c.name == DOMAIN_INFO), "")
    if feature.HasField("bytes_stats"):
        return "bytes", Kind.TEXT
    if feature.type == types.FLOAT:
        dtype: Dtype = "float64"
    elif feature.type == types.INT:
        numbers = feature.num_stats
        # So does TFDV's schema inference (bool_domain_util.cc); statistics have no Boolean type.
        zero_one = feature.HasField("num_stats") and numbers.min == 0.0 and numbers.max == 1.0
        ours = any(statistic.name == BINS for statistic in feature.custom_stats)
        if info == BOOL_DOMAIN or (zero_one and not ours):
            return "bool", Kind.CATEGORICAL
        if info == TIME_DOMAIN:
            return "timestamp", Kind.TIME
        dtype = "int64"
    else:
        known = feature.string_stats.rank_histogram.buckets or not feature.string_stats.unique
        return ("bytes" if feature.type == types.BYTES else "string"), (
            Kind.CATEGORICAL if known else Kind.TEXT
        )
    return dtype, Kind.NUMERIC if feature.HasField("num_stats") else Kind.CATEGORICAL


def _booleans(feature: FeatureNameStatistics, values: int) -> _Content:
    if not values:
        return _Content(FeatureEdges())
    false = min(int(feature.num_stats.num_zeros), values)
    counts = {"false": false, "true": values - false}
    order = sorted((value for value in counts if counts[value]), key=lambda value: -counts[value])
    known = np.array([counts[value] for value in order], dtype=np.int64)
    return _Content(
        FeatureEdges(categories=CategoryEdges(tuple(order))),
        categories=CategoryState(known, 0, FrequentItems()),
        distinct=_distinct(order, len(order)),
    )


def _strings(feature: FeatureNameStatistics, values: int) -> _Content:
    strings = feature.string_stats
    counts: dict[str, float] = {}
    for bucket in strings.rank_histogram.buckets:
        counts[bucket.label] = counts.get(bucket.label, 0.0) + bucket.sample_count
    unique = int(strings.unique)
    if not counts:
        facts = (TEXT,) if values else ()
        return _Content(FeatureEdges(), distinct=_distinct((), unique), facts=facts)
    kept = sorted(counts, key=lambda label: -counts[label])[:MAX_VOCABULARY]
    known = np.array([round(counts[label]) for label in kept], dtype=np.int64)
    unseen = max(values - int(known.sum()), 0)
    complete = unseen == 0 and unique <= len(kept)
    if feature.type == protos().statistics.FeatureNameStatistics.FLOAT:
        kept = [_canonical(label) for label in kept]
    facts = () if complete else (CUT,)
    return _Content(
        FeatureEdges(categories=CategoryEdges(tuple(kept), complete)),
        categories=CategoryState(known, unseen, FrequentItems()),
        distinct=_distinct(kept, unique),
        facts=(*facts, PLACEHOLDER) if NOT_UTF8 in counts else facts,
    )


def _canonical(label: str) -> str:
    try:
        return spell(float(label))
    except ValueError:
        return label


def _distinct(known: Sequence[str], unique: int) -> Hll:
    """A sketch that estimates ``unique`` distinct values: the known ones, and stand-ins."""
    others = min(max(unique - len(known), 0), MOST_STAND_INS)
    values = [*known, *(f"\0{i}" for i in range(others))]
    return Hll.of(hash_strings(pa.array(values, pa.string())))


def _lengths(
    common: CommonStatistics, values: int, present: int
) -> tuple[NumericEdges, NumericState]:
    low, high = int(common.min_num_values), int(common.max_num_values)
    return read_lengths(common.num_values_histogram, values / present, low, high, present)
