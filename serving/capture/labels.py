"""``POST /trueup/v1/labels``: true outcomes, by the id of a request and row or by key variables.

They are written down as they come, and find their rows at compaction.
"""

from __future__ import annotations

import math
import re
from typing import Any

from trueup.datasets.iso_time import write_time_us
from trueup.frames.capture_codec import encode_frame
from trueup.records.capture import Body, CaptureFrame, FrameKind
from trueup.records.input_spec import Role
from trueup.serving.capture.documents import write_json
from trueup.serving.capture.policy import CapturePolicy
from trueup.serving.capture.sent_rows import (
    ANY,
    ROWS_OF_A_FRAME,
    ModelBatch,
    PolicyOf,
    RowError,
    SentRow,
    Taken,
    captured_policy,
    only_keys,
    rows_sent,
    time_under,
)

_KEYS = frozenset({"id", "key", "label", "labelled_at"})
_ID = re.compile(r"(.+)/\d{1,9}|[0-9a-z]{8,40}-\d{1,18}-\d{1,9}", re.DOTALL)


def parse_labels(
    body: bytes, *, ndjson: bool, arrival_us: int, policy_of: PolicyOf, max_rows: int = ANY
) -> Taken:
    """The labels of a body as frames. Each of their rows is an object of ``id`` or ``key``,
    ``label``, and ``labelled_at`` (ISO 8601 in UTC; the arrival where none was given). Keys go
    through the column policies, as the variables they are to be joined with did.

    :param ndjson: one object a line, each with its ``model``.
    :param max_rows: that the body may have.
    :raises TooManyRowsError: when it has more.
    :raises UnknownModelError: when the one model of a JSON body is unknown.
    :raises BadInputError: when the body as a whole cannot be read.
    """
    taken = Taken()
    labels: dict[str, list[dict[str, Any]]] = {}
    sent = rows_sent(
        body, ndjson=ndjson, list_key="labels", policy_of=policy_of, taken=taken, max_rows=max_rows
    )
    for row in sent:
        try:
            label = _label(row, captured_policy(policy_of, row.model), arrival_us)
        except RowError as error:
            taken.refuse(row.index, error.message)
        else:
            labels.setdefault(row.model, []).append(label)
            taken.accepted += 1
    for model, rows in labels.items():
        parts = [rows[at : at + ROWS_OF_A_FRAME] for at in range(0, len(rows), ROWS_OF_A_FRAME)]
        payloads = [_frame(model, part, arrival_us) for part in parts]
        taken.batches.append(ModelBatch(model, payloads, len(rows), None))
    return taken


def _label(row: SentRow, policy: CapturePolicy, arrival_us: int) -> dict[str, Any]:
    content = row.content
    only_keys(content, _KEYS)
    if ("id" in content) == ("key" in content):
        raise RowError('it needs either "id" or "key"')
    found: dict[str, Any] = {}
    if "id" in content:
        name = content["id"]
        if not isinstance(name, str) or len(name) > 600 or not _ID.fullmatch(name):
            raise RowError('"id" must be "<request id>/<row>", or a row id of the capture')
        found["id"] = name
    else:
        found["key"] = _key(content["key"], policy)
    found["label"] = _value(content.get("label"), policy)
    labelled_us = time_under(content, "labelled_at")
    found["labelled_at"] = write_time_us(arrival_us if labelled_us is None else labelled_us)
    return found


def _key(key: Any, policy: CapturePolicy) -> dict[str, Any]:
    if not isinstance(key, dict) or not key:
        raise RowError('"key" must be an object of variables')
    for name, value in key.items():
        if not _is_scalar(value):
            raise RowError(f"key {name!r} must be a text, a number or a boolean")
        if policy.spec is not None and name not in policy.spec.by_name:
            raise RowError(f"key {name!r} is no variable of the model")
    kept = policy.columns.row(key)
    for name in key:
        if kept.get(name) is None:
            raise RowError(f"key {name!r} is not in the capture, by its column policy")
    return kept


def _value(label: Any, policy: CapturePolicy) -> Any:
    if isinstance(label, dict) and label:
        return {name: _outcome(value, name, policy) for name, value in label.items()}
    named = policy.spec.with_role(Role.LABEL) if policy.spec is not None else ()
    return _outcome(label, named[0].name if len(named) == 1 else "", policy)


def _outcome(value: Any, name: str, policy: CapturePolicy) -> Any:
    if not _is_scalar(value):
        raise RowError(
            '"label" must be a text, a finite number or a boolean, or an object of such by name'
        )
    if name not in policy.columns.changes:
        return value
    change = policy.columns.changes[name]
    if change is None:
        raise RowError(f"label {name!r} is under the column policy drop")
    return change(value)


def _is_scalar(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int)


def _frame(model: str, rows: list[dict[str, Any]], arrival_us: int) -> bytes:
    request = write_json(rows)
    return encode_frame(
        CaptureFrame(
            kind=FrameKind.LABELS,
            model=model,
            version=0,
            arrival_us=arrival_us,
            status=200,
            rows=len(rows),
            body=Body.ROWS,
            request=request,
            request_bytes=len(request),
        )
    )
