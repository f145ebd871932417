"""What compaction has to know of a model: its InputSpec, its edges, its windows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, select

from trueup.config.serving import ModelCaptureSettings, WindowSettings
from trueup.config.settings import Settings
from trueup.datasets.column_policies import ColumnPolicies
from trueup.errors import StoreError, TrueupError
from trueup.profile.edges import Edges
from trueup.profile.file import open_profile
from trueup.records.input_spec import InputSpec
from trueup.store.engine import reading
from trueup.store.tables import baselines, models

_KEY_BYTES = 32  # of a key that nothing is hashed with here


@dataclass(frozen=True)
class ModelFacts:
    """:param edges: of the newest baseline; ``None`` while there is none (or it cannot be read,
    which ``problem`` says): then rows are kept and profiled later."""

    name: str
    spec: InputSpec | None
    edges: Edges | None
    windows: WindowSettings
    problem: str = ""


class FactsBook:
    """Facts of models, looked up once per book."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings
        self._known: dict[str, ModelFacts] = {}

    def of(self, model: str) -> ModelFacts:
        found = self._known.get(model)
        if found is None:
            found = self._known[model] = self._look_up(model)
        return found

    def _look_up(self, model: str) -> ModelFacts:
        with reading(self._engine) as connection:
            declared = connection.execute(
                select(models.c.input_spec).where(models.c.name == model)
            ).scalar()
            newest = newest_baseline(connection, model)
        edges, problem = None, ""
        if newest is not None:
            try:
                edges = edges_of(newest.profile_uri, newest.edges_id)
            except TrueupError as error:
                problem = f"the baseline of {model} cannot be read, so its rows wait: {error}"
        settings = self._settings.model(model)
        spec = _as_captured(_spec(declared, model), settings.capture)
        return ModelFacts(model, _together(edges, spec), edges, settings.windows, problem)


@dataclass(frozen=True)
class NewestBaseline:
    id: str
    edges_id: str
    profile_uri: str
    created_at: datetime


def newest_baseline(connection: Connection, model: str) -> NewestBaseline | None:
    table = baselines.c
    found = connection.execute(
        select(table.id, table.edges_id, table.profile_uri, table.created_at)
        .where(table.model == model)
        .order_by(table.created_at.desc(), table.id.desc())
        .limit(1)
    ).first()
    return NewestBaseline(*found) if found is not None else None


#: Edges never change under their id; a process meets few.
_edges_known: dict[tuple[str, str], Edges] = {}


def edges_of(uri: str, edges_id: str) -> Edges:
    """The edges of the profile at ``uri``, which must be those of that id."""
    key = (uri, edges_id)
    if key not in _edges_known:
        found = open_profile(uri).profile.edges
        if found.edges_id != edges_id:
            raise StoreError(
                f"the profile {uri} has edges {found.edges_id}, and its baseline says {edges_id}",
                remedy="make the baseline anew",
            )
        if len(_edges_known) >= 64:
            _edges_known.clear()
        _edges_known[key] = found
    return _edges_known[key]


def _spec(declared: object, model: str) -> InputSpec | None:
    if declared is None:
        return None
    try:
        return InputSpec.model_validate(declared)
    except ValidationError as error:
        raise StoreError(
            f"the InputSpec of model {model} in the store is none ({error.error_count()} errors)",
            remedy="was a newer release used with this store?",
        ) from None


def _as_captured(spec: InputSpec | None, settings: ModelCaptureSettings) -> InputSpec | None:
    """``spec`` as the column policies leave it: what they hash are texts."""
    if spec is None:
        return None
    known = spec.by_name
    changed = {
        name: policy
        for name, policy in settings.columns.items()
        if policy.policy in ("hash", "drop") and name in known
    }
    return ColumnPolicies(changed, spec, bytes(_KEY_BYTES)).captured_spec() if changed else spec


def _together(edges: Edges | None, spec: InputSpec | None) -> InputSpec | None:
    """The baseline's variables (what profiles are counted by), and what the model has besides."""
    if edges is None:
        return spec
    if spec is None:
        return edges.spec
    known = edges.spec.by_name
    more = tuple(variable for variable in spec.variables if variable.name not in known)
    return InputSpec(variables=(*edges.spec.variables, *more))
