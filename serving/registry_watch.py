"""The registry as a server sees it: read again and again, held on to while the store is away."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timezone

from trueup.errors import TrueupError
from trueup.records.registry import RegistrySnapshot
from trueup.serving.snapshot import SnapshotFile

_log = logging.getLogger(__name__)

SAVE_EVERY_S = 60.0
"""An unchanged snapshot is written again after this, so that its file tells its age."""


class RegistryWatch:
    """The newest snapshot that could be had.

    :param take_snapshot: raises :class:`~trueup.errors.TrueupError` while the store is away.
    :param store: the store's URL without passwords: only its snapshots are taken from the file.
    :param file: where the last snapshot is kept; ``None`` keeps none.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        take_snapshot: Callable[[], RegistrySnapshot],
        store: str,
        file: SnapshotFile | None,
        clock: Callable[[], float],
    ) -> None:
        self.snapshot: RegistrySnapshot | None = None
        self.reachable = True
        self._take_snapshot = take_snapshot
        self._store = store
        self._file = file
        self._clock = clock
        self._taken_s = 0.0
        self._saved: RegistrySnapshot | None = None
        self._saved_s = 0.0

    @property
    def age_s(self) -> float | None:
        """Of the snapshot; ``None`` before the first."""
        return None if self.snapshot is None else self._clock() - self._taken_s

    def look(self) -> RegistrySnapshot | None:
        """Read the registry; ``None`` as long as nothing is known of it."""
        try:
            taken = self._take_snapshot()
        except TrueupError as error:
            if self.reachable:
                _log.warning("%s; what is live stays as it is until the store is back", error)
            self.reachable = False
            if self.snapshot is None:
                self._start_from_file()
            return self.snapshot
        if not self.reachable:
            _log.warning("the store is back")
        self.reachable = True
        self.snapshot, self._taken_s = taken, self._clock()
        self._save(taken)
        return taken

    def _start_from_file(self) -> None:
        found = None if self._file is None else self._file.load(self._store)
        if found is None:
            return
        age_s = max(0.0, (datetime.now(timezone.utc) - found.taken_at).total_seconds())
        self.snapshot, self._taken_s = found, self._clock() - age_s
        _log.warning("the registry is taken from its file, as it was %.0f s ago", age_s)

    def _save(self, taken: RegistrySnapshot) -> None:
        if self._file is None:
            return
        now_s = self._clock()
        same = self._saved is not None and taken.same_content(self._saved)
        if same and now_s - self._saved_s < SAVE_EVERY_S:
            return
        try:
            self._file.save(taken)
        except TrueupError as error:
            _log.warning("%s; a start without the store would find an older registry", error)
        self._saved, self._saved_s = taken, now_s
