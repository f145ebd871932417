"""What became of a file of rows that is not there any more, for who reads the capture meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from sqlalchemy import Engine, select

from trueup.errors import StoreError
from trueup.monitor.capture.orphans import GRACE
from trueup.monitor.capture.parquet_file import REPLACES
from trueup.store.engine import reading
from trueup.store.tables import ManifestKind, manifest

_ROWS = (ManifestKind.ROWS.value, ManifestKind.RETIRED.value)


@dataclass(frozen=True)
class Moved:
    """:param looked_at: when the reader saw which files there are, or before."""

    engine: Engine
    model: str
    looked_at: datetime

    def follower(self, uri: str) -> str | None:
        """The file in which the rows of ``uri`` are now; ``None`` where they are gone: all were
        erased, or are past their retention time.

        :raises StoreError: the file should be there; or the reader has taken so long that the file
            may have been put together with others and deleted since.
        """
        with reading(self.engine) as connection:
            found = connection.execute(
                select(manifest.c.uri, manifest.c.details).where(
                    manifest.c.model == self.model, manifest.c.kind.in_(_ROWS)
                )
            ).all()
        if any(row.uri == uri for row in found):
            raise StoreError(f"{uri} of the capture is in the manifest, and cannot be read")
        for row in found:
            if uri in (row.details or {}).get(REPLACES, ()):
                return str(row.uri)
        if datetime.now(timezone.utc) - self.looked_at > GRACE:
            raise StoreError(
                f"{uri} of the capture is gone, {GRACE} and more after reading began",
                remedy="read again, or shorter stretches of time",
                retry=True,
            )
        return None
