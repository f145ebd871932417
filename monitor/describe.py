"""One data set in numbers: what a profile says of each column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trueup.monitor.shown import side_summary
from trueup.profile.edges import CategoryEdges, FeatureEdges
from trueup.profile.states import CategoryState, Profile
from trueup.records.data_summary import DataSummary, FrequentValue, VariableSummary
from trueup.records.input_spec import Variable

MOST_FREQUENT = 10


def describe(profile: Profile, name: str, notes: Sequence[str] = ()) -> DataSummary:
    """Every column of the InputSpec in its order, with its numbers where it is profiled."""
    return DataSummary(
        name=name,
        rows=profile.rows,
        edges_id=profile.edges.edges_id,
        variables=tuple(_variable(profile, v) for v in profile.edges.spec.variables),
        notes=tuple(notes),
    )


def _variable(profile: Profile, variable: Variable) -> VariableSummary:
    state = profile.features.get(variable.name)
    if state is None:
        return VariableSummary(variable=variable)
    edges = profile.edges.features.get(variable.name, FeatureEdges())
    return VariableSummary(
        variable=variable,
        summary=side_summary(state, edges.numeric),
        frequent=_frequent(edges.categories, state.categories),
    )


def _frequent(
    edges: CategoryEdges | None, state: CategoryState | None
) -> tuple[FrequentValue, ...]:
    if edges is None or state is None:
        return ()
    top = np.argsort(-state.counts, kind="stable")[:MOST_FREQUENT]
    return tuple(
        FrequentValue(value=edges.values[i], count=int(state.counts[i]))
        for i in top
        if state.counts[i]
    )
