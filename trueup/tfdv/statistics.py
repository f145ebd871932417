"""A profile as TFDV's statistics proto.

What TFDV's validation, schema inference and Facets read is filled as ``tfdv.generate_statistics``
fills it; the numbers that are exact in a profile are the same to rounding. Approximate are the
median and the histograms (interpolated in at most 256 bins) and ``unique`` where the vocabulary is
cut or the feature is text (3.3 %). What TFDV has no field for goes into custom statistics whose
names begin with ``trueup_``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trueup.errors import DataError
from trueup.profile.edges import MAX_VOCABULARY, FeatureEdges, NumericEdges
from trueup.profile.moments import Moments
from trueup.profile.states import FeatureState, NumericState, Profile
from trueup.records.input_spec import FLOAT_DTYPES, INTEGER_DTYPES, Variable
from trueup.tfdv.categories import as_numbers, counted_values
from trueup.tfdv.files import write_message
from trueup.tfdv.histograms import Binned, Buckets, quantile_buckets, standard_buckets
from trueup.tfdv.protos import protos
from trueup.tfdv.rest import is_number_of_time

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.statistics_pb2 import (
        CommonStatistics,
        CustomStatistic,
        DatasetFeatureStatisticsList,
        FeatureNameStatistics,
        Histogram,
        NumericStatistics,
        StringStatistics,
    )

#: TFDV's default (StatsOptions.num_top_values).
TOP_VALUES = 20

#: The whole vocabulary; TFDV's default is 1000 (StatsOptions.num_rank_histogram_buckets).
RANK_BUCKETS = MAX_VOCABULARY

#: Read by TFDV's schema inference (stats_util.DOMAIN_INFO).
DOMAIN_INFO = "domain_info"
BOOL_DOMAIN = "bool_domain {}"
TIME_DOMAIN = "time_domain { integer_format: UNIX_SECONDS }"

BINS = "trueup_bins"
SKEWNESS = "trueup_skewness"
KURTOSIS = "trueup_kurtosis"
DISTINCT = "trueup_distinct"
ROLE = "trueup_role"
TYPE_ERRORS = "trueup_type_errors"
NON_FINITE = "trueup_non_finite"


def to_statistics(
    profile: Profile,
    *,
    name: str = "",
    categorical_numbers: bool = False,
    rest: Profile | None = None,
) -> DatasetFeatureStatisticsList:
    """The statistics of one data set, as ``tfdv.generate_statistics`` would describe it.

    Rows with a value of another type than declared count as missing; so do NaN, which a profile
    does not tell from null. ±inf are left out of mean and histograms and counted in
    ``trueup_non_finite``.

    :param name: of the data set, shown by Facets.
    :param categorical_numbers: write the counts of numbers that are categories, as TFDV does under
        a schema with ``is_categorical``; by default they are numbers, as TFDV has them without.
    :param rest: of :func:`trueup.tfdv.rest.profile_rest`, the columns that ``profile`` lacks;
        without it they are left out.
    """
    statistics = protos().statistics.DatasetFeatureStatisticsList()
    dataset = statistics.datasets.add(name=name, num_examples=profile.rows)
    more = {} if rest is None else rest.features
    for variable in profile.edges.spec.variables:
        of = rest if rest is not None and variable.name in more else profile
        state = of.features.get(variable.name)
        if state is None:
            continue
        edges = of.edges.features.get(variable.name, FeatureEdges())
        feature = dataset.features.add()
        feature.path.step.append(variable.name)
        _fill(feature, of.edges.spec[variable.name], edges, state, categorical_numbers)
        if not is_number_of_time(variable):  # its role is inferred from its values again
            role = f"{variable.role.value}: {variable.reason}"
            feature.custom_stats.add(name=ROLE, str=role)
    return statistics


def write_statistics(
    profile: Profile, path: str | Path, *, name: str = "", rest: Profile | None = None
) -> None:
    """Writes :func:`to_statistics` to ``path``: text for .pbtxt, a TFRecord for names with
    ``tfrecord``, otherwise binary. TFDV's ``load_statistics`` reads the first two,
    ``load_stats_binary`` the last."""
    if not profile.rows:
        raise DataError(f"{path} is not written: there are no rows to describe")
    write_message(to_statistics(profile, name=name, rest=rest), path)


def _fill(
    feature: FeatureNameStatistics,
    variable: Variable,
    edges: FeatureEdges,
    state: FeatureState,
    categorical_numbers: bool,
) -> None:
    types = protos().statistics.FeatureNameStatistics
    number = variable.dtype in FLOAT_DTYPES | INTEGER_DTYPES | {"bool", "timestamp"}
    feature.type = (
        types.FLOAT if variable.dtype in FLOAT_DTYPES else types.INT if number else types.STRING
    )
    points = None
    if number and state.categories is not None and not categorical_numbers:
        points = _points(edges, state)
    if state.numeric is not None and edges.numeric is not None:
        _numbers(feature, edges.numeric, state.numeric)
    elif points is not None:
        _points_as_numbers(feature.num_stats, points)
    elif number and state.categories is None:
        feature.num_stats.SetInParent()
    else:
        _strings(feature.string_stats, edges, state)
    common = getattr(feature, feature.WhichOneof("stats")).common_stats
    _common(common, variable, edges, state)
    if variable.dtype == "bool":
        feature.custom_stats.add(name=DOMAIN_INFO, str=BOOL_DOMAIN)
    elif variable.dtype == "timestamp":
        feature.custom_stats.add(name=DOMAIN_INFO, str=TIME_DOMAIN)
    if state.type_errors:
        feature.custom_stats.add(name=TYPE_ERRORS, num=state.type_errors)
    if state.non_finite:
        feature.custom_stats.add(name=NON_FINITE, num=state.non_finite)
    if state.present and not feature.HasField("string_stats"):
        feature.custom_stats.add(name=DISTINCT, num=round(state.distinct.estimate()))


def _common(
    common: CommonStatistics, variable: Variable, edges: FeatureEdges, state: FeatureState
) -> None:
    common.num_non_missing = state.present
    common.num_missing = state.rows - state.present
    if not state.present:
        return
    if not variable.multi_valued:
        common.min_num_values = common.max_num_values = 1
        common.avg_num_values = 1.0
        common.tot_num_values = state.present
        share = state.present / 10
        lengths = Buckets.of([(1.0, 1.0, share)] * 10)
    elif state.lengths is not None and edges.lengths is not None:
        raw = state.lengths.raw
        common.min_num_values, common.max_num_values = int(raw.minimum), int(raw.maximum)
        common.avg_num_values = raw.mean
        common.tot_num_values = round(raw.mean * raw.n)
        lengths = quantile_buckets(_binned(edges.lengths, state.lengths))
    else:
        common.tot_num_values = state.elements
        common.avg_num_values = state.elements / state.present
        return
    _histogram(common.num_values_histogram, lengths, "QUANTILES")


def _numbers(feature: FeatureNameStatistics, edges: NumericEdges, state: NumericState) -> None:
    feature.num_stats.SetInParent()
    moments = state.raw
    _moments(feature.num_stats, moments, state.zeros)
    binned = _binned(edges, state)
    _histograms(feature.num_stats, binned)
    deviation = math.sqrt(moments.m2 / moments.n) if moments.n else 0.0
    if deviation * moments.m2 > 0.0 and moments.m2**2 > 0.0:  # neither underflows
        skewness = moments.m3 / (moments.m2 * deviation)
        feature.custom_stats.add(name=SKEWNESS, num=skewness)
        feature.custom_stats.add(name=KURTOSIS, num=moments.kurtosis)
    if moments.n:
        _bins(feature.custom_stats.add(name=BINS), edges, state)


def _moments(numbers: NumericStatistics, moments: Moments, zeros: int) -> None:
    if not moments.n:
        return
    numbers.mean = moments.mean
    numbers.std_dev = math.sqrt(moments.m2 / moments.n)  # TFDV divides by n
    numbers.min, numbers.max = moments.minimum, moments.maximum
    numbers.num_zeros = zeros


def _points(edges: FeatureEdges, state: FeatureState) -> Binned | None:
    """Number categories as exact points; ``None`` when some values are not known by name."""
    assert state.categories is not None
    if edges.categories is None:
        return None
    counts, unknown = counted_values(edges.categories, state.categories)
    values = as_numbers(list(counts))
    if unknown or values is None:
        return None
    return Binned.of_points(values, np.array(list(counts.values()), dtype=np.float64))


def _points_as_numbers(numbers: NumericStatistics, points: Binned) -> None:
    weights = points.mass.astype(np.int64)
    zeros = int(weights[points.low == 0.0].sum())
    _moments(numbers, Moments.weighted(points.low, weights), zeros)
    numbers.SetInParent()
    _histograms(numbers, points)


def _histograms(numbers: NumericStatistics, binned: Binned) -> None:
    if not binned.mass.size:
        return
    numbers.median = float(binned.quantiles(np.array([0.5]))[0])
    _histogram(numbers.histograms.add(), standard_buckets(binned), "STANDARD")
    _histogram(numbers.histograms.add(), quantile_buckets(binned), "QUANTILES")


def _strings(strings: StringStatistics, edges: FeatureEdges, state: FeatureState) -> None:
    strings.SetInParent()
    if state.lengths is not None and not edges.categories and state.lengths.n:
        strings.avg_length = state.lengths.raw.mean
    if state.categories is None or edges.categories is None:
        strings.unique = round(state.distinct.estimate()) if state.present else 0
        return
    counts, unknown = counted_values(edges.categories, state.categories)
    strings.unique = len(counts)
    if unknown:
        strings.unique = max(len(counts) + 1, round(state.distinct.estimate()))
    elif counts:
        size = sum(len(value.encode()) * count for value, count in counts.items())
        strings.avg_length = size / sum(counts.values())
    order = sorted(counts.items(), key=lambda item: (item[1], item[0].encode()), reverse=True)
    for rank, (value, count) in enumerate(order[:RANK_BUCKETS]):
        strings.rank_histogram.buckets.add(
            low_rank=rank, high_rank=rank, label=value, sample_count=count
        )
        if rank < TOP_VALUES:
            strings.top_values.add(value=value, frequency=count)


def _bins(statistic: CustomStatistic, edges: NumericEdges, state: NumericState) -> None:
    ends = [-math.inf, *edges.edges.tolist(), math.inf]
    rows = zip(ends[:-1], ends[1:], state.counts.tolist(), strict=True)
    _histogram(statistic.histogram, Buckets.of(list(rows)), "QUANTILES")


def _binned(edges: NumericEdges, state: NumericState) -> Binned:
    return Binned.of_counts(edges, state.counts, state.raw.minimum, state.raw.maximum)


def _histogram(histogram: Histogram, buckets: Buckets, kind: str) -> None:
    histogram.type = protos().statistics.Histogram.HistogramType.Value(kind)
    for low, high, count in zip(
        buckets.low.tolist(), buckets.high.tolist(), buckets.count.tolist(), strict=True
    ):
        histogram.buckets.add(low_value=low, high_value=high, sample_count=count)
