"""TFDV statistics as a baseline: what ``trueup compare stats.pb serving.csv`` compares against."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trueup.errors import DataError
from trueup.profile.edges import Edges, FeatureEdges
from trueup.profile.states import FeatureState, Profile
from trueup.records.input_spec import InputSpec, Role, Variable
from trueup.tfdv.anomalies import dotted
from trueup.tfdv.facts import with_roles
from trueup.tfdv.features_in import ReadFeature, read_feature
from trueup.tfdv.files import read_statistics
from trueup.tfdv.protos import protos
from trueup.tfdv.schema_in import from_schema

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.schema_pb2 import Schema
    from tensorflow_metadata.proto.v0.statistics_pb2 import (
        DatasetFeatureStatistics,
        DatasetFeatureStatisticsList,
        FeatureNameStatistics,
    )

#: TFDV's name of the slice with all examples (constants.DEFAULT_SLICE_KEY).
ALL_EXAMPLES = "All Examples"

#: How many feature names a note lists.
NAMED = 8

ALWAYS_LACKING = (
    "TFDV statistics do not hold the variation between windows, moments without outliers, frequent "
    "exact numbers, hours of the day or correlations; what needs them is not checked"
)


class StatisticsBaseline(NamedTuple):
    """What statistics say, and in ``notes`` what they do not."""

    spec: InputSpec
    edges: Edges
    profile: Profile
    notes: tuple[str, ...]


class OpenedStatistics(NamedTuple):
    """The baseline in a file of statistics."""

    edges: Edges
    profile: Profile
    notes: tuple[str, ...]


def read_slice(path: str | Path, slice_name: str | None = None) -> DatasetFeatureStatisticsList:
    """One slice of the statistics in ``path``, as by :func:`slice_of`."""
    statistics = protos().statistics.DatasetFeatureStatisticsList()
    with _naming(path):
        statistics.datasets.add().CopyFrom(slice_of(read_statistics(path), slice_name))
    return statistics


def open_statistics(
    path: str | Path, *, schema: Schema | None = None, slice_name: str | None = None
) -> OpenedStatistics:
    """:func:`from_statistics` of the file ``path``, with the file named in errors."""
    with _naming(path):
        baseline = from_statistics(read_statistics(path), schema=schema, slice_name=slice_name)
    return OpenedStatistics(baseline.edges, baseline.profile, baseline.notes)


@contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """Says in a :class:`DataError` which file it is about, if it does not."""
    try:
        yield
    except DataError as error:
        if str(path) in error.message:
            raise
        raise DataError(f"{path}: {error.message}", remedy=error.remedy) from error


def from_statistics(
    statistics: DatasetFeatureStatisticsList,
    *,
    schema: Schema | None = None,
    slice_name: str | None = None,
) -> StatisticsBaseline:
    """InputSpec, edges and profile of ``statistics``, of TFDV or of
    :func:`~trueup.tfdv.statistics.to_statistics`.

    Bins are the buckets of the quantile histogram, vocabularies the rank histograms. Moments are
    known to order 2 (in statistics of ours to order 4); an upper bound stands for the fourth, so
    that a change of variance needs more evidence, never less. Clipping is at minimum and maximum.

    :param schema: refines types, kinds, roles and domains; features that it lacks are kept.
    :param slice_name: which slice; by default the only one, or the one of all examples.

    :raises DataError: when there are no examples or no features, or the slice is not there.
    """
    dataset = slice_of(statistics, slice_name)
    declared = from_schema(schema).by_name if schema is not None else {}
    if not dataset.num_examples:
        raise DataError("the statistics are of no examples")
    builder = _Builder(int(dataset.num_examples), declared)
    for feature in dataset.features:
        builder.add(feature)
    if dataset.weighted_num_examples:
        builder.facts["weights are not used; counts are of examples"] = []
    return builder.finished()


@dataclass
class _Builder:
    rows: int
    declared: dict[str, Variable]
    reads: dict[str, ReadFeature] = field(default_factory=dict)
    facts: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, feature: FeatureNameStatistics) -> None:
        name = dotted(feature.path) or feature.name
        types = protos().statistics.FeatureNameStatistics
        if feature.type == types.STRUCT:
            return  # its leaves are features of their own
        if feature.WhichOneof("stats") is None:
            self.facts["without any statistics, left out"].append(name)
            return
        if name in self.reads:
            raise DataError(f"feature {name!r} occurs twice in the statistics")
        self.reads[name] = read_feature(name, feature, self.rows, self.declared.get(name))

    def finished(self) -> StatisticsBaseline:
        variables = with_roles(self.reads)
        edges: dict[str, FeatureEdges] = {}
        states: dict[str, FeatureState] = {}
        for name, variable in variables.items():
            if variable.compared or variable.role is Role.TIME:
                edges[name], states[name] = self.reads[name].edges, self.reads[name].state
                for fact in self.reads[name].facts:
                    self.facts[fact].append(name)
        if not any(variables[name].compared for name in states):
            raise DataError("the statistics hold no feature that can be compared")
        for name in [name for name in self.declared if name not in self.reads]:
            if self.declared[name].compared:
                self.facts["in the schema only, so it is not compared"].append(name)
            else:
                variables[name] = self.declared[name]  # serving may well have it
        spec = InputSpec(variables=tuple(variables.values()))
        notes = tuple(_note(fact, names) for fact, names in self.facts.items())
        profile = Profile(Edges(spec, edges), self.rows, states)
        return StatisticsBaseline(spec, profile.edges, profile, (ALWAYS_LACKING, *notes))


def _note(fact: str, names: list[str]) -> str:
    if not names:
        return f"in the TFDV statistics {fact}"
    return f"in the TFDV statistics {_listed(names)}: {fact}"


def _listed(names: Iterable[str]) -> str:
    all_names = list(names)
    shown = ", ".join(all_names[:NAMED])
    more = len(all_names) - NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def slice_of(
    statistics: DatasetFeatureStatisticsList, slice_name: str | None
) -> DatasetFeatureStatistics:
    """The slice of that name; without one the only slice, or that of all examples.

    :raises DataError: when it is not there; the remedy lists the others.
    """
    names = [dataset.name for dataset in statistics.datasets]
    if slice_name in (None, ALL_EXAMPLES) and len(names) == 1:
        return statistics.datasets[0]  # TFDV does not name what is not sliced
    wanted = slice_name if slice_name is not None else ALL_EXAMPLES
    if wanted not in names:
        problem = (
            f"the statistics have no slice {wanted!r}" if names else "the statistics are empty"
        )
        raise DataError(problem, remedy=f"slices: {_listed(map(repr, names))}" if names else "")
    return statistics.datasets[names.index(wanted)]
