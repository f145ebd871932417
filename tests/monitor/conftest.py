"""Reports from columns in memory: the real profiles, the decision core, and nothing between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest

from trueup.config.compare import CompareSettings
from trueup.monitor.compare import decide
from trueup.profile.build import profile_batches
from trueup.profile.first_pass import edges_of
from trueup.profile.states import Profile
from trueup.records.input_spec import InputSpec, Kind, Role, Variable
from trueup.records.report import Report

NOW = datetime(2013, 8, 1, tzinfo=timezone.utc)
Columns = Mapping[str, Any]


def table(columns: Columns) -> pa.Table:
    return pa.table({name: pa.array(column, from_pandas=True) for name, column in columns.items()})


def spec_of(
    training: pa.Table,
    roles: Mapping[str, Role],
    kinds: Mapping[str, Kind],
    units: Mapping[str, str],
) -> InputSpec:
    variables = []
    for field in training.schema:
        listed = pa.types.is_list(field.type)
        scalar = field.type.value_type if listed else field.type
        textual = pa.types.is_string(scalar)
        time = pa.types.is_timestamp(scalar)
        dtype: Any = "string" if textual else "timestamp" if time else str(scalar)
        dtype = {"double": "float64", "float": "float32", "null": "float64"}.get(dtype, dtype)
        kind = Kind.CATEGORICAL if textual else Kind.TIME if time else Kind.NUMERIC
        role = roles.get(field.name, Role.FEATURE)
        variables.append(
            Variable(
                name=field.name,
                dtype=dtype,
                kind=kinds.get(field.name, kind),
                shape=(-1,) if listed else (),
                role=role,
                reason="the user said so" if role is Role.IGNORED else "",
                unit=units.get(field.name, ""),
            )
        )
    return InputSpec(variables=tuple(variables))


def profiles(
    training: Columns,
    serving: Columns,
    *,
    roles: Mapping[str, Role] | None = None,
    kinds: Mapping[str, Kind] | None = None,
    units: Mapping[str, str] | None = None,
) -> tuple[Profile, Profile]:
    """Both sides' profiles against the edges of the first; dtypes as in the training columns."""
    before, after = table(training), table(serving)
    spec = spec_of(before, roles or {}, kinds or {}, units or {})
    edges = edges_of(before.to_batches(), spec)
    return (
        profile_batches(before.to_batches(), edges, before.schema),
        profile_batches(after.to_batches(), edges, after.schema),
    )


@pytest.fixture(scope="session")
def build() -> Callable[..., tuple[Profile, Profile]]:
    return profiles


@pytest.fixture(scope="session")
def compare() -> Callable[..., Report]:
    """``compare(training, serving, settings=…, roles=…, kinds=…)`` gives the report."""

    def run(
        training: Columns,
        serving: Columns,
        settings: CompareSettings | None = None,
        row_skew: Sequence[Any] = (),
        **options: Any,
    ) -> Report:
        before, after = profiles(training, serving, **options)
        chosen = settings or CompareSettings()
        return decide(before, after, chosen, check_id="c1", now=NOW, row_skew=row_skew)

    return run
