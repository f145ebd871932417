"""What ``/trueup/v1/capture`` and ``/trueup/v1/labels`` have in common: one JSON object with many
rows, or one JSON object a line, of which each good one is taken and each bad one is refused."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trueup.datasets.iso_time import parse_time_us
from trueup.errors import BadInputError
from trueup.serving.capture.documents import read_json
from trueup.serving.capture.policy import CapturePolicy

#: Model's name → its policy; ``None`` for a model that there is not.
PolicyOf = Callable[[str], CapturePolicy | None]
SHOWN_REASONS = 10
ANY = sys.maxsize
_LINE = re.compile(rb"^[^\S\n]*[^\s][^\n]*$", re.MULTILINE)
ROWS_OF_A_FRAME = 1000


class UnknownModelError(BadInputError):
    """A body names a model that there is not (404)."""


class TooManyRowsError(BadInputError):
    """A body has more rows than one may have (413)."""

    def __init__(self, rows: int, most: int) -> None:
        super().__init__(
            f"the body has {rows} rows, and {most} are allowed (setting "
            "serving.max_request_rows): send it in parts"
        )


class RowError(BadInputError):
    """One row cannot be taken; the others can."""


@dataclass(frozen=True, slots=True)
class SentRow:
    """One row as it was sent; ``index`` counts from 0 in the body (lines, in NDJSON)."""

    index: int
    model: str
    version: int
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelBatch:
    """Frames of one model: what :meth:`CaptureWriter.append` takes."""

    model: str
    payloads: list[bytes]
    rows: int
    newest_event_us: int | None


@dataclass(slots=True)
class Taken:
    """What came of a body."""

    batches: list[ModelBatch] = field(default_factory=list)
    accepted: int = 0
    refused: int = 0
    reasons: list[dict[str, Any]] = field(default_factory=list)

    def refuse(self, index: int, reason: str) -> None:
        self.refused += 1
        if len(self.reasons) < SHOWN_REASONS:
            self.reasons.append({"index": index, "reason": reason})

    def reply(self) -> dict[str, Any]:
        """The body of the answer, once the batches are in the capture."""
        return {"accepted": self.accepted, "refused": self.refused, "reasons": self.reasons}


def rows_sent(
    body: bytes,
    *,
    ndjson: bool,
    list_key: str,
    policy_of: PolicyOf,
    taken: Taken,
    max_rows: int = ANY,
) -> Iterator[SentRow]:
    """The rows of ``body``; those that cannot even be told are refused in ``taken``.

    :raises UnknownModelError: when the one model of a JSON body is unknown.
    :raises TooManyRowsError: when it has more than ``max_rows``; nothing may be kept of it.
    :raises BadInputError: when the body as a whole cannot be read.
    """
    if ndjson:
        lines = _line_count(body, max_rows)
        if lines > max_rows:
            raise TooManyRowsError(lines, max_rows)
        yield from _lines(body, policy_of, taken)
        return
    document = _document(body)
    unknown = sorted(set(document) - {"model", "version", list_key})
    if unknown:
        raise BadInputError(f"the body has an unknown key {unknown[0]!r}")
    rows = document.get(list_key)
    if not isinstance(rows, list) or not rows:
        raise BadInputError(f'the body needs a non-empty array "{list_key}"')
    if len(rows) > max_rows:
        raise TooManyRowsError(len(rows), max_rows)
    model, version = _model_and_version(document)
    if policy_of(model) is None:
        raise UnknownModelError(f"there is no model {model!r}")
    for index, content in enumerate(rows):
        if isinstance(content, dict):
            yield SentRow(index, model, version, content)
        else:
            taken.refuse(index, "it is no object")


def _line_count(body: bytes, enough: int) -> int:
    """Lines that are not empty; where there are not more than ``enough`` of any, all of them."""
    lines = body.count(b"\n") + 1
    return lines if lines <= enough else sum(1 for _ in _LINE.finditer(body))


def _lines(body: bytes, policy_of: PolicyOf, taken: Taken) -> Iterator[SentRow]:
    for index, line in enumerate(body.split(b"\n")):
        if not line.strip():
            continue
        try:
            content = _document(line)
            model, version = _model_and_version(content)
            if policy_of(model) is None:
                raise RowError(f"there is no model {model!r}")
        except BadInputError as error:
            taken.refuse(index, error.message)
            continue
        rest = {key: value for key, value in content.items() if key not in ("model", "version")}
        yield SentRow(index, model, version, rest)


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = read_json(body)
    except ValueError as error:
        raise BadInputError(f"it is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadInputError("it is no JSON object")
    return document


def _model_and_version(document: Mapping[str, Any]) -> tuple[str, int]:
    model, version = document.get("model"), document.get("version", 0)
    if not isinstance(model, str) or not model:
        raise BadInputError('it needs the name of a model under "model"')
    if isinstance(version, bool) or not isinstance(version, int) or not 0 <= version < 2**31:
        raise BadInputError('"version" must be the number of a version')
    return model, version


def only_keys(content: Mapping[str, Any], allowed: frozenset[str]) -> None:
    """:raises RowError: when ``content`` has another key."""
    unknown = sorted(set(content) - allowed)
    if unknown:
        raise RowError(f"unknown key {unknown[0]!r}; there are {', '.join(sorted(allowed))}")


def time_under(content: Mapping[str, Any], key: str) -> int | None:
    """Microseconds since 1970 of the time under ``key``; ``None`` when there is none."""
    value = content.get(key)
    if value is None:
        return None
    moment = parse_time_us(value) if isinstance(value, str) else None
    if moment is None:
        raise RowError(f'"{key}" must be a time such as "2013-07-01T05:30:00Z"')
    return moment


def captured_policy(policy_of: PolicyOf, model: str) -> CapturePolicy:
    """The policy of a model that is known.

    :raises RowError: when its capture is switched off.
    """
    policy = policy_of(model)
    if policy is None or not policy.settings.enabled:
        raise RowError(f"the capture of model {model!r} is switched off (capture.enabled)")
    return policy
