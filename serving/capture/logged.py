"""``POST /trueup/v1/capture``: rows that were served elsewhere, for the same monitoring as ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from trueup.datasets.column_policies import from_b64
from trueup.frames.capture_codec import encode_frame
from trueup.records.capture import Body, CaptureFrame, FrameKind
from trueup.records.input_spec import FLOAT_DTYPES, INTEGER_DTYPES, InputSpec, Variable
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

_KEYS = frozenset({"instance", "prediction", "request_id", "event_time"})
_LONGEST_ID = 512
_NOTHING = object()


@dataclass(slots=True)
class _Group:
    """Rows of one frame: of one request, or of no named one."""

    event_us: int | None
    rows: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)
    predicted: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """Which rows share a frame. Those without a request's name share frames of bounded size."""

    model: str
    version: int
    request_id: str
    event_us: int | None = None
    part: int = 0


class _Groups:
    """The frames of a body while its rows come in."""

    def __init__(self) -> None:
        self.by_place: dict[_Place, _Group] = {}
        self._parts: dict[_Place, int] = {}

    def of(self, row: SentRow, request_id: str, event_us: int | None) -> _Group:
        if request_id:
            place = _Place(row.model, row.version, request_id)
            group = self.by_place.setdefault(place, _Group(event_us))
            if group.event_us != event_us:
                raise RowError('"event_time" is another than that of the request\'s first row')
            return group
        place = _Place(row.model, row.version, "", event_us)
        part = self._parts.get(place, 0)
        group = self.by_place.setdefault(replace(place, part=part), _Group(event_us))
        if len(group.rows) + 1 >= ROWS_OF_A_FRAME:
            self._parts[place] = part + 1
        return group

    def of_model(self, model: str) -> dict[_Place, _Group]:
        return {place: group for place, group in self.by_place.items() if place.model == model}


def parse_logged(
    body: bytes, *, ndjson: bool, arrival_us: int, policy_of: PolicyOf, max_rows: int = ANY
) -> Taken:
    """The rows of a body as frames, each row through its model's column policies.

    Rows of one ``request_id`` come into one frame, in their order, so that labels find them as
    ``<request_id>/<row>``. Rows are not sampled: who sends them has chosen them.

    :param ndjson: one object a line, each with its ``model``.
    :param max_rows: that the body may have.
    :raises TooManyRowsError: when it has more.
    :raises UnknownModelError: when the one model of a JSON body is unknown.
    :raises BadInputError: when the body as a whole cannot be read.
    """
    taken = Taken()
    groups = _Groups()
    sent = rows_sent(
        body, ndjson=ndjson, list_key="rows", policy_of=policy_of, taken=taken, max_rows=max_rows
    )
    for row in sent:
        try:
            _take(row, groups, captured_policy(policy_of, row.model))
        except RowError as error:
            taken.refuse(row.index, error.message)
        else:
            taken.accepted += 1
    for model in dict.fromkeys(place.model for place in groups.by_place):
        policy = captured_policy(policy_of, model)
        ours = groups.of_model(model)
        payloads = [_frame(policy, place, group, arrival_us) for place, group in ours.items()]
        newest = max(arrival_us if g.event_us is None else g.event_us for g in ours.values())
        rows = sum(len(group.rows) for group in ours.values())
        taken.batches.append(ModelBatch(model, payloads, rows, newest))
    return taken


def _take(row: SentRow, groups: _Groups, policy: CapturePolicy) -> None:
    content = row.content
    only_keys(content, _KEYS)
    instance = content.get("instance")
    if not isinstance(instance, dict) or not instance:
        raise RowError('it needs an object of variables under "instance"')
    request_id = content.get("request_id") or ""
    if not isinstance(request_id, str) or len(request_id) > _LONGEST_ID:
        raise RowError(f'"request_id" must be a text of at most {_LONGEST_ID} characters')
    event_us = time_under(content, "event_time")
    if policy.spec is not None:
        check_instance(instance, policy.spec)
    group = groups.of(row, request_id, event_us)
    group.rows.append(policy.columns.row(instance))
    prediction = content.get("prediction", _NOTHING)
    group.predicted |= prediction is not _NOTHING
    group.predictions.append(None if prediction is _NOTHING else prediction)


def _frame(policy: CapturePolicy, place: _Place, group: _Group, arrival_us: int) -> bytes:
    request = write_json(group.rows)
    response = b""
    if group.predicted:
        response = policy.answer(write_json({"predictions": group.predictions}))
    return encode_frame(
        CaptureFrame(
            kind=FrameKind.LOGGED,
            model=policy.model,
            version=place.version,
            arrival_us=arrival_us,
            status=200,
            rows=len(group.rows),
            body=Body.ROWS,
            request=request,
            request_bytes=len(request),
            response=response,
            request_id=place.request_id,
            event_us=group.event_us,
        )
    )


def check_instance(instance: dict[str, Any], spec: InputSpec) -> None:
    """:raises RowError: when a value cannot be of its variable, or no variable is the model's.

    Variables that are absent or null are missing values, and as such of interest; names beside the
    model's are passed over, as in columnar requests.
    """
    found = False
    for variable in spec.variables:
        if variable.name not in instance:
            continue
        found = True
        value = instance[variable.name]
        if value is not None and not all(
            _fits(leaf, variable) for leaf in _leaves(value, len(variable.shape), variable)
        ):
            raise RowError(f"variable {variable.name!r} is no {variable.dtype}")
    if not found:
        raise RowError("it has none of the model's variables")


def _leaves(value: Any, rank: int, variable: Variable) -> Iterator[Any]:
    if rank == 0:
        yield value
    elif isinstance(value, list):
        for element in value:
            yield from _leaves(element, rank - 1, variable)
    else:
        raise RowError(f"variable {variable.name!r} has not the shape of a list")


def _fits(value: Any, variable: Variable) -> bool:
    dtype = variable.dtype
    if value is None:
        return True
    if isinstance(value, bool):
        return dtype == "bool"
    if isinstance(value, int | float):
        if dtype in INTEGER_DTYPES:
            return isinstance(value, int) or value.is_integer()
        return dtype in FLOAT_DTYPES or dtype == "timestamp"
    if isinstance(value, dict):
        return dtype in ("string", "bytes") and from_b64(value) is not None
    return isinstance(value, str) and dtype in ("string", "bytes", "timestamp")
