"""The last registry snapshot as a file, so that a server can start while the store is away."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from pydantic import ValidationError

from trueup.errors import TrueupError
from trueup.frames.whole import write_whole
from trueup.records.registry import RegistrySnapshot

FILE_NAME = "registry-snapshot.json"

_log = logging.getLogger(__name__)


class SnapshotFile:
    """A file in ``folder`` (the spool), which the servers of a host share.

    It holds the keys of column policies, so only its owner can read it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def save(self, snapshot: RegistrySnapshot) -> None:
        """Keep ``snapshot`` in place of the one before.

        :raises TrueupError: it cannot be written.
        """
        data = snapshot.model_dump_json().encode()
        head = hashlib.sha256(data).hexdigest().encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # An empty file with its permissions first: write_whole keeps those of what it replaces.
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise TrueupError(f"cannot write {self.path}: {error.strerror}", retry=True) from error
        write_whole(self.path, head + b"\n" + data)

    def load(self, store: str) -> RegistrySnapshot | None:
        """The snapshot of ``store`` that was kept; ``None`` where there is none, or it is damaged
        (a server that starts must not fail for it)."""
        try:
            head, _, data = self.path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("cannot read %s: %s", self.path, error.strerror)
            return None
        if hashlib.sha256(data).hexdigest().encode() != head:
            _log.warning("%s is damaged and is left aside", self.path)
            return None
        try:
            found = RegistrySnapshot.model_validate_json(data)
        except ValidationError:
            _log.warning("%s was written by another release and is left aside", self.path)
            return None
        if found.store != store:
            _log.warning("%s is of another store and is left aside", self.path)
            return None
        return found
