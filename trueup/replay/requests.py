"""What is asked in the replay: captured requests as clients sent them, or rows of the gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Engine, select

from trueup.config.settings import Settings
from trueup.monitor.capture.read import Capture, read_capture
from trueup.monitor.capture.row_json import plain
from trueup.monitor.capture.row_schema import INPUT
from trueup.monitor.capture.window_profiles import ANSWERED
from trueup.records.input_spec import InputSpec
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading
from trueup.store.tables import ManifestKind, manifest

_FIXED = (
    "segment", "frame", "row", "signature", "status", "shadow", "readable", "raw_request",
)  # fmt: skip
_DEFAULT_SIGNATURE = "serving_default"
#: Of files that are looked at for the newest rows.
_MOST_FILES = 64


@dataclass(frozen=True)
class Request:
    """One request: rows as JSON objects. :param name: of it in messages."""

    name: str
    instances: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Requests:
    """What is asked, and the same rows as columns of raw variables.

    :param words: what they are, such as ``"412 captured requests (1,000 rows)"``.
    :param rows: of all requests, in their order.
    """

    requests: tuple[Request, ...]
    rows: pa.Table
    words: str


def captured_requests(
    settings: Settings, engine: Engine, blobs: BlobRoot, model: str, spec: InputSpec, most_rows: int
) -> Requests | str:
    """The newest answered requests of ``model``, whole, up to ``most_rows`` rows together; or why
    there are none.

    :param spec: of the live version: a value that is missing and may be is sent as null.
    """
    policies = settings.model(model).capture.columns
    changed = sorted(name for name, policy in policies.items() if policy.policy != "keep")
    if changed:
        return f"the capture holds {changed[0]!r} under a policy, and not as clients sent it"
    start = _start(engine, model, most_rows)
    if start is None:
        return "nothing is captured yet"
    capture = read_capture(engine, blobs, model, start)
    inputs = [name for name in capture.schema.names if name.startswith(INPUT)]
    newest = _newest_rows(
        read_capture(engine, blobs, model, start, columns=[*_FIXED, *inputs]), 2 * most_rows
    )
    if not newest.num_rows:
        return "no captured request was answered"
    rows = newest.select(inputs)
    rows = rows.rename_columns([name.removeprefix(INPUT) for name in inputs])
    found = _whole_requests(newest, rows, spec, most_rows)
    if not found:
        return f"every captured request has more than {most_rows:,} rows, or is there in part only"
    rows = rows.take([place for _, places in found for place in places])
    return Requests(
        tuple(request for request, _ in found),
        rows,
        f"{len(found):,} captured requests ({rows.num_rows:,} rows)",
    )


def gate_requests(paths: Sequence[Path], spec: InputSpec, most_rows: int) -> Requests:
    """The gate's first rows, each as a request of the variables of ``spec``.

    :param paths: Parquet files with raw variables.
    """
    parts: list[pa.Table] = []
    left = most_rows
    names = [variable.name for variable in spec.variables]
    for path in paths:
        with pq.ParquetFile(path) as file:
            present = [name for name in names if name in file.schema_arrow.names]
            for batch in file.iter_batches(min(left, 4096), columns=present):
                parts.append(pa.Table.from_batches([batch.slice(0, left)]))
                left -= parts[-1].num_rows
                if not left:
                    break
        if not left:
            break
    rows = pa.concat_tables(parts) if parts else pa.table({})
    requests = tuple(
        Request(f"row {place} of the gate", (_instance(row, spec),))
        for place, row in enumerate(rows.to_pylist())
    )
    return Requests(requests, rows, f"{len(requests):,} rows of the gate")


def _start(engine: Engine, model: str, most_rows: int) -> datetime | None:
    """Event time from which on there are rows enough, by the manifest."""
    with reading(engine) as connection:
        files = connection.execute(
            select(manifest.c.first_event_at, manifest.c.rows)
            .where(manifest.c.model == model, manifest.c.kind == ManifestKind.ROWS.value)
            .order_by(manifest.c.last_event_at.desc())
            .limit(_MOST_FILES)
        ).all()
    start, rows = None, 0
    for first, count in files:
        start = first if start is None else min(start, first)
        rows += count
        if rows >= 2 * most_rows:
            break
    return start


def _answered(table: pa.Table) -> pa.Table:
    """Rows that count: answered by the usual signature, no shadows, and readable."""
    good = pc.and_(
        pc.and_(pc.equal(table["status"], ANSWERED), table["readable"]),
        pc.and_(
            pc.invert(table["shadow"]), pc.equal(table["signature"], _DEFAULT_SIGNATURE)
        ),
    )  # fmt: skip
    return table.filter(pc.fill_null(good, False))


def _newest_rows(capture: Capture, most: int) -> pa.Table:
    """Rows that count, the newest first, those of a request together and in order: ids of segments
    begin with the time, while rows of one request may be of different event times."""
    order = [("segment", "descending"), ("frame", "descending"), ("row", "ascending")]
    newest = capture.schema.empty_table()
    for batch in capture.batches():
        newest = pa.concat_tables([newest, _answered(pa.Table.from_batches([batch]))])
        if newest.num_rows > 2 * most:
            newest = newest.sort_by(order).slice(0, most)
    return newest.sort_by(order).slice(0, most)


def _whole_requests(
    table: pa.Table, values: pa.Table, spec: InputSpec, most_rows: int
) -> list[tuple[Request, list[int]]]:
    """Requests with the places of their rows, the newest first; one is whole when its rows are
    counted from 0 without a gap; of a table that is full the last one may have been cut.

    :param values: the raw variables of the rows of ``table``.
    """
    found: list[tuple[Request, list[int]]] = []
    keys = table.select(["segment", "frame", "row", "raw_request"]).to_pylist()
    rows = 0
    for (segment, frame), part in groupby(enumerate(keys), key=lambda at: _request_of(at[1])):
        members = list(part)
        places = [place for place, _ in members]
        numbers = [key["row"] for _, key in members]
        cut = places[-1] == len(keys) - 1 and len(keys) == 2 * most_rows
        if numbers != list(range(len(numbers))) or cut or rows + len(places) > most_rows:
            continue
        rows += len(places)
        instances = tuple(
            orjson.loads(key["raw_request"]) if key["raw_request"] else _instance(row, spec)
            for (_, key), row in zip(members, values.take(places).to_pylist(), strict=True)
        )
        found.append((Request(f"{segment}-{frame}", instances), places))
    return found


def _request_of(key: dict[str, Any]) -> tuple[str, int]:
    return key["segment"], key["frame"]


def _instance(row: dict[str, Any], spec: InputSpec) -> dict[str, Any]:
    """A row as JSON has it. What is not there is null where it may be, and else left out: then the
    client had not sent it."""
    nullable = {variable.name for variable in spec.variables if variable.optional}
    return {
        name: plain(value) for name, value in row.items() if value is not None or name in nullable
    }


def placed(requests: Requests) -> Iterator[tuple[Request, int]]:
    """Each request with the place of its first row."""
    first = 0
    for request in requests.requests:
        yield request, first
        first += len(request.instances)
