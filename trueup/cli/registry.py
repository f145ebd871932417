"""``trueup import``, ``versions``, ``promote`` and ``rollback``: what is live, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trueup.cli.author import author
from trueup.cli.options import (
    ConfigOption,
    IgnoreOption,
    JsonOption,
    LabelOption,
    WorkersOption,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trueup.store.promotion import AliasChange
    from trueup.store.registry import VersionRow

_HEARD_S = 300.0  # of an import that was heard of within this time is said that it goes on

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]
AliasOption = Annotated[str, typer.Option(metavar="NAME", help="Which alias.")]
ReasonOption = Annotated[str, typer.Option(metavar="TEXT", help="Why; kept with the change.")]


def import_model(
    model: ModelArgument,
    saved_model: Annotated[
        Path, typer.Option("--saved-model", metavar="DIR", help="A SavedModel of TensorFlow.")
    ],
    training_data: Annotated[
        list[str] | None,
        typer.Option(
            "--training-data", "--statistics", metavar="DATA",
            help="What it was trained on: data (repeatable), a profile of them, or TFDV "
            "statistics.",
        ),
    ] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="Event time.")] = None,
    window: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH",
            help="With --time: windows whose variation is kept, such as 1d; chosen if not given.",
        ),
    ] = None,
    label: LabelOption = None,
    ignore: IgnoreOption = None,
    spec: Annotated[
        Path | None,
        typer.Option(
            "--spec", "--schema", metavar="FILE",
            help="What corrects the columns' types and roles: TOML, or a schema of TFX (.pbtxt).",
        ),
    ] = None,
    live: Annotated[
        bool | None,
        typer.Option(
            "--promote/--no-promote",
            help="Make it live; by default the first version of a model is.",
        ),
    ] = None,
    reason: ReasonOption = "imported",
    workers: WorkersOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Register a model that was trained elsewhere as a new version, with its baseline."""
    from trueup.cli.progress import progress_on_stderr
    from trueup.config.load import load
    from trueup.registration import Import, import_version
    from trueup.store.blobs import BlobRoot
    from trueup.store.schema import open_store
    from trueup.training_baseline import TrainingData

    _checked_name(model, "model")
    settings = load(config)
    data = None
    if training_data:
        data = TrainingData(
            tuple(training_data), time=time, window=window, label=label,
            ignore=tuple(ignore or ()), spec=spec,
        )  # fmt: skip
    else:
        _need_data({"time": time, "window": window, "label": label, "ignore": ignore, "spec": spec})
    engine = open_store(settings.store)
    wish = Import(model, saved_model, data, live)
    with progress_on_stderr("profiling", quiet=json) as progress:
        found = import_version(
            settings, engine, BlobRoot(settings.blob_root), wish, author(reason),
            workers=workers, progress=progress,
        )  # fmt: skip
    engine.dispose()
    if json:
        _print_json({
            "model": found.model, "version": found.version, "live": found.live,
            "baseline_id": found.baseline_id, "notes": list(found.notes),
        })  # fmt: skip
        return
    state = "is live" if found.live else "is ready; trueup promote makes it live"
    typer.echo(f"{model} version {found.version} {state}.")
    for note in found.notes:
        typer.echo(f"Note: {note}.")


def versions(model: ModelArgument, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List a model's versions, newest first, and the aliases that name them."""
    from trueup.config.load import load
    from trueup.store.engine import reading
    from trueup.store.registry import list_versions
    from trueup.store.schema import open_store

    engine = open_store(load(config).store)
    with reading(engine) as connection:
        found = list_versions(connection, model)
    engine.dispose()
    if json:
        _print_json([
            {
                "version": row.version, "state": row.state.value, "aliases": list(row.aliases),
                "created_at": row.created_at.isoformat(), "created_by": row.created_by,
                "reason": row.reason, "artifact": row.artifact_uri,
                "manifest_sha256": row.manifest_sha256,
                "details": {k: v for k, v in row.details.items() if k != "input_spec"},
            }
            for row in found
        ])  # fmt: skip
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("version", "state", "aliases", "since", "by", "reason"):
        table.add_column(heading, overflow="fold")
    for row in found:
        table.add_row(
            str(row.version), row.state.value, escape(", ".join(row.aliases)),
            f"{row.created_at:%Y-%m-%d %H:%M}", escape(row.created_by), escape(row.reason),
        )  # fmt: skip
    Console().print(table)
    for row in found:
        if note := _note(row):
            typer.echo(f"Version {row.version}: {note}.")


def _note(row: VersionRow) -> str:
    """What a version is that is not ready."""
    from datetime import datetime, timezone

    from trueup.store.unfinished_imports import IMPORTER, SILENCE, last_sign

    if row.state.value == "failed":
        return "its import came to nothing; it can never be live"
    if row.state.value != "staged":
        return ""
    process = row.details.get(IMPORTER, {})
    where = f" on {process['host']} (process {process['pid']})" if process else ""
    heard = last_sign(row.details, row.created_at)
    age = datetime.now(timezone.utc) - heard
    hours = int(SILENCE.total_seconds() // 3600)
    if age.total_seconds() < _HEARD_S:
        return f"it is being imported{where}"
    return (
        f"nothing was heard of its import{where} since {heard:%Y-%m-%d %H:%M} UTC; after {hours} "
        "hours trueup compact gives it up and deletes its files"
    )


def promote(
    model: ModelArgument,
    version: Annotated[int, typer.Argument(min=1, help="The version that is to be live.")],
    alias: AliasOption = "stable",
    reason: ReasonOption = "promoted by hand",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Let an alias name a version: servers switch within seconds, without a failed request."""
    from trueup.config.load import load
    from trueup.store.engine import writing
    from trueup.store.promotion import promote as move
    from trueup.store.schema import open_store

    _checked_name(alias, "alias")
    engine = open_store(load(config).store)
    with writing(engine) as connection:
        change = move(connection, model, version, author(reason), alias=alias)
    engine.dispose()
    if change is None and not json:
        typer.echo(f"{alias} of {model} is version {version} already.")
        return
    _tell(change, json)


def rollback(
    model: ModelArgument,
    alias: AliasOption = "stable",
    reason: ReasonOption = "rolled back by hand",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Let an alias name the version that it named before."""
    from trueup.config.load import load
    from trueup.store.engine import writing
    from trueup.store.promotion import rollback as move
    from trueup.store.schema import open_store

    engine = open_store(load(config).store)
    with writing(engine) as connection:
        change = move(connection, model, author(reason), alias=alias)
    engine.dispose()
    _tell(change, json)


def _tell(change: AliasChange | None, json: bool) -> None:
    if json:
        told = None if change is None else {
            "model": change.model, "alias": change.alias, "before": change.before,
            "version": change.version,
        }  # fmt: skip
        _print_json(told)
    elif change is not None:
        before = "" if change.before is None else f", which was {change.before}"
        typer.echo(f"{change.alias} of {change.model} is version {change.version} now{before}.")


def _need_data(options: Mapping[str, object]) -> None:
    from trueup.errors import BadInputError

    given = [name for name, value in options.items() if value]
    if given:
        raise BadInputError(
            f"--{given[0]} says something of training data, and none are given",
            remedy="name them with --training-data",
        )


def _checked_name(name: str, what: str) -> None:
    """Names of models and aliases are parts of URLs."""
    from pydantic import TypeAdapter, ValidationError

    from trueup.config.settings import ModelName
    from trueup.errors import BadInputError

    try:
        TypeAdapter(ModelName).validate_python(name)
    except ValidationError:
        raise BadInputError(
            f"{name!r} is no name for a {what}",
            remedy="use at most 100 letters, digits, '.', '_' and '-': it is part of URLs",
        ) from None


def _print_json(value: object) -> None:
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
