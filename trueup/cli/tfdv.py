"""``trueup tfdv``: schemas and anomalies, by TensorFlow Data Validation itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trueup.cli.options import JsonOption

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

    from trueup.tfdv.anomalies import Validation

EXIT_ANOMALIES = 3

tfdv = typer.Typer(
    help="Schemas and anomalies of TFDV statistics, by TensorFlow Data Validation itself.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

StatisticsArgument = Annotated[
    str,
    typer.Argument(
        help="Statistics of TFDV, TFX or trueup profile --tfdv: file, TFX folder, pattern or URL."
    ),
]
SliceOption = Annotated[
    str | None,
    typer.Option("--slice", metavar="NAME", help="Which slice; all examples when not given."),
]


@tfdv.command("infer-schema")
def infer_schema(
    statistics: StatisticsArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE",
            help="Text for .pbtxt, else binary; printed when not given.",
        ),
    ] = None,
    max_string_domain_size: Annotated[
        int, typer.Option(min=0, help="Strings with more values get no domain.")
    ] = 100,
    shapes: Annotated[
        bool, typer.Option("--shapes/--no-shapes", help="Infer shapes of features, too.")
    ] = True,
    slice_name: SliceOption = None,
) -> None:  # fmt: skip
    """Infer a schema, as tfdv.infer_schema does."""
    from google.protobuf import text_format

    from trueup.tfdv.files import write_message
    from trueup.tfdv.process import TfdvProcess

    known = _open(statistics, slice_name)
    with TfdvProcess() as process:
        schema = process.infer_schema(
            known, infer_feature_shape=shapes, max_string_domain_size=max_string_domain_size
        )
    if output is None:
        typer.echo(text_format.MessageToString(schema, as_utf8=True), nl=False)
        return
    write_message(schema, output)
    typer.echo(f"The schema of {len(schema.feature)} features is in {output}.")


@tfdv.command("validate")
def validate(
    statistics: StatisticsArgument,
    schema: Annotated[
        str, typer.Option(metavar="FILE", help="What the statistics shall fit: .pbtxt or binary.")
    ],
    previous: Annotated[
        str | None,
        typer.Option(metavar="STATISTICS", help="What drift comparators compare with."),
    ] = None,
    serving: Annotated[
        str | None,
        typer.Option(metavar="STATISTICS", help="What skew comparators compare with."),
    ] = None,
    environment: Annotated[
        str | None, typer.Option(metavar="NAME", help="An environment of the schema.")
    ] = None,
    slice_name: SliceOption = None,
    json: JsonOption = False,
) -> None:
    """Find anomalies, as tfdv.validate_statistics does.

    Exit code 0: none; 3: some; 2: statistics or schema cannot be used.
    """
    from trueup.errors import DataError
    from trueup.tfdv.files import read_schema
    from trueup.tfdv.process import TfdvProcess

    known, rules = _open(statistics, slice_name), read_schema(schema)
    before = None if previous is None else _open(previous, slice_name)
    after = None if serving is None else _open(serving, slice_name)
    with TfdvProcess() as process:
        validation = process.validate(
            known, rules, previous=before, serving=after, environment=environment
        )
    if validation.data_missing:
        raise DataError(f"{statistics} is of no examples, so nothing can be validated")
    if json:
        typer.echo(_as_json(validation))
    else:
        _print_validation(validation, f"{statistics} against {schema}")
    if validation.anomalies:
        raise typer.Exit(EXIT_ANOMALIES)


@tfdv.command("facets")
def facets(
    statistics: StatisticsArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The page to write.")
    ],
    other: Annotated[
        str | None,
        typer.Option("--with", metavar="STATISTICS", help="Drawn over them, such as serving's."),
    ] = None,
    slice_name: SliceOption = None,
) -> None:
    """Draw statistics by Facets, which the page loads from the network."""
    from trueup.frames.whole import write_whole
    from trueup.tfdv.process import TfdvProcess

    known = _open(statistics, slice_name)
    beside = None if other is None else _open(other, slice_name)
    with TfdvProcess() as process:
        page = process.statistics_html(known, beside)
    write_whole(output, page.encode())
    typer.echo(f"The page is in {output}.")


def _open(path: str, slice_name: str | None) -> DatasetFeatureStatisticsList:
    from trueup.tfdv.baseline import read_slice

    return read_slice(path, slice_name)


def _as_json(validation: Validation) -> str:
    import json
    from dataclasses import asdict

    found: dict[str, Any] = asdict(validation)
    del found["data_missing"]
    return json.dumps(found, indent=2, ensure_ascii=False)


def _print_validation(validation: Validation, what: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if validation.anomalies:
        table = Table(box=None, pad_edge=False)
        for heading in ("feature", "anomaly", "description"):
            table.add_column(heading, overflow="fold")
        for one in validation.anomalies:
            table.add_row(*map(escape, (one.feature or "(data set)", one.short, one.description)))
        Console().print(table)
    for measured in validation.measurements:
        distance = measured.distance.lower().replace("_", " ")
        typer.echo(
            f"{measured.comparison} of {measured.feature}: {distance} {measured.value:.4g}, "
            f"threshold {measured.threshold:.4g}"
        )
    count = len(validation.anomalies)
    found = "no anomalies" if not count else "1 anomaly" if count == 1 else f"{count} anomalies"
    typer.echo(f"{what}: {found}.")
