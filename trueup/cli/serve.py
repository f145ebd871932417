"""``trueup serve``: the prediction server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trueup.cli.options import ConfigOption


def serve(
    config: ConfigOption = None,
    rest_port: Annotated[
        int | None,
        typer.Option("--rest-port", min=0, max=65_535, help="Port; 0 takes a free one."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Server processes.")] = None,
) -> None:
    """Answer predictions by TensorFlow Serving's REST API, and capture every request.

    Serves what the registry says is live (trueup import, promote) and follows it. SIGTERM or
    Ctrl-C: what is under way is answered, then the capture is sealed.
    """
    import logging

    from trueup.config.load import DEFAULT_FILE, load
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
    supervisor = Supervisor(
        listening,
        serving.workers,
        arguments,
        drain_s=serving.drain_timeout.total_seconds(),
        ended=numbers.forget,
    )
    try:
        code = supervisor.run()
    finally:
        numbers.close()
        listening.close()
    if code:
        raise typer.Exit(code)
