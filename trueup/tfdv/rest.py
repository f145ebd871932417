"""Statistics of the columns that are not compared: TFDV describes ids, times and the like too."""

from __future__ import annotations

from collections.abc import Collection

from trueup.profile.mapreduce import Progress, first_pass_dataset, profile_dataset
from trueup.profile.states import Profile
from trueup.records.dataset import Dataset
from trueup.records.input_spec import InputSpec, Kind, Role, Variable


def profile_rest(
    dataset: Dataset,
    spec: InputSpec,
    *,
    leave_out: Collection[str] = (),
    workers: int | None = None,
    progress: Progress | None = None,
) -> Profile | None:
    """The profile of what the profile of ``spec`` lacks, in two more passes over those columns;
    ``None`` when it lacks nothing.

    Numbers that tell time are in it as they are written, because a profile has them in seconds.

    :param leave_out: columns that the user does not want to be described.
    """
    variables = tuple(
        _plain(variable)
        for variable in spec.variables
        if variable.name not in leave_out and (is_number_of_time(variable) or _lacks(variable))
    )
    if not variables:
        return None
    edges = first_pass_dataset(
        dataset, InputSpec(variables=variables), workers=workers, progress=progress
    )
    return profile_dataset(dataset, edges, workers=workers, progress=progress)


def is_number_of_time(variable: Variable) -> bool:
    """Whether it is a column of numbers since 1970, not of times."""
    return variable.kind is Kind.TIME and variable.dtype != "timestamp"


def _lacks(variable: Variable) -> bool:
    return not variable.compared and variable.role is not Role.TIME


def _plain(variable: Variable) -> Variable:
    kind = Kind.NUMERIC if is_number_of_time(variable) else variable.kind
    return variable.model_copy(
        update={"role": Role.FEATURE, "reason": "", "kind": kind, "unit": "", "domain": None}
    )
