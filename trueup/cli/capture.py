"""``trueup capture MODEL``: what was captured, read back as rows."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from trueup.cli.options import ConfigOption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from typing import BinaryIO

    import pyarrow as pa

    from trueup.cli.progress import Update
    from trueup.config.settings import Settings
    from trueup.monitor.capture.read import Capture


def capture(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TIME",
            help="Event times from here on: ISO 8601, or a length such as 24h for that long ago.",
        ),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Event times before this, likewise.")
    ] = None,
    form: Annotated[
        Literal["parquet", "jsonl"], typer.Option("--format", help="What to write.")
    ] = "jsonl",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Standard output when not given."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns", metavar="NAMES",
            help="Only these, with commas between (repeatable): row_id, event_time, in.VARIABLE, "
            "out.OUTPUT, …; docs/capture.md lists them.",
        ),
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Put true outcomes beside the rows: label.NAME.")
    ] = False,
    config: ConfigOption = None,
) -> None:  # fmt: skip
    """Write captured rows of MODEL: inputs as clients sent them, predictions, version, status."""
    import sys
    from datetime import datetime, timezone

    from trueup.cli.outputs import check_outputs
    from trueup.config.load import load
    from trueup.errors import BadInputError

    now = datetime.now(timezone.utc)
    first, last = (None if text is None else moment(text, now) for text in (start, end))
    check_outputs((output,), ())
    if output is None and form == "parquet" and sys.stdout.isatty():
        raise BadInputError("Parquet is nothing for a terminal", remedy="name a file by -o FILE")
    names = tuple(name for text in columns or () for name in text.split(",") if name)
    wish = _Wish(model, first, last, names, labels)
    rows, files = _export(load(config), wish, form, output)
    typer.echo(f"{rows:,} row{'' if rows == 1 else 's'} of {files:,} files.", err=True)


class _Wish(NamedTuple):
    """Which rows, and what of them."""

    model: str
    first: datetime | None
    last: datetime | None
    columns: tuple[str, ...]
    labels: bool


def _export(settings: Settings, wish: _Wish, form: str, output: Path | None) -> tuple[int, int]:
    """Write the rows; how many, and of how many files."""
    from trueup.cli.progress import progress_on_stderr
    from trueup.monitor.capture.labels_read import labels_of
    from trueup.monitor.capture.read import read_capture
    from trueup.store.blobs import BlobRoot
    from trueup.store.schema import open_store

    engine, blobs = open_store(settings.store), BlobRoot(settings.blob_root)
    stretch = (engine, blobs, wish.model, wish.first, wish.last)
    try:
        beside = labels_of(*stretch) if wish.labels else None
        found = read_capture(*stretch, columns=wish.columns or None, labels=beside)
        with (
            progress_on_stderr("reading", quiet=output is None) as progress,
            _sink(output) as sink,
        ):
            return _write(found, sink, form, progress), found.files
    finally:
        engine.dispose()


def moment(text: str, now: datetime) -> datetime:
    """A time as users write it.

    :raises BadInputError: when it is none.
    """
    from datetime import datetime, timedelta, timezone

    from trueup.errors import BadInputError
    from trueup.profile.window_length import window_seconds

    try:
        found = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except ValueError:
        try:
            return now - timedelta(seconds=window_seconds(text))
        except (BadInputError, OverflowError):
            raise BadInputError(
                f"{text!r} is no time",
                remedy="write ISO 8601, such as 2013-07-01T05:00Z, or a length ago, such as 24h",
            ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)


@contextmanager
def _sink(output: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that takes its name when all is written."""
    import os
    import sys

    if output is None:
        yield sys.stdout.buffer
        return
    partial = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as stream:
            yield stream
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


def _write(found: Capture, sink: BinaryIO, form: str, progress: Update | None) -> int:
    rows = 0
    with _writer(found.schema, sink, form) as write:
        for batch in found.batches():
            write(batch)
            rows += batch.num_rows
            if progress is not None:
                progress(min(rows, found.rows), found.rows)
    return rows


@contextmanager
def _writer(
    schema: pa.Schema, sink: BinaryIO, form: str
) -> Iterator[Callable[[pa.RecordBatch], None]]:
    if form == "jsonl":
        yield lambda batch: _write_lines(batch, sink)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    # A stream that cannot tell its place, such as a pipe, will do for a file that is written once.
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        yield lambda batch: writer.write_table(pa.Table.from_batches([batch]))


def _write_lines(batch: pa.RecordBatch, sink: BinaryIO) -> None:
    from trueup.monitor.capture.row_json import json_of, plain

    for row in batch.to_pylist():
        sink.write(json_of({name: plain(value) for name, value in row.items()}) + b"\n")
