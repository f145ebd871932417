"""Follows the registry: loads what shall be live, switches, drains and closes what was.

All of it happens in one thread, one version after the other; the event loop only ever sees a view
that is replaced in one assignment. A version that is corrupt, or does not load or warm, is refused:
what was live stays live, one sentence says why, and it is tried again later, or when the registry
says something else. While the store is away, what is loaded goes on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from trueup.errors import TrueupError
from trueup.records.registry import ModelRecord, RegistrySnapshot, VersionRecord
from trueup.serving.fleet import (
    Fleet,
    FleetView,
    Lifecycle,
    Loaded,
    ModelView,
    ServedVersion,
    VersionStatus,
)
from trueup.serving.snapshot import SnapshotFile

_log = logging.getLogger(__name__)

_FIRST_RETRY_S = 5.0
_LONGEST_RETRY_S = 300.0

Key = tuple[str, int, str]
"""Model, version, hash of the artifact's manifest."""


class Port(Protocol):
    """What the loader needs of its worker."""

    def take(self) -> RegistrySnapshot:
        """What the store says now. :raises TrueupError: it does not answer."""

    def fetch(self, record: VersionRecord) -> AbstractContextManager[Path]:
        """The version's checked files, for as long as they are loaded from."""

    def load(self, folder: Path) -> Loaded:
        """Load and warm. :raises TrueupError: it cannot be served."""

    def lane(self, loaded: Any, record: VersionRecord, model: ModelRecord) -> Any:
        """What answers the version's requests."""

    def settle(self) -> None:
        """Return when no request is any more between being resolved and being submitted."""

    def forget(self, keep: set[str]) -> None:
        """Remove checked files of artifacts whose manifest's hash is not in ``keep``."""


@dataclass
class _Failure:
    message: str
    retry_s: float
    due_s: float


class Loader:
    """
    :param store: which store snapshots are of, without passwords.
    :param wait_s: between two looks at the registry.
    :param drain_s: how long the requests of a version that is replaced may take to end.
    """

    def __init__(
        self,
        fleet: Fleet,
        port: Port,
        kept: SnapshotFile,
        *,
        store: str,
        wait_s: float,
        drain_s: float,
        now: Callable[[], datetime],
    ) -> None:
        self._fleet = fleet
        self._port = port
        self._kept = kept
        self._store = store
        self._wait_s = wait_s
        self._drain_s = drain_s
        self._now = now
        self._snapshot: RegistrySnapshot | None = None
        self._serving: dict[Key, ServedVersion] = {}
        self._aliases: dict[str, dict[str, Key]] = {}
        self._states: dict[Key, VersionStatus] = {}
        self._failures: dict[Key, _Failure] = {}
        self._settled = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="loader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Load no more; what is loaded stays."""
        self._stop.set()
        self._thread.join(timeout_s)

    def not_ready(self) -> str:
        """Why predictions cannot be answered yet; empty when they can."""
        if self._snapshot is None:
            return "the registry has not been read yet"
        if not self._settled:
            return "models are being loaded"
        if not self._serving:
            failed = next((f.message for f in self._failures.values()), "")
            return failed or "no model is live: trueup import and trueup promote make one so"
        return ""

    def snapshot_age_s(self) -> float:
        """How old what is known of the registry is; -1 where nothing is."""
        taken = self._snapshot
        return -1.0 if taken is None else (self._now() - taken.taken_at).total_seconds()

    def _work(self) -> None:
        while True:
            try:
                self.round()
            except Exception:  # noqa: BLE001  a loader that ended would serve yesterday's for ever
                _log.exception("following the registry failed")
            if self._stop.wait(self._wait_s):
                return

    def round(self) -> None:
        """Look once, and do what is to be done."""
        self._look()
        snapshot = self._snapshot
        if snapshot is None:
            return
        wanted = {
            (record.model, record.version, record.manifest_sha256): (model, record)
            for model in snapshot.models
            for record in model.versions
        }
        for key in [key for key in self._failures if key not in wanted]:
            del self._failures[key]
        for key, (model, record) in wanted.items():
            if self._stop.is_set():
                return
            if key not in self._serving and self._is_due(key):
                self._load(key, model, record)
                self._show(snapshot)
        self._show(snapshot)
        self._settled = True
        self._close_unseen(snapshot)

    def _look(self) -> None:
        try:
            found = self._port.take()
        except TrueupError as error:
            if self._snapshot is None:
                self._snapshot = self._kept.load(self._store)
                if self._snapshot is not None:
                    _log.warning("the store is away; serving what it said last: %s", error)
            return
        if self._snapshot is None or not found.same_content(self._snapshot):
            for key in self._changed(found):
                self._failures.pop(key, None)
            try:
                self._kept.save(found)
            except TrueupError as error:
                _log.warning("the registry's snapshot cannot be kept: %s", error)
        self._snapshot = found

    def _changed(self, found: RegistrySnapshot) -> list[Key]:
        """Failed versions of models of which the registry says something else now."""
        before = {} if self._snapshot is None else self._snapshot.by_name
        return [key for key in self._failures if before.get(key[0]) != found.by_name.get(key[0])]

    def _is_due(self, key: Key) -> bool:
        failure = self._failures.get(key)
        return failure is None or failure.due_s <= monotonic()

    def _load(self, key: Key, model: ModelRecord, record: VersionRecord) -> None:
        name = f"{record.model} version {record.version}"
        self._state(key, Lifecycle.LOADING)
        loaded = None
        try:
            with self._port.fetch(record) as folder:
                loaded = self._port.load(folder)
            lane = self._port.lane(loaded, record, model)
        except TrueupError as error:
            if loaded is not None:
                loaded.close()
            before = self._failures.get(key)
            pause = min(2 * before.retry_s, _LONGEST_RETRY_S) if before else _FIRST_RETRY_S
            self._failures[key] = _Failure(str(error), pause, monotonic() + pause)
            self._state(key, Lifecycle.END, "UNKNOWN", str(error))
            if before is None or before.message != str(error):
                _log.error("%s is refused, and what is live stays: %s", name, error)
            return
        self._failures.pop(key, None)
        self._serving[key] = ServedVersion(
            record.model, record.version, loaded, lane, record.input_spec, frozenset(), record
        )
        self._state(key, Lifecycle.AVAILABLE)
        _log.info("%s is loaded", name)

    def _show(self, snapshot: RegistrySnapshot) -> None:
        """Make the view of what is loaded; an alias whose version is not stays where it was."""
        models: dict[str, ModelView] = {}
        aliases: dict[str, dict[str, Key]] = {}
        for model in snapshot.models:
            keys = {r.version: (r.model, r.version, r.manifest_sha256) for r in model.versions}
            before = self._aliases.get(model.name, {})
            here: dict[str, Key] = {}
            for alias in model.aliases:
                for key in (keys.get(alias.version), before.get(alias.alias)):
                    if key is not None and key in self._serving:
                        here[alias.alias] = key
                        break
            aliases[model.name] = here
            view = ModelView.of(
                _with_aliases(self._serving[key], frozenset(a for a in here if here[a] == key))
                for key in sorted(set(here.values()) | (set(keys.values()) & set(self._serving)))
            )
            if view is not None:
                models[model.name] = view
        self._aliases = aliases
        self._fleet.show(FleetView(models, self._statuses()))

    def _close_unseen(self, snapshot: RegistrySnapshot) -> None:
        """Drain and close the versions that no request can be resolved to any more."""
        seen = {
            (served.model, served.version, served.record.manifest_sha256)
            for served in self._fleet.served()
        }
        gone = [key for key in self._serving if key not in seen]
        if not gone:
            return
        self._port.settle()
        for key in gone:
            self._state(key, Lifecycle.UNLOADING)
            served = self._serving.pop(key)
            self._fleet.show(FleetView(self._fleet.view.models, self._statuses()))
            if served.lane.close(self._drain_s):
                served.loaded.close()
            else:  # a call that hangs: closing its session under it would crash the process
                _log.error("%s version %d did not drain in time", served.model, served.version)
            self._state(key, Lifecycle.END)
            _log.info("%s version %d is unloaded", served.model, served.version)
        self._fleet.show(FleetView(self._fleet.view.models, self._statuses()))
        known = {r.manifest_sha256 for model in snapshot.models for r in model.versions}
        self._port.forget(known | {key[2] for key in self._serving})

    def _state(self, key: Key, state: Lifecycle, code: str = "OK", message: str = "") -> None:
        self._states[key] = VersionStatus(key[1], state, code, message)
        self._fleet.show(FleetView(self._fleet.view.models, self._statuses()))

    def _statuses(self) -> dict[str, tuple[VersionStatus, ...]]:
        found: dict[str, dict[int, VersionStatus]] = {}
        for key, status in self._states.items():
            found.setdefault(key[0], {})[key[1]] = status
        return {
            model: tuple(statuses[version] for version in sorted(statuses, reverse=True))
            for model, statuses in found.items()
        }


def _with_aliases(served: ServedVersion, aliases: frozenset[str]) -> ServedVersion:
    if served.aliases == aliases:
        return served
    return ServedVersion(
        served.model,
        served.version,
        served.loaded,
        served.lane,
        served.input_spec,
        aliases,
        served.record,
    )
