"""``trueup labels``: bring in true outcomes, and join them to the rows that they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trueup.cli.ingest import AgainOption, PlaceArgument, QueryOption
from trueup.cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from trueup.monitor.capture.labels_join import JoinReport
    from trueup.monitor.capture.labels_send import SentReport


def labels(
    model: Annotated[str, typer.Argument(help="The model whose rows they are of.")],
    place: PlaceArgument,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="True outcome (repeatable); else the columns label and label.NAME, and the "
            "model's label variable.",
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Variable that names a row (repeatable); else the columns id, or request_id and "
            "row, or label_keys of the configuration.",
        ),
    ] = None,
    labelled_at: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="When it became known; else labelled_at, or now."),
    ] = None,
    query: QueryOption = None,
    again: AgainOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Bring in true outcomes. Those whose row is not there yet wait for it.

    Of two labels for one row the later one counts. Ends with 2 when labels were refused because
    their key is many-to-many.
    """
    from datetime import datetime, timezone

    from trueup.cli.progress import progress_on_stderr
    from trueup.config.load import load
    from trueup.monitor.capture.ingest_source import open_source
    from trueup.monitor.capture.labels_join import join_labels
    from trueup.monitor.capture.labels_send import LabelWishes, send_labels
    from trueup.store.blobs import BlobRoot
    from trueup.store.schema import open_store

    settings = load(config)
    wishes = LabelWishes(tuple(label or ()), tuple(key or ()), labelled_at, again)
    engine, blobs = open_store(settings.store), BlobRoot(settings.blob_root)
    now = datetime.now(timezone.utc)
    with (
        progress_on_stderr(f"labels of {model}", quiet=json) as progress,
        open_source(place, query=query, progress=progress) as source,
    ):
        sent = send_labels(
            settings, engine, blobs, model, source, wishes, now=now, progress=progress
        )
    with progress_on_stderr("finding their rows", quiet=json) as progress:
        retention = settings.model(model).windows.retention
        joined = join_labels(engine, blobs, model, now=now, retention=retention, progress=progress)
    (_print_json if json else _print)(sent, joined)
    if joined.refused:
        raise typer.Exit(2)


def _print(sent: SentReport, joined: JoinReport) -> None:
    named = ", ".join(sent.labels)
    typer.echo(f"{sent.accepted:,} labels ({named}) by {sent.by} (source {sent.source}).")
    for reason, count in sent.refused.counts.items():
        typer.echo(f"Refused: {count:,} labels, {reason}.")
    kinds = "".join(f"; by {key} {kind}" for key, kind in joined.cardinality.items())
    typer.echo(f"{joined.labelled:,} rows were labelled by {joined.resolved:,} labels{kinds}.")
    if joined.waiting:
        typer.echo(f"{joined.waiting:,} labels wait for rows that are not there (yet).")
    if joined.expired:
        typer.echo(f"{joined.expired:,} labels waited longer than rows are kept and are gone.")
    for sentence in joined.sentences:
        typer.echo(f"trueup: {sentence} ({joined.refused:,} labels)", err=True)


def _print_json(sent: SentReport, joined: JoinReport) -> None:
    import json
    from dataclasses import asdict

    found = {
        "source": sent.source, "accepted": sent.accepted, "refused": sent.refused.details(),
        "by": sent.by, "labels": sent.labels, "joined": asdict(joined),
    }  # fmt: skip
    typer.echo(json.dumps(found, ensure_ascii=False))
