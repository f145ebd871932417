"""A model trained elsewhere becomes a version here: what ``trueup import`` does.

All that can be wrong with model and data is found before anything is registered. Then a number is
reserved (the version is ``staged``), so that two imports at once get different ones; artifact and
baseline follow, and only then the version is ``ready``. What fails on the way is ``failed`` and
never live; an import that was killed leaves its version ``staged`` until it is given up
(:mod:`trueup.store.unfinished_imports`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert, select

from trueup.config.settings import Settings
from trueup.errors import ConflictError, TrueupError
from trueup.profile.mapreduce import Progress
from trueup.records.input_spec import InputSpec
from trueup.records.registry import STABLE
from trueup.serving.model_inputs import model_inputs
from trueup.serving.saved_model_file import signatures_of
from trueup.store.artifacts import Published, publish, remove
from trueup.store.blobs import BlobRoot
from trueup.store.engine import writing
from trueup.store.promotion import has_alias, promote
from trueup.store.registry import (
    INPUT_SPEC,
    Author,
    ensure_model,
    mark_failed,
    mark_ready,
    register_version,
)
from trueup.store.tables import VersionState, baselines, versions
from trueup.store.unfinished_imports import heard_of, importer
from trueup.training_baseline import ModelBaseline, TrainingData, model_spec, training_baseline
from trueup.version_baseline import NewBaseline, put_baseline

NO_BASELINE = "no training data: the first windows of traffic become the baseline"

_PROMOTIONS = 5
"""Tries of a promotion that others get in the way of."""


@dataclass(frozen=True)
class Import:
    """What is to be imported.

    :param data: what the model was trained on; absent where the first live windows are to be the
        baseline.
    :param live: whether the version is promoted; ``None``: if the model has none that is live.
    """

    model: str
    saved_model: Path
    data: TrainingData | None = None
    live: bool | None = None


@dataclass(frozen=True)
class Imported:
    """What came of it.

    :param live: whether the version is ``stable`` now.
    :param notes: what the user should know: variables that only one side has, and the like.
    """

    model: str
    version: int
    live: bool
    baseline_id: str | None
    spec: InputSpec
    notes: tuple[str, ...]


def import_version(
    settings: Settings,
    engine: Engine,
    blobs: BlobRoot,
    wish: Import,
    author: Author,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Register the model in ``wish.saved_model`` as a new version.

    :raises BadInputError: it is no SavedModel, or the data do not fit it; nothing is registered
        (but the model's name, where column policies need a key for it).
    """
    inputs = model_inputs(signatures_of(wish.saved_model))
    mine = settings.model(wish.model)
    found: ModelBaseline | None = None
    if wish.data is not None:
        if mine.capture.columns:
            _ensure_model(engine, wish.model, author)
        found = training_baseline(
            wish.data, inputs, wish.model, mine, engine, workers=workers, progress=progress
        )
    spec = InputSpec(variables=tuple(inputs.values())) if found is None else found.spec
    known = () if found is None else found.baseline.profile.edges.spec.by_name
    spec = model_spec(spec, frozenset(v.name for v in spec.variables if v.name not in known), mine)
    _ensure_model(engine, wish.model, author)
    with writing(engine) as connection:
        version = register_version(connection, wish.model, author, details=importer())
    with heard_of(engine, wish.model, version):
        baseline_id = _filled(engine, blobs, wish, author, version, spec, found)
    live, notes = _promoted(engine, wish, author, version)
    said = (NO_BASELINE,) if found is None else found.notes
    return Imported(wish.model, version, live, baseline_id, spec, (*notes, *said))


def _ensure_model(engine: Engine, model: str, author: Author) -> None:
    with writing(engine) as connection:
        ensure_model(connection, model, author)


def _filled(
    engine: Engine,
    blobs: BlobRoot,
    wish: Import,
    author: Author,
    version: int,
    spec: InputSpec,
    found: ModelBaseline | None,
) -> str | None:
    """Give the reserved version its artifact and baseline; returns the baseline's id."""
    undo: list[Callable[[], object]] = []
    try:
        artifact = publish(blobs, wish.saved_model, wish.model, version)
        undo.append(lambda: remove(blobs, artifact.artifact_uri))
        row = None
        if found is not None:
            row = put_baseline(blobs, _new_baseline(wish, version, spec, found), author, undo)
        with writing(engine) as connection:
            mark_ready(
                connection,
                wish.model,
                version,
                artifact_uri=artifact.artifact_uri,
                manifest_sha256=artifact.manifest_sha256,
                details=_details(wish, spec, artifact),
            )
            if row is not None:
                connection.execute(insert(baselines).values(**row))
    except BaseException:
        # What went wrong first is what the user is told. Files are removed only when the store has
        # said that they are not those of a version that is ready after all.
        with suppress(TrueupError):
            if _fail(engine, wish.model, version):
                for step in undo:
                    with suppress(TrueupError):
                        step()
        raise
    return None if row is None else str(row["id"])


def _fail(engine: Engine, model: str, version: int) -> bool:
    """Whether the version came to nothing: now, or because it was given up before."""
    with writing(engine) as connection:
        if mark_failed(connection, model, version):
            return True
        found = select(versions.c.state).where(
            versions.c.model == model, versions.c.version == version
        )
        return connection.execute(found).scalar() == VersionState.FAILED.value


def _details(wish: Import, spec: InputSpec, artifact: Published) -> dict[str, Any]:
    return {
        INPUT_SPEC: spec.model_dump(mode="json"),
        "imported_from": str(wish.saved_model.absolute()),
        "training_data": None if wish.data is None else list(wish.data.sources),
        "artifact_files": artifact.files,
        "artifact_bytes": artifact.size,
    }


def _new_baseline(wish: Import, version: int, spec: InputSpec, found: ModelBaseline) -> NewBaseline:
    return NewBaseline(
        wish.model,
        version,
        spec,
        found.baseline.to_file(),
        () if wish.data is None else wish.data.sources,
        found.series,
        None if wish.data is None else wish.data.time,
    )


def _promoted(
    engine: Engine, wish: Import, author: Author, version: int
) -> tuple[bool, tuple[str, ...]]:
    """Make the version live if it is to be; whether it is, and what there is to say of it."""
    if wish.live is False:
        return False, ()
    for attempt in range(1, _PROMOTIONS + 1):
        try:
            with writing(engine) as connection:
                if wish.live is None and has_alias(connection, wish.model, STABLE):
                    return False, ()
                promote(connection, wish.model, version, author)
            return True, ()
        except ConflictError:
            # Another version was promoted in this moment: the wish for the first one is settled
            # by looking again, and the wish for this one stands.
            if attempt == _PROMOTIONS:
                break
    return False, (
        f"others promote versions of {wish.model} in this moment: trueup promote {wish.model} "
        f"{version} makes this one live",
    )
