"""Other roles for variables whose rows are no longer there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from trueup.profile.edges import Edges
from trueup.profile.states import CoMoments, Profile
from trueup.records.input_spec import InputSpec, Kind, Role, Variable


def with_roles(profile: Profile, roles: Mapping[str, tuple[Role, str]]) -> Profile:
    """``profile`` with role and reason of some variables changed, as if profiled so.

    What is ignored loses its statistics; it may be a column that the profile does not know. What
    the profile has no statistics of (because it was ignored, or an id) cannot be compared again.

    :raises KeyError: naming such a variable, or an unknown one that shall not be ignored.
    """
    variables = []
    for variable in profile.edges.spec.variables:
        role, reason = roles.get(variable.name, (variable.role, variable.reason))
        compared = role in (Role.FEATURE, Role.LABEL)
        if compared and variable.name not in profile.features:
            raise KeyError(variable.name)
        variables.append(variable.model_copy(update={"role": role, "reason": reason}))
    known = profile.edges.spec.by_name
    for name, (role, reason) in roles.items():
        if name in known:
            continue
        if role is not Role.IGNORED:
            raise KeyError(name)
        variables.append(
            Variable(name=name, dtype="string", kind=Kind.CATEGORICAL, role=role, reason=reason)
        )
    spec = InputSpec(variables=tuple(variables))
    kept = {v.name for v in variables if v.compared or v.role is Role.TIME}
    edges, comoments = _narrowed(profile.edges, profile.comoments, kept)
    return replace(
        profile,
        edges=replace(edges, spec=spec),
        features={name: state for name, state in profile.features.items() if name in kept},
        comoments=comoments,
        absent=profile.absent & kept,
    )


def _narrowed(
    edges: Edges, comoments: CoMoments | None, kept: Collection[str]
) -> tuple[Edges, CoMoments | None]:
    """The parts that are of ``kept`` variables; fewer than two are no pair."""
    places = [i for i, name in enumerate(edges.pairs) if name in kept]
    if len(places) < 2:
        places = []
    pairs = tuple(edges.pairs[i] for i in places)
    centers = {name: edges.centers[name] for name in pairs} if edges.centers else edges.centers
    narrow = replace(
        edges,
        features={name: feature for name, feature in edges.features.items() if name in kept},
        pairs=pairs,
        centers=centers,
    )
    if comoments is None or not places:
        return narrow, None
    cut = np.ix_(places, places)
    parts = (comoments.n, comoments.sums, comoments.products, comoments.squares)
    return narrow, CoMoments(*(part[cut] for part in parts))
