"""Copies an artifact into a cache and says when: ``python copying_child.py ROOT VERSION CACHE``.

With a fourth argument it stops in the middle of the copy and waits to be killed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import trueup.store.artifact_cache as cache
from trueup.records.registry import VersionRecord
from trueup.store.blobs import BlobRoot


def main(root: str, version: str, folder: str, *stop: str) -> None:
    if stop:
        _stop_at_the_manifest()
    record = VersionRecord.model_validate_json(version)
    with cache.fetch_verified(BlobRoot(root), record, Path(folder)) as found:
        print("held", found, flush=True)
        sys.stdin.readline()


def _stop_at_the_manifest() -> None:
    """Files are copied, and the copy has not its name yet."""

    def stand_still(self: Path, data: bytes) -> Any:
        print("copying", flush=True)
        time.sleep(600)

    Path.write_bytes = stand_still  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    main(*sys.argv[1:])
