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
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from trueup.errors import TrueupError
from trueup.records.registry import STABLE, ModelRecord, RegistrySnapshot, VersionRecord
from trueup.serving.fleet import Fleet, Loaded
from trueup.serving.holdings import Holdings, Key
from trueup.serving.loading import at_low_priority, gentle_to_other_threads
from trueup.serving.refusals import Refusals
from trueup.serving.registry_watch import RegistryWatch
from trueup.serving.snapshot import SnapshotFile

_log = logging.getLogger(__name__)

_TIDY_EVERY_S = 60.0


class Port(Protocol):
    """What the loader needs of its worker; all of it is called in the loader's thread."""

    def prepare(self) -> None:
        """Import what models need; called once, before anything else."""

    def take(self) -> RegistrySnapshot:
        """What the store says now. :raises TrueupError: it does not answer."""

    def fetch(self, record: VersionRecord) -> AbstractContextManager[Path]:
        """The version's checked files, for as long as they are loaded from."""

    def load(self, folder: Path) -> Loaded:
        """Load and warm; what fails here is refused before any request sees it."""

    def lane(self, loaded: Any, record: VersionRecord, model: ModelRecord) -> Any:
        """What answers the version's requests (:class:`trueup.serving.fleet.Lane`)."""

    def settle(self) -> None:
        """Return when no request is any more between being resolved and being submitted."""

    def forget(self, keep: set[str]) -> None:
        """Remove checked files of artifacts whose manifest's hash is not in ``keep``."""


@dataclass(frozen=True, slots=True)
class LoaderStatus:
    """What the loader knows of itself.

    :param store_reachable: whether the last look at the registry succeeded.
    :param loading: model and version that are being loaded now.
    :param refused: sentences about versions that the registry wants and that are not loaded.
    :param loads, failures, unloads: counted since the start.
    """

    store_reachable: bool
    loading: Key | None
    refused: tuple[str, ...]
    loads: int
    failures: int
    unloads: int


class Loader:
    """Keeps ``fleet`` as the registry says.

    :param kept: where the last snapshot is kept.
    :param store: the store's URL without passwords: of no other store is ``kept`` believed.
    :param wait_s: between two looks at the registry.
    :param drain_s: how long the requests of a version that is replaced may take to end; if they
        take longer it is said, and the version stays in memory until they have ended.
    :param clock: monotonic seconds.
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
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._fleet = fleet
        self._port = port
        self._wait_s = wait_s
        self._clock = clock
        self._registry = RegistryWatch(port.take, store, kept, clock)
        self._refusals = Refusals()
        self._holdings = Holdings(fleet, self._refusals, port.settle, drain_s=drain_s, clock=clock)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="loader", daemon=True)
        self._settled = False
        self._kept_files: set[str] | None = None
        self._tidied_s = 0.0
        self._loads = self._failures = 0

    def start(self) -> None:
        """Begin to follow the registry."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Begin no further load."""
        self._stop.set()

    def stop(self, timeout_s: float) -> bool:
        """Load no more; what is loaded stays. Whether the thread has ended in time: a load cannot
        be interrupted."""
        self.ask_to_stop()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def not_ready(self) -> str:
        """Why predictions cannot be answered yet; empty when they can.

        They can when all that was live at the start is loaded and warmed, or refused, and anything
        is served at all.
        """
        snapshot = self._registry.snapshot
        if snapshot is None:
            return (
                "the registry has not been read yet"
                if self._registry.reachable
                else "the store is away, and no earlier registry is kept"
            )
        if not self._settled:
            return "models are being loaded"
        if self._fleet.view.models:
            return ""
        refused = self._refusals.sentences()
        return (
            refused[0]
            if refused
            else ("no model is live: trueup import and trueup promote make one so")
        )

    def why_wait(self) -> str:
        """Why what was live at the start is not loaded yet; empty when it is, or is refused."""
        return "" if self._settled else self.not_ready()

    def snapshot_age_s(self) -> float:
        """How old what is known of the registry is; -1 where nothing is."""
        age_s = self._registry.age_s
        return -1.0 if age_s is None else age_s

    def status(self) -> LoaderStatus:
        return LoaderStatus(
            store_reachable=self._registry.reachable,
            loading=self._holdings.loading,
            refused=self._refusals.sentences(),
            loads=self._loads,
            failures=self._failures,
            unloads=self._holdings.unloads,
        )

    def _work(self) -> None:
        try:
            self._port.prepare()
        except Exception:  # noqa: BLE001  what is missing is said again for each version
            _log.exception("what models need cannot be imported")
        while True:
            try:
                self.round()
            except Exception:  # noqa: BLE001  a loader that ended would serve yesterday's for ever
                _log.exception("following the registry failed")
            if self._stop.wait(self._wait_s):
                return

    def round(self) -> None:
        """Look once, and do what is to be done."""
        self._holdings.end_drained()
        snapshot = self._registry.look()
        if snapshot is None:
            return
        wanted = [(model, record) for model in snapshot.models for record in _in_order(model)]
        self._refusals.keep_only({(record.model, record.version) for _, record in wanted})
        self._holdings.switch(snapshot)
        for model, record in wanted:
            if self._stop.is_set():
                return
            if self._holdings.has(record):
                continue
            if self._refusals.may_try(record, _revisions(model, record), self._clock()):
                self._bring_up(model, record)
                self._holdings.switch(snapshot)
        self._settled = True
        self._tidy({record.manifest_sha256 for _, record in wanted})

    def _bring_up(self, model: ModelRecord, record: VersionRecord) -> None:
        """Load, check and warm a version, and make its lane; or refuse it."""
        key = self._holdings.loading = (record.model, record.version)
        self._holdings.show()
        try:
            loaded, lane = self._ready(model, record)
        except Exception as error:  # noqa: BLE001  a model may fail in any way; none may end us
            self._failures += 1
            revisions = _revisions(model, record)
            sentence = self._refusals.refuse(record, revisions, error, self._clock())
            if sentence is not None:
                _log.error("%s", sentence)
            return
        finally:
            self._holdings.loading = None
        self._loads += 1
        self._refusals.forget(key)
        self._holdings.add(record, loaded, lane)
        _log.info("%s version %d is loaded", *key)

    def _ready(self, model: ModelRecord, record: VersionRecord) -> tuple[Any, Any]:
        """The model, warmed, and its lane."""
        fetching = self._port.fetch(record)
        folder = at_low_priority(fetching.__enter__)
        try:
            with gentle_to_other_threads():
                loaded = self._port.load(folder)
            try:
                return loaded, self._port.lane(loaded, record, model)
            except BaseException:
                loaded.close()
                raise
        finally:
            fetching.__exit__(None, None, None)

    def _tidy(self, wanted: set[str]) -> None:
        """Remove checked files that nobody wants any more; now and then again, for others may have
        been loading from them, or have been killed."""
        now_s = self._clock()
        if wanted == self._kept_files and now_s - self._tidied_s < _TIDY_EVERY_S:
            return
        try:
            self._port.forget(wanted)
        except TrueupError as error:
            _log.warning("%s", error)
        self._kept_files, self._tidied_s = wanted, now_s


def _in_order(model: ModelRecord) -> list[VersionRecord]:
    """The versions of a model; the one that most requests wait for comes first."""
    stable = {each.version for each in model.aliases if each.alias == STABLE}
    return sorted(model.versions, key=lambda each: (each.version not in stable, each.version))


def _revisions(model: ModelRecord, record: VersionRecord) -> tuple[tuple[str, int], ...]:
    """The aliases that name a version, with their revisions: what a new promotion changes."""
    return tuple(
        (each.alias, each.revision) for each in model.aliases if each.version == record.version
    )
