"""``trueup profile``: what is in a data set, and its profile as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trueup.cli.options import (
    IgnoreOption,
    JsonOption,
    LabelOption,
    SpecOption,
    WorkersOption,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from trueup.baseline import Baseline
    from trueup.profile.mapreduce import Progress
    from trueup.records.input_spec import InputSpec


def profile(
    data: Annotated[str, typer.Argument(
            help="Data (file, folder, glob or URL), a profile of them, or TFDV statistics."
        )],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE",
            help="Write the profile; trueup compare takes it in place of the training data.",
        ),
    ] = None,
    tfdv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write TFDV statistics too: text for .pbtxt, TFRecord for .tfrecord, else binary.",
        ),
    ] = None,
    write_spec: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write what the columns are, to be corrected: TOML, or a schema of TFX (.pbtxt).",
        ),
    ] = None,
    spec: SpecOption = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="Event time.")] = None,
    label: LabelOption = None,
    ignore: IgnoreOption = None,
    workers: WorkersOption = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Say what is in a data set, column by column; with -o keep its profile."""
    from trueup.baseline import Wishes, open_baseline
    from trueup.cli.outputs import check_outputs
    from trueup.cli.progress import progress_on_stderr
    from trueup.monitor.describe import describe
    from trueup.profile.file import save_profile
    from trueup.web.profile_table import print_profile

    wishes = Wishes(time=time, label=label, ignore=tuple(ignore or ()), spec=spec)
    check_outputs((output, tfdv, write_spec), (data,))
    with progress_on_stderr("profiling", quiet=json) as progress:
        found = open_baseline(data, wishes, workers=workers, progress=progress)
        if tfdv is not None:
            _write_tfdv(found, tfdv, wishes.ignore, workers, progress)
    written = []
    if output is not None:
        save_profile(found.to_file(), output)
        written.append(f"The profile is in {output}.")
    if tfdv is not None:
        written.append(f"TFDV statistics are in {tfdv}.")
    if write_spec is not None:
        _write_spec(found.profile.edges.spec, write_spec)
        written.append(f"What the columns are is in {write_spec}.")
    summary = describe(found.profile, found.name, found.notes)
    if json:
        typer.echo(summary.model_dump_json())
        return
    print_profile(summary)
    for sentence in written:
        typer.echo(sentence)


def _write_tfdv(
    found: Baseline,
    path: Path,
    leave_out: Collection[str],
    workers: int | None,
    progress: Progress | None,
) -> None:
    from trueup.tfdv.rest import profile_rest
    from trueup.tfdv.statistics import write_statistics

    rest = None
    if found.dataset is not None:
        rest = profile_rest(
            found.dataset, found.profile.edges.spec,
            leave_out=leave_out, workers=workers, progress=progress,
        )  # fmt: skip
    write_statistics(found.profile, path, name=found.name, rest=rest)


def _write_spec(spec: InputSpec, path: Path) -> None:
    from trueup.datasets.spec_toml import dump_spec
    from trueup.frames.whole import write_whole
    from trueup.tfdv.corrections import is_schema_path
    from trueup.tfdv.schema import write_schema

    if is_schema_path(path):
        write_schema(spec, path)
    else:
        write_whole(path, dump_spec(spec).encode())
