"""``/trueup/v1/capture`` and ``/trueup/v1/labels``: rows and labels that others send us."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from trueup.errors import TrueupError
from trueup.serving.capture.labels import parse_labels
from trueup.serving.capture.logged import parse_logged
from trueup.serving.capture.sent_rows import (
    PolicyOf,
    Taken,
    TooManyRowsError,
    UnknownModelError,
)
from trueup.serving.http_message import Reply, error_reply
from trueup.serving.policies import NotYetError
from trueup.serving.routes import What

if TYPE_CHECKING:
    from trueup.serving.http_message import Request

Parse = Callable[..., Taken]

NDJSON = ("application/x-ndjson", "application/jsonl", "application/json-lines")


class Intake:
    """One of the two."""

    def __init__(self, parse: Parse, policy_of: PolicyOf, max_rows: int) -> None:
        self._parse = parse
        self._policy_of = policy_of
        self._max_rows = max_rows

    def __call__(self, request: Request) -> tuple[Reply, list[bytes], int]:
        """The answer, the frames that are to be written before it is given, and their rows."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            taken = self._parse(
                request.body,
                ndjson=kind in NDJSON,
                arrival_us=request.arrival_us,
                policy_of=self._policy_of,
                max_rows=self._max_rows,
            )
        except TooManyRowsError as error:
            return error_reply(413, str(error)), [], 0
        except UnknownModelError as error:
            return error_reply(404, str(error)), [], 0
        except NotYetError as error:
            return error_reply(503, str(error)), [], 0
        except TrueupError as error:
            return error_reply(400, str(error)), [], 0
        status = 200 if taken.accepted or not taken.refused else 400
        payloads = [payload for batch in taken.batches for payload in batch.payloads]
        rows = sum(batch.rows for batch in taken.batches)
        return Reply(status, orjson.dumps(taken.reply())), payloads, rows


def intakes(policy_of: PolicyOf, max_rows: int) -> dict[What, Intake]:
    return {
        What.CAPTURE: Intake(parse_logged, policy_of, max_rows),
        What.LABELS: Intake(parse_labels, policy_of, max_rows),
    }
