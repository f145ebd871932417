"""A model trained elsewhere becomes a version here: what ``trueup import`` does.

The version is reserved first (``staged``), so that two imports at once get different numbers; its
artifact and baseline follow, and only then it is ``ready``. What fails on the way is ``failed``,
and never live.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from sqlalchemy import Engine, insert

from trueup.baseline import Baseline, Wishes, open_baseline, profiled
from trueup.config.settings import ModelSettings, Settings
from trueup.datasets.open import open_dataset
from trueup.datasets.spec_toml import apply_overrides, load_spec_overrides
from trueup.errors import BadInputError
from trueup.policed_dataset import PolicedDataset
from trueup.profile.file import save_profile
from trueup.profile.mapreduce import Progress
from trueup.records.input_spec import InputSpec, Kind, Variable
from trueup.records.registry import STABLE
from trueup.serving.saved_model_file import signatures_of
from trueup.serving.signature import Signature, TensorSpec
from trueup.store.artifacts import publish
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
from trueup.store.tables import baselines


@dataclass(frozen=True)
class Import:
    """What is to be imported.

    :param training_data: a data set, a profile of one or TFDV statistics; absent where the first
        live windows are to be the baseline.
    :param spec: a TOML file or schema proto that says what the columns are.
    :param live: whether the version is promoted; ``None``: if the model has none that is live.
    """

    model: str
    saved_model: Path
    training_data: str | None = None
    time: str | None = None
    label: str | None = None
    ignore: tuple[str, ...] = ()
    spec: Path | None = None
    live: bool | None = None


@dataclass(frozen=True)
class Imported:
    """What came of it.

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

    :raises BadInputError: it is no SavedModel, or the data do not fit it; nothing is registered.
    """
    signatures = signatures_of(wish.saved_model)
    inputs = model_inputs(signatures)
    with writing(engine) as connection:
        ensure_model(connection, wish.model, author)
    found = _baseline(settings, engine, wish, workers=workers, progress=progress)
    spec, notes = joined_spec(inputs, found.profile.edges.spec if found else None)
    if found is None:
        spec = apply_overrides(spec, settings.model(wish.model).overrides())
    with writing(engine) as connection:
        version = register_version(connection, wish.model, author)
    try:
        return _published(engine, blobs, wish, author, version, spec, found, notes)
    except BaseException:
        with writing(engine) as connection:
            mark_failed(connection, wish.model, version)
        raise


def _published(
    engine: Engine,
    blobs: BlobRoot,
    wish: Import,
    author: Author,
    version: int,
    spec: InputSpec,
    found: Baseline | None,
    notes: tuple[str, ...],
) -> Imported:
    artifact = publish(blobs, wish.saved_model, wish.model, version)
    row = None if found is None else _baseline_row(blobs, wish, author, version, spec, found)
    details = {
        INPUT_SPEC: spec.model_dump(mode="json"),
        "imported_from": str(wish.saved_model),
        "training_data": wish.training_data,
        "artifact_bytes": artifact.size,
    }
    with writing(engine) as connection:
        mark_ready(
            connection,
            wish.model,
            version,
            artifact_uri=artifact.artifact_uri,
            manifest_sha256=artifact.manifest_sha256,
            details=details,
        )
        if row is not None:
            connection.execute(insert(baselines).values(**row))
        live = wish.live
        if live is None:
            live = not has_alias(connection, wish.model, STABLE)
        if live:
            promote(connection, wish.model, version, author)
    said = (*notes, *(() if found is None else found.notes))
    return Imported(wish.model, version, live, row["id"] if row else None, spec, said)


def _baseline(
    settings: Settings,
    engine: Engine,
    wish: Import,
    *,
    workers: int | None,
    progress: Progress | None,
) -> Baseline | None:
    """Training's profile, of data as the capture would hold them."""
    if wish.training_data is None:
        for option in ("time", "label", "ignore", "spec"):
            if getattr(wish, option):
                raise BadInputError(
                    f"--{option} says something of training data, and none are given",
                    remedy="name them with --training-data",
                )
        return None
    model = settings.model(wish.model)
    wishes = Wishes(
        time=wish.time, label=wish.label, ignore=wish.ignore, spec=_spec_of(wish.spec, model)
    )
    if not model.capture.columns:
        return open_baseline(wish.training_data, wishes, workers=workers, progress=progress)
    dataset = PolicedDataset.of(open_dataset(wish.training_data), wish.model, model.capture, engine)
    return profiled(dataset, wishes, workers=1, progress=progress)


def _spec_of(file: Path | None, model: ModelSettings) -> Path | dict[str, Mapping[str, Any]] | None:
    """What is said of the columns by a file and by the configuration, which has the last word."""
    said = model.overrides()
    if not said:
        return file
    if file is None:
        return dict(said)
    if file.suffix != ".toml":
        raise BadInputError(
            f"both {file} and [models] of the configuration say what the columns are",
            remedy="give a TOML file, or leave one of them out",
        )
    tables: dict[str, Mapping[str, Any]] = dict(load_spec_overrides(file).variables)
    for name, table in said.items():
        tables[name] = {**tables.get(name, {}), **table}
    return tables


def _baseline_row(
    blobs: BlobRoot, wish: Import, author: Author, version: int, spec: InputSpec, found: Baseline
) -> dict[str, Any]:
    import hashlib

    baseline_id = uuid4().hex
    with TemporaryDirectory() as folder:
        path = Path(folder) / "baseline.profile"
        save_profile(found.to_file(), path)
        data = path.read_bytes()
    uri = blobs.put_atomic(f"baselines/{wish.model}/{baseline_id}.profile", data)
    return {
        "id": baseline_id,
        "model": wish.model,
        "version": version,
        "created_at": author.at,
        "created_by": author.who,
        "reason": author.reason,
        "edges_id": found.profile.edges.edges_id,
        "profile_uri": uri,
        "profile_sha256": hashlib.sha256(data).hexdigest(),
        "input_spec": spec.model_dump(mode="json"),
        "details": {"training_data": wish.training_data, "rows": found.profile.rows},
    }


def model_inputs(signatures: Mapping[str, Signature]) -> dict[str, Variable]:
    """The raw variables that a model takes, of all its signatures for predict.

    :raises BadInputError: two signatures give one name to different types.
    """
    found: dict[str, Variable] = {}
    for signature in signatures.values():
        if signature.method != "predict":
            continue
        for name, tensor in signature.inputs.items():
            variable = _variable(name, tensor)
            if found.setdefault(name, variable) != variable:
                raise BadInputError(
                    f"the model's signatures take {name!r} as different types or shapes",
                    remedy="give the variables names of their own",
                )
    return found


def _variable(name: str, tensor: TensorSpec) -> Variable:
    text = tensor.dtype in ("string", "bytes")
    shape = tuple(-1 if size is None else size for size in tensor.row_shape or ())
    return Variable(
        name=name,
        dtype=tensor.dtype,  # type: ignore[arg-type]  # pydantic refuses what it does not know
        kind=Kind.CATEGORICAL if text or tensor.dtype == "bool" else Kind.NUMERIC,
        shape=shape,
    )


def joined_spec(
    inputs: Mapping[str, Variable], known: InputSpec | None
) -> tuple[InputSpec, tuple[str, ...]]:
    """The model's variables: as the training data have them, and what only the model has.

    :raises BadInputError: a variable is text on one side and a number on the other.
    """
    if known is None:
        return InputSpec(variables=tuple(inputs.values())), (
            "no training data: the first windows of traffic become the baseline",
        )
    notes = []
    there = known.by_name
    for name, variable in inputs.items():
        if name in there and _clash(there[name], variable):
            raise BadInputError(
                f"the model takes {name!r} as {variable.dtype}, and in the training data it is "
                f"{there[name].dtype}",
                remedy="name the data that this model was trained on, or correct the type by "
                f"[models.X.variables.{name}]",
            )
    absent = [name for name in inputs if name not in there]
    if absent:
        notes.append(f"not in the training data, so not compared: {_some(absent)}")
    extra = [v.name for v in known.variables if v.compared and v.name not in inputs]
    if extra:
        notes.append(f"in the training data, and no input of the model: {_some(extra)}")
    variables = (*known.variables, *(inputs[name] for name in absent))
    return InputSpec(variables=variables), tuple(notes)


def _clash(data: Variable, model: Variable) -> bool:
    """Text against numbers. (A category may be kept as an integer, and a bool as either.)"""
    texts = ("string", "bytes", "timestamp")
    return (data.dtype in texts) != (model.dtype in texts) and "bool" not in (
        data.dtype,
        model.dtype,
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
