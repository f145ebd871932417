"""``trueup serve``: the prediction server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trueup.cli.options import ConfigOption

if TYPE_CHECKING:
    from trueup.config.settings import Settings
    from trueup.store.blobs import BlobRoot


def serve(
    config: ConfigOption = None,
    rest_port: Annotated[
        int | None,
        typer.Option("--rest-port", min=0, max=65_535, help="Port; 0 takes a free one."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Server processes.")] = None,
    lifeline: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Answer predictions by TensorFlow Serving's REST API, and capture every request.

    Serves what the registry says is live (trueup import, promote) and follows it. SIGTERM or
    Ctrl-C: what is under way is answered, then the capture is sealed (and uploaded, where
    capture.upload_on_stop says so).
    """
    import logging

    from trueup.config.load import DEFAULT_FILE, load
    from trueup.lifeline import end_with_parent
    from trueup.serving.listen import bind, refuse_exposure, tls_context, url_of
    from trueup.serving.metrics_folder import ServerFolder
    from trueup.serving.supervisor import Supervisor, check_spool, check_store
    from trueup.serving.worker import METRICS_FOLDER

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s server: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    settings = load(config)
    given = {"host": host, "rest_port": rest_port, "workers": workers}
    serving = settings.serving.model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    tls = tls_context(serving)
    check_spool(settings.spool_dir)
    uploads = _blob_root(settings) if settings.capture.upload_on_stop else None
    refuse_exposure(serving, usable_tokens=check_store(settings.store, serving.host))
    listening = bind(serving.host, serving.rest_port)
    typer.echo(
        f"Listening on {url_of(listening, tls=tls is not None)} with {serving.workers} "
        f"{'worker' if serving.workers == 1 else 'workers'}; /readyz says when models are loaded."
    )
    numbers = ServerFolder(settings.spool_dir / METRICS_FOLDER)
    source: Path | None = config or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    arguments = [
        "--host",
        serving.host,
        "--workers",
        str(serving.workers),
        "--metrics",
        numbers.name,
    ]
    if source is not None:
        arguments += ["--config", str(source.absolute())]
    end_with_parent(lifeline)
    supervisor = Supervisor(
        listening,
        serving.workers,
        arguments,
        drain_s=serving.drain_timeout.total_seconds(),
        ended=numbers.forget,
    )
    try:
        code = supervisor.run()
        if uploads is not None:
            from trueup.serving.upload import LEAST_S, upload_spool

            within_s = max(LEAST_S, supervisor.left_to_drain_s())
            code = int(not upload_spool(settings.spool_dir, uploads, within_s)) or code
    finally:
        numbers.close()
        listening.close()
    if code:
        raise typer.Exit(code)


def _blob_root(settings: Settings) -> BlobRoot:
    """Opened at the start, so that one that cannot be is said then."""
    from trueup.store.blobs import BlobRoot

    return BlobRoot(settings.blob_root)
