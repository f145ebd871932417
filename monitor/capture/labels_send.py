"""Labels from files and queries: ``trueup labels``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
from sqlalchemy import Engine

from trueup.config.settings import Settings
from trueup.datasets.column_policies import ColumnPolicies
from trueup.errors import BadInputError, ConflictError
from trueup.monitor.capture.event_time import microseconds
from trueup.monitor.capture.ingest import (
    declared_spec,
    new_source_id,
    policies_of,
    require_columns,
    require_model,
)
from trueup.monitor.capture.ingest_source import HOST, Source
from trueup.monitor.capture.labels_files import LABEL
from trueup.monitor.capture.labels_items import RefusedLabels
from trueup.monitor.capture.labels_sink import WaitingSink, label_name
from trueup.monitor.capture.labels_store import add_files, delete_blobs
from trueup.monitor.capture.model_facts import FactsBook
from trueup.monitor.capture.orphans import refuse_stale
from trueup.records.input_spec import InputSpec
from trueup.store.blobs import BlobRoot
from trueup.store.engine import writing
from trueup.store.tables import SegmentState, segments
from trueup.store.updates import insert_if_absent

ID, REQUEST_ID, ROW, LABELLED_AT = "id", "request_id", "row", "labelled_at"
"""Columns that are taken for what they are called."""

PARTITIONS = 256

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LabelWishes:
    """What the user says of the columns; what is not said is told by their names.

    :param labels: label columns. :param keys: key columns: variables of the model.
    """

    labels: Sequence[str] = ()
    keys: Sequence[str] = ()
    labelled_at: str | None = None
    again: bool = False


@dataclass
class SentReport:
    """Labels that were taken; they are joined next."""

    source: str
    accepted: int = 0
    refused: RefusedLabels = field(default_factory=RefusedLabels)
    by: str = ""
    labels: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Columns:
    """:param labels: column → name of the label."""

    labels: dict[str, str]
    keys: tuple[str, ...] = ()
    id: str | None = None
    request_id: str | None = None
    row: str | None = None
    labelled_at: str | None = None

    @property
    def all(self) -> list[str]:
        named = (self.id, self.request_id, self.row, self.labelled_at)
        columns = [*self.labels, *self.keys, *(name for name in named if name is not None)]
        return list(dict.fromkeys(columns))


def send_labels(
    settings: Settings,
    engine: Engine,
    blobs: BlobRoot,
    model: str,
    source: Source,
    wishes: LabelWishes,
    *,
    now: datetime,
    progress: Progress | None = None,
) -> SentReport:
    """Take the labels of ``source``: they wait for their rows, and join_labels finds them.

    :raises BadInputError: when ``model`` or a column is unknown, the same content was brought in
        before, or no label can be used. Nothing is changed then.
    """
    require_model(engine, settings, model)
    key = new_source_id(engine, model, source, kind="labels", again=wishes.again, now=now)
    facts = FactsBook(engine, settings).of(model)
    spec = declared_spec(engine, facts)
    policies = policies_of(settings, engine, model, spec)
    keys = tuple(wishes.keys) or settings.model(model).windows.label_keys
    columns = _columns(source, wishes, keys, spec)
    report = SentReport(key, by=_by(columns), labels=sorted(columns.labels.values()))
    report.notes += source.dataset.notes
    began = datetime.now(timezone.utc)
    sink = WaitingSink(key, blobs, lambda _: spec)
    try:
        _take(source, model, columns, policies, sink, microseconds(now), progress)
        report.accepted, report.refused = sink.accepted, sink.refused
        files = sink.files()
        if not files:
            reasons = "; ".join(f"{reason}: {n}" for reason, n in sink.refused.counts.items())
            raise BadInputError(f"no label of {source.shown} can be used ({reasons})")
        values = {
            "id": key, "host": HOST, "path": source.shown, "state": SegmentState.COMPACTED.value,
            "opened_at": now, "sealed_at": now, "compacted_at": now, "frames": sink.accepted,
            "details": {"model": model, "content": source.content, "labels": sink.accepted,
                        "refused_labels": sink.refused.details()},
        }  # fmt: skip
        with writing(engine) as connection:
            if not insert_if_absent(connection, segments, values):
                raise ConflictError(f"{source.shown} was brought in by another process meanwhile")
            add_files(connection, files, key, now)
            refuse_stale(began)
    except BaseException:
        delete_blobs(blobs, [file.values["uri"] for file in sink.written])
        raise
    return report


def _take(
    source: Source,
    model: str,
    columns: _Columns,
    policies: ColumnPolicies,
    sink: WaitingSink,
    now_us: int,
    progress: Progress | None,
) -> None:
    total, done = max(source.dataset.rows, 1), 0
    for part in source.dataset.partitions(PARTITIONS):
        for batch in part.batches(columns.all):
            for place, item in enumerate(_items(batch, columns, policies), done):
                sink.add_item(model, item, f"{sink.source}-0-{place}", now_us)
            done += batch.num_rows
            if progress is not None:
                progress(min(done, total), total)


def _items(
    batch: pa.RecordBatch, columns: _Columns, policies: ColumnPolicies
) -> Iterator[dict[str, Any]]:
    """Each row as an item of ``POST /trueup/v1/labels``."""
    values = {name: batch.column(place).to_pylist() for place, name in enumerate(columns.all)}
    for row in range(batch.num_rows):
        item: dict[str, Any] = {}
        if columns.id is not None:
            item["id"] = _text(values[columns.id][row])
        elif columns.request_id is not None:
            number = _whole(values[columns.row][row]) if columns.row is not None else 0
            request = _text(values[columns.request_id][row])
            item["id"] = None if request is None or number is None else f"{request}/{number}"
        else:
            item["key"] = policies.row({name: values[name][row] for name in columns.keys})
        said = {name: values[column][row] for column, name in columns.labels.items()}
        said = {name: _plain(value) for name, value in policies.row(said).items()}
        item["label"] = said
        if columns.labelled_at is not None:
            item["labelled_at"] = values[columns.labelled_at][row]
        yield item


def _whole(value: object) -> object:
    """Columns of integers come as floats once a value is missing."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text(value: object) -> str | None:
    value = _whole(value)
    return None if value is None else str(value)


def _plain(value: object) -> object:
    """A value as JSON has it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat()
    return value


def _columns(
    source: Source, wishes: LabelWishes, keys: tuple[str, ...], spec: InputSpec | None
) -> _Columns:
    names = source.dataset.schema.names
    given = [("labelled-at", wishes.labelled_at)]
    given += [("label", name) for name in wishes.labels] + [("key", name) for name in wishes.keys]
    require_columns(source.dataset.name, names, given)
    labelled_at = wishes.labelled_at or (LABELLED_AT if LABELLED_AT in names else None)
    by_id = ID in names and not wishes.keys and ID not in keys
    by_request = not by_id and not wishes.keys and REQUEST_ID in names
    if not (by_id or by_request) and not (keys and all(key in names for key in keys)):
        raise BadInputError(
            f"{source.dataset.name} does not say which rows its labels are of",
            remedy=f"give a column {ID} (<request id>/<row>, or a row id), columns {REQUEST_ID} "
            f"and {ROW}, or key columns by --key",
        )
    taken = {labelled_at, ID if by_id else None, REQUEST_ID if by_request else None}
    taken |= set(keys) if not (by_id or by_request) else set()
    labels = _label_columns(names, wishes.labels, spec, source.dataset.name, taken)
    return _Columns(
        labels, () if by_id or by_request else keys,
        ID if by_id else None, REQUEST_ID if by_request else None,
        ROW if by_request and ROW in names else None, labelled_at,
    )  # fmt: skip


def _label_columns(
    names: Sequence[str],
    asked: Sequence[str],
    spec: InputSpec | None,
    where: str,
    taken: set[str | None],
) -> dict[str, str]:
    """Column → name of the label: those asked for, else ``label``, the model's label variable, and
    ``label.<name>`` (as the capture calls them)."""
    alone = label_name(spec)
    found = {name: alone if name == LABEL[:-1] else name.removeprefix(LABEL) for name in asked}
    if not asked:
        for name in names:
            if name in taken:
                continue
            if name in (LABEL[:-1], alone):
                found[name] = alone
            elif name.startswith(LABEL):
                found[name] = name.removeprefix(LABEL)
    if not found:
        raise BadInputError(
            f"{where} has no label column", remedy="name it label, or say which by --label COLUMN"
        )
    if len(set(found.values())) < len(found):
        twice = next(n for n in found.values() if list(found.values()).count(n) > 1)
        raise BadInputError(
            f"{where} has several columns for the label {twice!r}", remedy="say which by --label"
        )
    return found


def _by(columns: _Columns) -> str:
    if columns.keys:
        return f"key {', '.join(columns.keys)}"
    return "id" if columns.id is not None else "request id and row"
