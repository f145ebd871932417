"""``trueup ingest``: bring in raw inputs that were logged elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trueup.cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from trueup.monitor.capture.ingest import IngestReport

PlaceArgument = Annotated[
    str,
    typer.Argument(
        metavar="PATH_OR_URL",
        help="JSON lines, CSV, Parquet or TFRecord: a file, folder, glob or URL; with --query the "
        "URL of a database.",
    ),
]
QueryOption = Annotated[
    str | None,
    typer.Option(metavar="SQL", help="Take the rows that this query gives (read in a stream)."),
]
AgainOption = Annotated[
    bool, typer.Option("--again", help="Also when the same content was brought in before.")
]


def ingest(
    model: Annotated[str, typer.Argument(help="The model that was served.")],
    place: PlaceArgument,
    time: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Event time; else the model's time variable, or now."),
    ] = None,
    prediction: Annotated[
        list[str] | None,
        typer.Option(metavar="[OUTPUT=]COLUMN", help="What the model answered (repeatable)."),
    ] = None,
    request_id: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Ids by which labels name rows; rows of one request follow each other.",
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Labels will name rows by it (repeatable)."),
    ] = None,
    query: QueryOption = None,
    model_version: Annotated[
        int, typer.Option(min=0, metavar="N", help="The version that answered, if it is known.")
    ] = 0,
    again: AgainOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Bring raw inputs that were served and logged elsewhere into the capture of a model.

    Says how many rows were refused, and why. The same content is brought in once.
    """
    from datetime import datetime, timezone

    from trueup.cli.progress import progress_on_stderr
    from trueup.config.load import load
    from trueup.monitor.capture.ingest import IngestWishes
    from trueup.monitor.capture.ingest import ingest as bring_in
    from trueup.monitor.capture.ingest_source import open_source
    from trueup.store.blobs import BlobRoot
    from trueup.store.schema import open_store

    settings = load(config)
    wishes = IngestWishes(
        time, tuple(prediction or ()), request_id, tuple(key or ()), model_version, again
    )
    engine, blobs = open_store(settings.store), BlobRoot(settings.blob_root)
    with (
        progress_on_stderr(f"ingesting {model}", quiet=json) as progress,
        open_source(place, query=query, progress=progress) as source,
    ):
        now = datetime.now(timezone.utc)
        report = bring_in(
            settings, engine, blobs, model, source, wishes, now=now, progress=progress
        )
    if json:
        _print_json(report)
        return
    typer.echo(
        f"{report.rows:,} rows of {model} from {report.first_event_at:%Y-%m-%d %H:%M} to "
        f"{report.last_event_at:%Y-%m-%d %H:%M} UTC (source {report.source})."
    )
    for reason, count in report.refused.counts.items():
        rows = ", ".join(str(row) for row in report.refused.examples[reason])
        typer.echo(f"Refused: {count:,} rows, {reason} (the first: row {rows}).")
    for name, count in report.type_errors.items():
        typer.echo(f"{name}: {count:,} rows have a value of another type; kept without it.")
    for note in report.notes:
        typer.echo(f"Note: {note}.")


def _print_json(report: IngestReport) -> None:
    import json

    refused = {
        reason: {"rows": count, "examples": report.refused.examples[reason]}
        for reason, count in report.refused.counts.items()
    }
    found = {
        "source": report.source, "rows": report.rows, "refused": refused,
        "type_errors": report.type_errors, "files": report.files, "bytes": report.bytes,
        "profiles": report.profiles,
        "first_event_at": report.first_event_at and report.first_event_at.isoformat(),
        "last_event_at": report.last_event_at and report.last_event_at.isoformat(),
        "notes": report.notes,
    }  # fmt: skip
    typer.echo(json.dumps(found, ensure_ascii=False))
