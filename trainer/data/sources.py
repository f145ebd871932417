"""Where rows come from, and all of them as one data set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa

from trueup.datasets.open import open_dataset
from trueup.datasets.parts import Scan, UnitDataset, assemble
from trueup.datasets.sources import find_files, is_url
from trueup.datasets.sql_query import Progress, query_dataset
from trueup.errors import DataError
from trueup.records.input_spec import InputSpec, Role

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Source:
    """Rows of one origin (:class:`trueup.records.training.SourceData` says what they are).

    :param left_out: rows that are not in ``dataset``, by reason; they count in the lineage.
    """

    kind: Literal["files", "query", "capture"]
    name: str
    dataset: UnitDataset
    fingerprint: str
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return self.dataset.rows + sum(self.left_out.values())

    @property
    def shown(self) -> str:
        """For messages."""
        return {"files": self.name, "query": "the query", "capture": "the capture"}[self.kind]


def files_source(paths: Sequence[str]) -> Source:
    """:raises DataError: a file is absent, damaged or of no known form."""
    dataset = open_dataset(list(paths) if len(paths) > 1 else paths[0])
    found = hashlib.sha256()
    for path in paths:
        for file in find_files(path)[0]:
            changed = 0 if is_url(file.path) else Path(file.path).stat().st_mtime_ns
            found.update(f"{file.path}\0{file.size}\0{changed}\0".encode(errors="surrogateescape"))
    return Source("files", ", ".join(paths), dataset, found.hexdigest())


def query_source(url: str, query: str, folder: Path, *, progress: Progress | None = None) -> Source:
    """:param folder: an empty one that holds the rows as long as they are used.

    :raises BadInputError: the query fails.
    """
    dataset = query_dataset(url, query, folder, progress=progress)
    found = hashlib.sha256(query.encode() + b"\0")
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
    return Source("query", query, dataset, found.hexdigest())


def together(sources: Sequence[Source], name: str) -> tuple[UnitDataset, tuple[Source, ...]]:
    """All rows as one data set, and the same sources with its columns and types."""
    scans = [
        Scan(
            source.shown,
            dict(zip(source.dataset.schema.names, source.dataset.schema.types, strict=True)),
            list(source.dataset.units),
            source.dataset.rows,
            list(source.dataset.notes),
        )
        for source in sources
    ]
    whole = assemble(name, scans)
    with_schema = (
        replace(source, dataset=replace(source.dataset, schema=whole.schema)) for source in sources
    )
    return whole, tuple(with_schema)


def refuse_absent(sources: Sequence[Source], spec: InputSpec, model: str) -> None:
    """:raises DataError: a source has no column of the label, the time or a feature that others
    have (it would look as if it had gone missing from one moment to the next).

    :param sources: with their own columns, not those of all.
    """
    for source in sources:
        there = {f.name for f in source.dataset.schema if not pa.types.is_null(f.type)}
        for variable in spec.variables:
            if variable.name in there or variable.role in (Role.ID, Role.IGNORED):
                continue
            if not any(variable.name in other.dataset.schema.names for other in sources):
                continue
            if variable.role in (Role.LABEL, Role.TIME):
                raise DataError(
                    f"{source.shown} has no {variable.role.value} {variable.name!r}, which other "
                    f"data of {model} have",
                    remedy="bring the column in, or leave this source out",
                )
            raise_absent(source, variable.name, model)


def raise_absent(source: Source, feature: str, model: str) -> None:
    """:raises DataError: always."""
    raise DataError(
        f"{source.shown} has no values of {feature!r}, which other data of {model} have",
        remedy=f"mend where it comes from, or set [models.{model}.variables.{feature}] role to "
        '"ignored"',
    )
