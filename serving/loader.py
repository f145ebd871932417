"""The thread that makes a server hold what the registry says is live.

Each pass takes a snapshot of the registry, loads and warms the versions that are new, one at a
time, switches to each in one assignment, and only then drains and closes those that nobody wants
any more. The event loop's thread never does any of it.

What fails changes nothing that is served: while the store is away the last snapshot holds; a
version that is corrupt or does not load or warm is refused, its aliases go on leading to the
version before, and it is tried again when the registry says otherwise, or after a while.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from trueup.errors import TrueupError
from trueup.records.registry import STABLE, ModelRecord, RegistrySnapshot, VersionRecord
from trueup.serving.fleet import Fleet
from trueup.serving.holdings import Holdings, Key
from trueup.serving.loading import at_low_priority, gentle_to_other_threads
from trueup.serving.refusals import Refusals
from trueup.serving.registry_watch import RegistryWatch
from trueup.serving.snapshot import SnapshotFile

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoaderParts:
    """What the loader does its work with; all of it is called in the loader's thread.

    :param store: the store's URL without passwords (:func:`trueup.store.engine.shown`).
    :param take_snapshot: of the registry; raises :class:`~trueup.errors.TrueupError` while the
        store is away.
    :param fetch: a version's checked folder, for as long as the block runs.
    :param load: a model from it. :param warm: calls the model until its first request is as fast
        as any. :param make_lane: starts what runs its requests.
    :param settle: returns when the event loop has finished what it was at
        (:func:`trueup.serving.loading.loop_settler`).
    :param prune: removes cached artifacts but those whose manifest's hash is given.
    """

    store: str
    take_snapshot: Callable[[], RegistrySnapshot]
    fetch: Callable[[VersionRecord], AbstractContextManager[Path]]
    load: Callable[[Path], Any]
    warm: Callable[[Any, Path], object]
    make_lane: Callable[[ModelRecord, VersionRecord, Any], Any]
    settle: Callable[[], object]
    prune: Callable[[Collection[str]], object]


@dataclass(frozen=True, slots=True)
class LoaderStatus:
    """What the loader knows of itself.

    :param store_reachable: whether the last look at the registry succeeded.
    :param snapshot_age_s: of what is held; ``None`` before the first.
    :param loading: model and version that are being loaded now.
    :param refused: sentences about versions that the registry wants and that are not loaded.
    :param loads, failures, unloads: counted since the start.
    """

    store_reachable: bool
    snapshot_age_s: float | None
    loading: Key | None
    refused: tuple[str, ...]
    loads: int
    failures: int
    unloads: int


class Loader:
    """Keeps ``fleet`` as the registry says.

    :param snapshot_file: where the last snapshot is kept; ``None`` keeps none.
    :param drain_timeout_s: from which a version that still has requests is spoken of in the log.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        fleet: Fleet,
        parts: LoaderParts,
        *,
        poll_interval_s: float,
        drain_timeout_s: float,
        snapshot_file: SnapshotFile | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._fleet = fleet
        self._parts = parts
        self._poll_interval_s = poll_interval_s
        self._clock = clock
        self._registry = RegistryWatch(parts.take_snapshot, parts.store, snapshot_file, clock)
        self._refusals = Refusals()
        self._holdings = Holdings(
            fleet, self._refusals, parts.settle, drain_timeout_s=drain_timeout_s, clock=clock
        )
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._passed = False
        self._loads = self._failures = 0

    def start(self) -> None:
        """Begin to look at the registry, in a thread."""
        self._thread = threading.Thread(target=self._work, name="loader", daemon=True)
        self._thread.start()

    def readiness(self) -> str:
        """Empty when the server can take requests; else why it cannot yet.

        It can when all that was live at its start is loaded and warmed, or refused, and something
        is served at all.
        """
        snapshot = self._registry.snapshot
        if snapshot is None:
            away = "the store is away and no earlier registry is kept"
            return "the registry has not been read yet" if self._registry.reachable else away
        if not any(model.aliases for model in snapshot.models):
            return "no model has a version that an alias names"
        if not self._passed:
            return "models are being loaded"
        return "" if self._fleet.view.models else "no version could be loaded"

    def status(self) -> LoaderStatus:
        return LoaderStatus(
            store_reachable=self._registry.reachable,
            snapshot_age_s=self._registry.age_s,
            loading=self._holdings.loading,
            refused=self._refusals.sentences(),
            loads=self._loads,
            failures=self._failures,
            unloads=self._holdings.unloads,
        )

    def close(self, timeout_s: float) -> bool:
        """Stop looking, drain every lane and close every model; whether all ended in time.

        A load cannot be interrupted: while one is on, lanes are left to the end of the process.
        """
        limit_s = self._clock() + timeout_s
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return False
        return self._holdings.close(max(0.0, limit_s - self._clock()))

    def _work(self) -> None:
        while not self._stopping:
            try:
                self.poll()
            except Exception:  # noqa: BLE001  it has been said; the next one may go well
                _log.exception("a pass of the loader failed unexpectedly; what is served stays")
            self._wake.wait(self._poll_interval_s)

    def poll(self) -> None:
        """One pass; :meth:`start` has it done again and again."""
        self._holdings.end_drained()
        snapshot = self._registry.look()
        if snapshot is None:
            return
        wanted = [(model, version) for model in snapshot.models for version in _in_order(model)]
        self._refusals.keep_only({(version.model, version.version) for _, version in wanted})
        self._holdings.switch(snapshot)
        for model, version in wanted:
            if self._stopping:
                return
            if self._holdings.has(version):
                continue
            if self._refusals.may_try(version, _revisions(model, version), self._clock()):
                self._bring_up(model, version, snapshot)
                self._holdings.switch(snapshot)
        self._passed = True

    def _bring_up(
        self, model: ModelRecord, version: VersionRecord, snapshot: RegistrySnapshot
    ) -> None:
        """Load, check and warm a version, and make its lane; or refuse it."""
        key = self._holdings.loading = (version.model, version.version)
        self._holdings.show()
        try:
            self._make_room(snapshot)
            loaded, lane = self._ready(model, version)
        except Exception as error:  # noqa: BLE001  a model may fail in any way; none may end us
            self._failures += 1
            sentence = self._refusals.refuse(
                version, _revisions(model, version), error, self._clock()
            )
            if sentence is not None:
                _log.error("%s", sentence)
            return
        finally:
            self._holdings.loading = None
        self._loads += 1
        self._refusals.forget(key)
        self._holdings.add(version, loaded, lane)
        _log.info("%s version %d is loaded", *key)

    def _make_room(self, snapshot: RegistrySnapshot) -> None:
        """Remove cached artifacts that nobody wants any more, before another one is copied."""
        wanted = {version.manifest_sha256 for m in snapshot.models for version in m.versions}
        try:
            self._parts.prune(wanted)
        except TrueupError as error:
            _log.warning("%s", error)

    def _ready(self, model: ModelRecord, version: VersionRecord) -> tuple[Any, Any]:
        """The model, warmed, and its lane."""
        fetching = self._parts.fetch(version)
        folder = at_low_priority(fetching.__enter__)
        try:
            with gentle_to_other_threads():
                loaded = self._parts.load(folder)
                try:
                    self._parts.warm(loaded, folder)
                    return loaded, self._parts.make_lane(model, version, loaded)
                except BaseException:
                    loaded.close()
                    raise
        finally:
            fetching.__exit__(None, None, None)


def _in_order(model: ModelRecord) -> list[VersionRecord]:
    """The versions of a model; those that most requests wait for come first."""
    stable = {each.version for each in model.aliases if each.alias == STABLE}
    return sorted(model.versions, key=lambda each: (each.version not in stable, each.version))


def _revisions(model: ModelRecord, version: VersionRecord) -> tuple[tuple[str, int], ...]:
    """The aliases that name a version, with their revisions: what a new promotion changes."""
    return tuple(
        (each.alias, each.revision) for each in model.aliases if each.version == version.version
    )
