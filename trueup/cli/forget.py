"""``trueup forget``: erase a person's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trueup.cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

    from trueup.config.settings import Settings
    from trueup.monitor.capture.forget import ForgetReport
    from trueup.monitor.capture.forget_match import Person
    from trueup.store.blobs import BlobRoot


def forget(
    model: Annotated[str, typer.Argument(help="The model whose capture is meant.")],
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VARIABLE=VALUE",
            help="Rows with this value (repeatable; rows that have all of them).",
        ),
    ] = None,
    request_id: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Rows of this request, too (repeatable)."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")] = "asked for",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Erase a person's rows from captured rows, labels and window profiles.

    Sealed segments of this machine's spool are compacted first. That it was done, by whom and
    why is recorded, with a keyed hash in place of the values. Ends with 1 when a spool could not
    be reached: run it again then.
    """
    from datetime import datetime, timezone

    from trueup.cli.progress import progress_on_stderr
    from trueup.config.load import load
    from trueup.monitor.capture.forget import Decision, find
    from trueup.monitor.capture.forget import forget as erase
    from trueup.monitor.capture.forget_reach import ALWAYS, unreached
    from trueup.store.blobs import BlobRoot
    from trueup.store.capture_key import capture_key
    from trueup.store.schema import open_store

    settings = load(config)
    engine, blobs = open_store(settings.store), BlobRoot(settings.blob_root)
    try:
        person = _person(settings, engine, model, key or [], request_id or [])
        now = datetime.now(timezone.utc)
        problems = _compact(settings, engine, blobs, now)
        with progress_on_stderr("looking", quiet=json) as progress:
            found = find(engine, blobs, model, person, now=now, progress=progress)
        if not found.nothing and not yes:
            _ask(found, model)
        decision = Decision(_who(), reason, capture_key(engine, model))
        with progress_on_stderr("erasing", quiet=json) as progress:
            report = erase(
                settings, engine, blobs, model, person, decision, now=now, progress=progress
            )
        out_of_reach = [*problems, *unreached(settings, engine)]
    finally:
        engine.dispose()
    if json:
        import json as writer
        from dataclasses import asdict

        found_json = {**asdict(report), "out_of_reach": out_of_reach, "note": ALWAYS}
        typer.echo(writer.dumps(found_json, ensure_ascii=False))
    else:
        for line in [*_lines(report, model), *(f"Out of reach: {s}." for s in out_of_reach)]:
            typer.echo(line)
        typer.echo(ALWAYS)
    if out_of_reach:
        raise typer.Exit(1)


def _person(
    settings: Settings, engine: Engine, model: str, keys: list[str], request_ids: list[str]
) -> Person:
    from trueup.errors import BadInputError
    from trueup.monitor.capture.forget_match import person
    from trueup.monitor.capture.ingest import declared_spec, policies_of, require_model
    from trueup.monitor.capture.model_facts import FactsBook

    named: dict[str, str] = {}
    for each in keys:
        name, sign, value = each.partition("=")
        if not sign or not name:
            raise BadInputError(f"--key {name!r} has no value", remedy="give VARIABLE=VALUE")
        if named.setdefault(name, value) != value:
            raise BadInputError(f"--key {name} is given twice", remedy="erase one after the other")
    require_model(engine, settings, model)
    spec = declared_spec(engine, FactsBook(engine, settings).of(model))
    return person(named, request_ids, policies_of(settings, engine, model, spec))


def _compact(settings: Settings, engine: Engine, blobs: BlobRoot, now: datetime) -> list[str]:
    """Sealed segments become rows first, where they can be erased; what could not."""
    from trueup.monitor.capture.compact import compact_once
    from trueup.monitor.capture.labels_sink import label_sinks

    sinks = label_sinks(settings, engine, blobs)
    report = compact_once(settings, engine, blobs, now, labels=sinks)
    return [f"segment {name}: {why}" for name, why in report.failed.items()]


def _ask(found: ForgetReport, model: str) -> None:
    import sys

    from trueup.errors import BadInputError

    what = _counted(found)
    if not sys.stdin.isatty():
        raise BadInputError(
            f"{what} of {model} would be erased, and nobody is there to be asked",
            remedy="give --yes",
        )
    typer.confirm(f"Erase {what} of {model} for ever?", abort=True)


def _counted(report: ForgetReport) -> str:
    aside = f", {report.aside:,} frames that had been set aside" if report.aside else ""
    return (
        f"{report.rows:,} rows, {report.labels:,} labels and {report.waiting:,} waiting labels"
        f"{aside} in {report.files:,} files"
    )


def _lines(report: ForgetReport, model: str) -> list[str]:
    if report.nothing:
        return [
            f"Nothing of this was in the capture of {model} (recorded as {report.digest[:16]})."
        ]
    lines = [
        f"Erased {_counted(report)} of {model}; {report.profiles:,} window profiles were counted "
        f"anew (recorded as {report.digest[:16]})."
    ]
    if report.left:
        lines.append(
            f"{len(report.left):,} old files could not be deleted now; nobody reads them, and "
            "trueup compact deletes them within a day."
        )
    return lines


def _who() -> str:
    import getpass
    import platform

    try:
        return f"{getpass.getuser()}@{platform.node()}"
    except (KeyError, OSError):  # a user without a name
        return platform.node()
