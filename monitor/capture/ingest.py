"""Bringing in raw inputs that were served and logged elsewhere.

They are written as compaction writes rows, and get into the manifest with their partial profiles in
one transaction: a run that is killed has brought in nothing, and the same content is brought in
once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from sqlalchemy import Engine, insert, select

from trueup.config.settings import Settings
from trueup.datasets.column_policies import ColumnPolicies
from trueup.datasets.infer import closest, infer_spec
from trueup.datasets.parts import UnitDataset
from trueup.errors import BadInputError, ConflictError
from trueup.frames.segment_files import RANDOM_BYTES, mint_segment_id
from trueup.monitor.capture.collect_rows import Collector, summed
from trueup.monitor.capture.event_time import microseconds, moment_of, time_variable
from trueup.monitor.capture.ingest_rows import RefusedRows, RowsIn, Wanted, outputs_of
from trueup.monitor.capture.ingest_source import HOST, Source, source_id
from trueup.monitor.capture.labels_store import delete_blobs
from trueup.monitor.capture.model_facts import FactsBook, ModelFacts
from trueup.monitor.capture.orphans import refuse_stale
from trueup.monitor.capture.segment_rows import partial_row
from trueup.monitor.capture.watermark import watermark_of
from trueup.records.input_spec import InputSpec, Variable
from trueup.store.blobs import BlobRoot
from trueup.store.capture_key import KEY_BYTES, capture_key
from trueup.store.engine import reading, writing
from trueup.store.tables import SegmentState, manifest, models, profiles, segments
from trueup.store.updates import insert_if_absent

PARTITIONS = 256

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class IngestWishes:
    """What the user says of the columns.

    :param predictions: ``COLUMN`` or ``OUTPUT=COLUMN``.
    :param keys: columns that labels will name rows by; they must be there.
    :param again: bring in content that was brought in before.
    """

    time: str | None = None
    predictions: Sequence[str] = ()
    request_id: str | None = None
    keys: Sequence[str] = ()
    version: int = 0
    again: bool = False


@dataclass
class IngestReport:
    """What was brought in.

    :param type_errors: rows that hold a value of another type than declared, by variable; they are
        kept without it.
    """

    source: str
    rows: int = 0
    files: int = 0
    bytes: int = 0
    profiles: int = 0
    first_event_at: datetime | None = None
    last_event_at: datetime | None = None
    refused: RefusedRows = field(default_factory=RefusedRows)
    type_errors: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def ingest(
    settings: Settings,
    engine: Engine,
    blobs: BlobRoot,
    model: str,
    source: Source,
    wishes: IngestWishes,
    *,
    now: datetime,
    progress: Progress | None = None,
) -> IngestReport:
    """Bring the rows of ``source`` into the capture of ``model``.

    :raises BadInputError: when ``model`` or a column is unknown, the same content was brought in
        before, or no row can be used. Nothing is changed then.
    """
    require_model(engine, settings, model)
    source_key = new_source_id(engine, model, source, kind="rows", again=wishes.again, now=now)
    facts = FactsBook(engine, settings).of(model)
    spec = declared_spec(engine, facts)
    policies = policies_of(settings, engine, model, spec)
    report = IngestReport(source_key, notes=list(source.dataset.notes))
    wanted = _wanted(source.dataset, spec, wishes, report)
    rows = RowsIn(
        model, wanted, policies.captured_spec() if spec is not None else None, policies,
        now=now, retention=facts.windows.retention, textual=source.textual,
    )  # fmt: skip
    with reading(engine) as connection:
        mark = watermark_of(connection, settings, model, now)
    began = datetime.now(timezone.utc)
    collector = Collector(source_key, blobs, now, lambda _: facts, lambda _: mark)
    try:
        _collect(source.dataset, rows, collector, progress)
        report.refused, report.type_errors = rows.refused, rows.misfits
        if not collector.files:
            reasons = "; ".join(f"{reason}: {n}" for reason, n in rows.refused.counts.items())
            raise BadInputError(f"no row of {source.shown} can be used ({reasons})")
        _commit(engine, began, source_key, model, source, collector, report, now)
    except BaseException:
        delete_blobs(blobs, [file.values["uri"] for file in collector.files])
        raise
    _sum_up(collector, report)
    return report


def _collect(
    dataset: UnitDataset, rows: RowsIn, collector: Collector, progress: Progress | None
) -> None:
    parts = dataset.partitions(PARTITIONS)
    total, done = max(dataset.rows, 1), 0

    def count(seen: int) -> None:
        nonlocal done
        done += seen
        if progress is not None:
            progress(min(done, total), total)

    batches = (batch for part in parts for batch in part.batches())
    for part in rows.parts(batches, count):
        collector.add(part)
    collector.finish()


def _commit(
    engine: Engine,
    began: datetime,
    source_key: str,
    model: str,
    source: Source,
    collector: Collector,
    report: IngestReport,
    now: datetime,
) -> None:
    newest = collector.newest_us()
    partials = collector.partials()
    report.profiles = len(partials)
    details = {
        **summed(collector.counts()), "model": model, "content": source.content,
        "refused_rows": report.refused.counts, "misfits": report.type_errors,
    }  # fmt: skip
    values = {
        "id": source_key, "host": HOST, "path": source.shown,
        "state": SegmentState.COMPACTED.value, "opened_at": now, "sealed_at": now,
        "compacted_at": now, "newest_event_at": moment_of(newest) if newest is not None else None,
        "frames": details["rows"], "bytes": sum(file.values["bytes"] for file in collector.files),
        "details": details,
    }  # fmt: skip
    files = [
        {"segment_id": source_key, "created_at": now, **file.values} for file in collector.files
    ]
    parts = [partial_row(name, each, source=source_key, now=now) for name, each in partials]
    with writing(engine) as connection:
        if not insert_if_absent(connection, segments, values):
            raise ConflictError(f"{source.shown} was brought in by another process meanwhile")
        connection.execute(insert(manifest), files)
        if parts:
            connection.execute(insert(profiles), parts)
        refuse_stale(began)


def _sum_up(collector: Collector, report: IngestReport) -> None:
    report.files = len(collector.files)
    report.rows = sum(file.values["rows"] for file in collector.files)
    report.bytes = sum(file.values["bytes"] for file in collector.files)
    report.first_event_at = min(file.values["first_event_at"] for file in collector.files)
    report.last_event_at = max(file.values["last_event_at"] for file in collector.files)
    if not report.profiles:
        report.notes.append("the model has no baseline yet: windows are profiled when it has one")
    report.notes += collector.problems()


def _wanted(
    dataset: UnitDataset, spec: InputSpec | None, wishes: IngestWishes, report: IngestReport
) -> Wanted:
    names = dataset.schema.names
    predictions = outputs_of(wishes.predictions)
    given = [
        ("time", wishes.time), ("request id", wishes.request_id),
        *(("prediction", column) for column in predictions.values()),
        *(("key", column) for column in wishes.keys),
    ]  # fmt: skip
    require_columns(dataset.name, names, given)
    if spec is not None:
        _note_columns(names, spec, {column for _, column in given if column}, report)
    time = _time(dataset, spec, wishes.time)
    if time is None:
        report.notes.append("no column tells the event time: all rows are dated now")
    known = spec.by_name if spec is not None else {}
    extra = {wishes.time} - set(known) - set(wishes.keys) if wishes.time else set()
    return Wanted(
        time, predictions, wishes.request_id, wishes.version,
        frozenset(name for name in extra if name is not None),
    )  # fmt: skip


def _time(dataset: UnitDataset, spec: InputSpec | None, asked: str | None) -> Variable | None:
    """The variable that tells the event time, with its unit in this data."""
    declared = time_variable(spec)
    names = dataset.schema.names
    both = asked is not None and declared is not None and declared.name in names
    if both and declared is not None and declared.name != asked:
        raise BadInputError(
            f"the event time of this model is its variable {declared.name}, not {asked}",
            remedy=f"leave --time out, or leave {declared.name} out of the data",
        )
    name = asked or (declared.name if declared is not None else None)
    if name is None or name not in names:
        return None
    if declared is not None and declared.name == name:
        return declared
    return infer_spec(dataset, time=name)[name]


def _note_columns(
    names: Collection[str], spec: InputSpec, named: set[str], report: IngestReport
) -> None:
    absent = [v.name for v in spec.variables if v.compared and v.name not in names]
    if absent:
        report.notes.append(f"the data lack {_some(absent)}, which count as missing")
    unknown = [name for name in names if name not in spec.by_name and name not in named]
    if unknown:
        report.notes.append(f"{_some(unknown)}: no variables of the model, kept as they are")
    if len(absent) == sum(v.compared for v in spec.variables):
        raise BadInputError(
            "none of the model's variables is in the data",
            remedy=closest(absent[0], names),
        )


def _some(names: Sequence[str], shown: int = 5) -> str:
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{rest}"


def require_columns(
    name: str, names: Sequence[str], given: Sequence[tuple[str, str | None]]
) -> None:
    """:raises BadInputError: when one of ``given`` (what it is for, column) is not there."""
    for what, column in given:
        if column is not None and column not in names:
            raise BadInputError(
                f"the {what} column {column!r} is not in {name}", remedy=closest(column, names)
            )


def require_model(engine: Engine, settings: Settings, model: str) -> None:
    """:raises BadInputError: when neither the store nor the configuration knows ``model``."""
    with reading(engine) as connection:
        known = set(connection.scalars(select(models.c.name)))
    known |= set(settings.models)
    if model not in known:
        raise BadInputError(
            f"there is no model {model!r}",
            remedy=closest(model, sorted(known)) if known else "bring it in with trueup import",
        )


def declared_spec(engine: Engine, facts: ModelFacts) -> InputSpec | None:
    """The variables of a model as clients send them; of its baseline, where nothing else tells."""
    with reading(engine) as connection:
        declared = connection.scalar(select(models.c.input_spec).where(models.c.name == facts.name))
    return InputSpec.model_validate(declared) if declared is not None else facts.spec


def policies_of(
    settings: Settings, engine: Engine, model: str, spec: InputSpec | None
) -> ColumnPolicies:
    """The column policies of a model's capture, which hold for what is brought in as well."""
    columns = settings.model(model).capture.columns
    hashed = any(policy.policy == "hash" for policy in columns.values())
    key = capture_key(engine, model) if hashed else bytes(KEY_BYTES)
    return ColumnPolicies(columns, spec, key)


def new_source_id(
    engine: Engine, model: str, source: Source, *, kind: str, again: bool, now: datetime
) -> str:
    """The id of a source that is to be brought in.

    :raises BadInputError: when the same content was brought in before, and not ``again``.
    """
    found = source_id(model, source.content, kind=kind)
    with reading(engine) as connection:
        before = connection.execute(
            select(segments.c.opened_at, segments.c.path).where(segments.c.id == found)
        ).first()
    if before is None:
        return found
    if not again:
        raise BadInputError(
            f"the content of {source.shown} was brought in before, at "
            f"{before.opened_at:%Y-%m-%d %H:%M} UTC from {before.path}",
            remedy="give --again to bring it in once more",
        )
    return mint_segment_id(microseconds(now) // 1000, os.urandom(RANDOM_BYTES))
