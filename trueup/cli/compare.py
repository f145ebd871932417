"""``trueup compare``: one data set against another, no set-up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trueup.cli.options import (
    ConfigOption,
    IgnoreOption,
    JsonOption,
    LabelOption,
    SpecOption,
    WorkersOption,
)

EXIT_CODES = {"ok": 0, "watch": 0, "drift": 3, "fault": 4}


def compare(
    training: Annotated[
        str,
        typer.Argument(
            help="Training data (file, folder, glob or URL), their profile, or TFDV statistics."
        ),
    ],
    serving: Annotated[str, typer.Argument(help="Serving data: file, folder, glob or URL.")],
    json: JsonOption = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report as one HTML page.")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Event time: windows, not rows, count as evidence."),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="LENGTH", help="Window length, such as 1d; chosen when not given."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="Join rows by this column and compare their values (repeatable)."
        ),
    ] = None,
    label: LabelOption = None,
    ignore: IgnoreOption = None,
    spec: SpecOption = None,
    slice_name: Annotated[
        str | None,
        typer.Option("--slice", metavar="NAME", help="Slice, where TRAINING is TFDV statistics."),
    ] = None,
    workers: WorkersOption = None,
    config: ConfigOption = None,
) -> None:
    """Compare serving data with training data.

    Exit code 0: nothing moved, or something to watch; 3: drift (retraining helps); 4: fault
    (something is broken: mend it); 2: the input is wrong.
    """
    from trueup.cli.outputs import check_outputs
    from trueup.cli.progress import progress_on_stderr
    from trueup.comparison import compare as compare_data
    from trueup.config.load import load
    from trueup.frames.whole import write_whole
    from trueup.web.terminal import print_report

    settings = load(config).compare
    check_outputs((html,), (training, serving))
    with progress_on_stderr("comparing", quiet=json) as progress:
        result = compare_data(
            training, serving, time=time, window=window, key=key or (), label=label,
            ignore=ignore or (), spec=spec, slice_name=slice_name, settings=settings,
            workers=workers, progress=progress,
        )  # fmt: skip
    if html is not None:
        write_whole(html, result.to_html().encode())
    if json:
        typer.echo(result.to_json())
    else:
        print_report(result.report)
        if html is not None:
            typer.echo(f"The page is in {html}.")
    raise typer.Exit(EXIT_CODES[result.verdict.value])
