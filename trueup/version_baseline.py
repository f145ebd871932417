"""The baseline of a version, as it is kept: profile and windows in the blob root, and a row of the
store's ``baselines`` that names them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from trueup.profile.file import ProfileFile, save_profile
from trueup.profile.series import WindowSeries
from trueup.profile.series_codec import dumps_series
from trueup.records.input_spec import InputSpec
from trueup.store.blobs import BlobRoot
from trueup.store.registry import Author


@dataclass(frozen=True)
class NewBaseline:
    """What is to be kept.

    :param spec: of the model. :param training_data: what the profile is of, as the user named it.
    :param series: how windows of it varied; ``time`` is the variable that placed rows in them.
    :param schema: TFDV's, as text. :param details: more for ``baselines.details``.
    """

    model: str
    version: int
    spec: InputSpec
    profile: ProfileFile
    training_data: tuple[str, ...] = ()
    series: WindowSeries | None = None
    time: str | None = None
    schema: bytes | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def put_baseline(
    blobs: BlobRoot, new: NewBaseline, author: Author, undo: list[Callable[[], object]]
) -> dict[str, Any]:
    """Write the files of a baseline; returns its row, which is to be inserted with the version.

    :param undo: gets what deletes the files again, should the row not come to be.
    """
    baseline_id = uuid4().hex
    name = f"baselines/{new.model}/{baseline_id}"
    profile = new.profile.profile

    def put(suffix: str, data: bytes) -> dict[str, str]:
        undo.append(lambda: blobs.delete(f"{name}{suffix}"))
        uri = blobs.put_atomic(f"{name}{suffix}", data)
        return {"uri": uri, "sha256": hashlib.sha256(data).hexdigest()}

    kept = put(".profile", _saved(new.profile))
    details: dict[str, Any] = {
        "training_data": list(new.training_data), "rows": profile.rows, **new.details,
    }  # fmt: skip
    if new.series is not None:
        details["windows"] = {
            **put(".windows", dumps_series(new.series)),
            "time": new.time,
            "seconds": new.series.length_s,
            "count": len(new.series),
        }
    if new.schema is not None:
        details["schema"] = put(".pbtxt", new.schema)
    return {
        "id": baseline_id,
        "model": new.model,
        "version": new.version,
        "created_at": author.at,
        "created_by": author.who,
        "reason": author.reason,
        "edges_id": profile.edges.edges_id,
        "profile_uri": kept["uri"],
        "profile_sha256": kept["sha256"],
        "input_spec": new.spec.model_dump(mode="json"),
        "details": details,
    }


def _saved(profile: ProfileFile) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "baseline.profile"
        save_profile(profile, path)
        return path.read_bytes()
