"""The door: anything with rows becomes a :class:`trueup.records.dataset.Dataset`."""

from __future__ import annotations

import os
from typing import Any

from trueup.datasets.parts import Scan, UnitDataset, assemble
from trueup.datasets.sources import File, find_files
from trueup.errors import DataError


def open_dataset(source: Any, *, name: str | None = None) -> UnitDataset:
    """The rows of a pandas or polars DataFrame, an Arrow table, or of the CSV, Parquet, JSON lines
    and TFRecord files that a path, glob, directory or fsspec URL names.

    Text and TFRecord files are read once here to find their types; Parquet's footers tell them.
    Nothing is kept in memory but the schema and where to read.

    Several paths in a list are one data set, which has the columns of all of them.

    :param name: for messages; the path, or what kind of frame it is, when not given.
    :raises DataError: when the source is absent, empty, damaged, or has two columns of one name;
        the message names file and column, and line where there is one.

    >>> import pandas
    >>> frame = open_dataset(pandas.DataFrame({"a": [1, 2]}), name="training")
    >>> frame.name, frame.rows, frame.schema.names
    ('training', 2, ['a'])
    """
    if isinstance(source, UnitDataset):
        return source
    if _is_path(source):
        path = os.fspath(source)
        files, notes = find_files(str(path))
        return assemble(name or str(path), [_scan(file) for file in files], notes=notes)
    if isinstance(source, list | tuple) and source and all(map(_is_path, source)):
        found = [find_files(str(os.fspath(path))) for path in source]
        return assemble(
            name or ", ".join(os.fspath(path) for path in source),
            [_scan(file) for files, _ in found for file in files],
            notes=[note for _, notes in found for note in notes],
        )
    scan = _scan_frame(source, name)
    return assemble(scan.source, [scan])


def _is_path(source: Any) -> bool:
    return isinstance(source, str | os.PathLike)


def _scan(file: File) -> Scan:
    if not file.size:
        return Scan(file.path, {}, [], 0)
    if file.format == "parquet":
        from trueup.datasets.parquet_file import scan_parquet as scan
    elif file.format == "json":
        from trueup.datasets.json_lines import scan_json as scan
    elif file.format == "tfrecord":
        from trueup.datasets.tfrecord_file import scan_tfrecord as scan
    else:
        from trueup.datasets.csv_file import scan_csv as scan
    return scan(file)


def _scan_frame(frame: Any, name: str | None) -> Scan:
    from trueup.datasets.memory import scan_pandas, scan_polars, scan_table

    home = type(frame).__module__.partition(".")[0]
    kind = type(frame).__name__
    if home == "pandas" and kind == "DataFrame":
        return scan_pandas(frame, name or "DataFrame")
    if home == "polars" and kind in ("DataFrame", "LazyFrame"):
        return scan_polars(frame, name or "DataFrame")
    if home == "pyarrow" and kind in ("Table", "RecordBatch"):
        import pyarrow as pa

        table = pa.Table.from_batches([frame]) if kind == "RecordBatch" else frame
        return scan_table(table, name or kind)
    raise DataError(
        f"a {type(frame).__module__}.{kind} is not a data set",
        remedy="give a DataFrame, an Arrow table, or the path of CSV, Parquet, JSON lines or "
        "TFRecord files",
    )
