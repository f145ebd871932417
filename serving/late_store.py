"""The store, opened when it can be: a worker may start while it is away."""

from __future__ import annotations

import threading

from sqlalchemy import Engine

from trueup.config.settings import StoreSettings
from trueup.store.schema import open_store


class LateStore:
    """The store, opened when it can be: a worker may start while it is away."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    def engine(self) -> Engine:
        """:raises StoreError: it cannot be opened now."""
        with self._lock:
            if self._engine is None:
                self._engine = open_store(self._settings)
            return self._engine
