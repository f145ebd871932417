"""What is loaded: an immutable view that requests are resolved in, replaced in one assignment.

A request keeps the version that it was resolved to, whatever the view becomes; the loader ends a
version's lane only after it has left the view. Errors are TensorFlow Serving's
(``core/aspired_versions_manager``, ``model_servers/server_core.cc``, ``get_model_status_impl.cc``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from trueup.records.input_spec import InputSpec
from trueup.records.registry import STABLE, VersionRecord


class Lane(Protocol):
    """What runs the requests of a version (:class:`trueup.serving.version_lane.VersionLane`)."""

    def close(self, timeout_s: float, /) -> bool:
        """Take nothing more, answer what waits; whether that ended in time. May be repeated."""


class Loaded(Protocol):
    """A model in memory (:class:`trueup.serving.saved_model.LoadedModel`)."""

    def close(self) -> None: ...


class Lifecycle(str, Enum):
    """States of a version, as TensorFlow Serving's status replies name them."""

    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One entry of a status reply.

    :param error_code: name of a code of ``google.rpc.Code``.
    """

    version: int
    state: Lifecycle
    error_code: str = "OK"
    error_message: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ServedVersion:
    """A version that answers requests.

    :param loaded: the model. :param lane: where its requests are submitted.
    :param aliases: that lead to it now. :param record: what the registry says of it.
    """

    model: str
    version: int
    loaded: Any
    lane: Any
    input_spec: InputSpec | None
    aliases: frozenset[str]
    record: VersionRecord


@dataclass(frozen=True, slots=True)
class NotServed:
    """Why a request has no version: HTTP status and message."""

    status: int
    message: str


@dataclass(frozen=True, slots=True)
class ModelView:
    """The loaded versions of one model.

    :param default: for requests that name neither version nor alias.
    """

    default: ServedVersion
    versions: Mapping[int, ServedVersion]
    aliases: Mapping[str, ServedVersion]

    @classmethod
    def of(cls, served: Iterable[ServedVersion]) -> ModelView | None:
        """The view of these versions; ``None`` of none."""
        versions = {each.version: each for each in served}
        if not versions:
            return None
        aliases = {alias: each for each in versions.values() for alias in each.aliases}
        return cls(aliases.get(STABLE) or versions[max(versions)], versions, aliases)


@dataclass(frozen=True, slots=True)
class FleetView:
    """All of it at one moment.

    :param statuses: of all versions that are or were here, by model, newest version first.
    :param draining: versions that get no request any more and answer those they have.
    """

    models: Mapping[str, ModelView] = field(default_factory=dict)
    statuses: Mapping[str, tuple[VersionStatus, ...]] = field(default_factory=dict)
    draining: tuple[ServedVersion, ...] = ()


class Fleet:
    """Gives requests their version. Read from any thread; one thread, the loader's, writes."""

    def __init__(self) -> None:
        self._view = FleetView()

    @property
    def view(self) -> FleetView:
        return self._view

    def show(self, view: FleetView) -> None:
        """Let requests from now on be resolved in ``view``."""
        self._view = view

    def resolve(
        self, model: str, version: int | None = None, alias: str | None = None
    ) -> ServedVersion | NotServed:
        """The version for a request that names ``version``, ``alias``, or neither."""
        found = self._view.models.get(model)
        if alias is not None:
            named = None if found is None else found.aliases.get(alias)
            return named or NotServed(400, f"Unrecognized servable version label: {alias}")
        if version is not None:
            one = None if found is None else found.versions.get(version)
            return one or NotServed(
                404, f"Servable not found for request: Specific({model}, {version})"
            )
        if found is None:
            return NotServed(404, f"Servable not found for request: Latest({model})")
        return found.default

    def statuses(
        self, model: str, version: int | None = None, alias: str | None = None
    ) -> tuple[VersionStatus, ...] | NotServed:
        """What a status request gets: all versions of the model, or the one that it names."""
        if alias is not None:
            found = self.resolve(model, alias=alias)
            if isinstance(found, NotServed):
                return found
            version = found.version
        known = self._view.statuses.get(model, ())
        if version is None:
            return known or NotServed(404, f"Could not find any versions of model {model}")
        return tuple(each for each in known if each.version == version) or NotServed(
            404, f"Could not find version {version} of model {model}"
        )

    def served(self) -> list[ServedVersion]:
        """All versions that answer requests."""
        return [each for model in self._view.models.values() for each in model.versions.values()]

    def held(self) -> list[ServedVersion]:
        """All versions that may have requests: those that get them, and those that are draining."""
        return [*self.served(), *self._view.draining]
