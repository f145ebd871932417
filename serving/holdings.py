"""The versions that a process has in memory: serving, draining, gone; and the view of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from trueup.records.registry import ModelRecord, RegistrySnapshot, VersionRecord
from trueup.serving.fleet import (
    Fleet,
    FleetView,
    Lifecycle,
    ModelView,
    ServedVersion,
    VersionStatus,
)
from trueup.serving.refusals import Refusals

_log = logging.getLogger(__name__)

ENDED_KEPT = 8
"""Versions per model that are gone and still shown in status replies."""

DRAIN_STEP_S = 5.0
"""A lane that takes longer is looked at again in the next pass; others need not wait for it."""

Key = tuple[str, int]


class Holdings:
    """Changed by one thread; others see what it shows in ``fleet``.

    :param settle: returns when whoever was resolved in the view before has submitted its request.
    :param drain_s: from which a version that still has requests is spoken of in the log.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        fleet: Fleet,
        refusals: Refusals,
        settle: Callable[[], object],
        *,
        drain_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.unloads = 0
        self.loading: Key | None = None
        self._fleet = fleet
        self._refusals = refusals
        self._settle = settle
        self._drain_s = drain_s
        self._clock = clock
        self._models: tuple[ModelRecord, ...] = ()
        self._served: dict[Key, ServedVersion] = {}
        self._draining: list[tuple[ServedVersion, float]] = []
        self._ended: dict[str, dict[int, VersionStatus]] = {}

    def has(self, version: VersionRecord) -> bool:
        """Whether this version, with this very artifact, is served."""
        served = self._served.get((version.model, version.version))
        return served is not None and served.record.manifest_sha256 == version.manifest_sha256

    def add(self, version: VersionRecord, loaded: Any, lane: Any) -> None:
        """Take over a version that is ready; requests get it with the next :meth:`switch`."""
        key = (version.model, version.version)
        before = self._served.get(key)
        if before is not None:  # the same number with another artifact
            self._draining.append((before, self._clock()))
        self._served[key] = ServedVersion(
            model=version.model,
            version=version.version,
            loaded=loaded,
            lane=lane,
            input_spec=version.input_spec,
            aliases=frozenset(),
            record=version,
        )

    def switch(self, snapshot: RegistrySnapshot) -> None:
        """Show what is loaded under the aliases that lead to it; then let go of the rest."""
        self._models = snapshot.models
        leads_to = self._effective_aliases(snapshot)
        wanted = {(v.model, v.version): v for m in snapshot.models for v in m.versions}
        live = wanted.keys() | {(model, version) for (model, _), version in leads_to.items()}
        now_s = self._clock()
        for key in self._served.keys() - live:
            self._draining.append((self._served.pop(key), now_s))
        for key, served in self._served.items():
            names = frozenset(a for (m, a), v in leads_to.items() if (m, v) == key)
            record = wanted.get(key, served.record)
            if record.manifest_sha256 != served.record.manifest_sha256:
                record = served.record  # its successor under the same number is not loaded yet
            if served.aliases != names or served.record != record:
                self._served[key] = replace(
                    served, aliases=names, record=record, input_spec=record.input_spec
                )
        self.show()
        if self._draining:
            self._settle()
            self.end_drained()

    def end_drained(self) -> None:
        """Close the models of lanes that have answered all they had."""
        if not self._draining:
            return
        waiting, self._draining = self._draining, []
        for served, since_s in waiting:
            what = f"{served.model} version {served.version}"
            if not served.lane.close(min(DRAIN_STEP_S, self._drain_s)):
                late_s = self._clock() - since_s
                if late_s > self._drain_s:
                    _log.warning("%s still has requests after %.0f s", what, late_s)
                self._draining.append((served, since_s))
                continue
            try:
                served.loaded.close()
            except Exception:  # noqa: BLE001  it has been said; the next one may go well
                _log.exception("%s could not be closed; its memory is lost", what)
            self.unloads += 1
            ended = self._ended.setdefault(served.model, {})
            ended[served.version] = VersionStatus(served.version, Lifecycle.END)
            while len(ended) > ENDED_KEPT:
                del ended[min(ended)]
            _log.info("%s is unloaded", what)
        self.show()

    def show(self) -> None:
        """Put the view together anew."""
        by_model: dict[str, list[ServedVersion]] = {}
        for served in self._served.values():
            by_model.setdefault(served.model, []).append(served)
        views = {name: ModelView.of(each) for name, each in by_model.items()}
        self._fleet.show(
            FleetView(
                {name: view for name, view in views.items() if view is not None},
                {
                    name: tuple(known[number] for number in sorted(known, reverse=True))
                    for name, known in self._statuses().items()
                },
                tuple(served for served, _ in self._draining),
            )
        )

    def _statuses(self) -> dict[str, dict[int, VersionStatus]]:
        """By model and version; what is said later here overrides what was said before."""
        found = {model: dict(ended) for model, ended in self._ended.items()}

        def say(model: str, status: VersionStatus) -> None:
            found.setdefault(model, {})[status.version] = status

        for served, _ in self._draining:
            say(served.model, VersionStatus(served.version, Lifecycle.UNLOADING))
        for model in self._models:
            for version in model.versions:
                start = VersionStatus(version.version, Lifecycle.START)
                say(model.name, self._refusals.status(version) or start)
        if self.loading is not None:
            say(self.loading[0], VersionStatus(self.loading[1], Lifecycle.LOADING))
        for served in self._served.values():
            say(served.model, VersionStatus(served.version, Lifecycle.AVAILABLE))
        return found

    def _effective_aliases(self, snapshot: RegistrySnapshot) -> dict[tuple[str, str], int]:
        """Where each alias leads: to the version that the registry says, if it is loaded, else to
        the one that it led to before."""
        before = {
            (served.model, alias): served.version
            for served in self._served.values()
            for alias in served.aliases
        }
        found = {}
        for model in snapshot.models:
            for each in model.aliases:
                version: int | None = each.version
                if (model.name, each.version) not in self._served:
                    version = before.get((model.name, each.alias))
                if version is not None:
                    found[model.name, each.alias] = version
        return found
