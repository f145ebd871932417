"""What a method and a path ask for: TensorFlow Serving's paths, and ours.

The patterns are those of ``tensorflow_serving/model_servers/http_rest_api_util.cc``, with its
habits: letters of the fixed parts may be of either case but verbs are lower case; names are
matched as they were sent and percent-decoded behind that, so that ``%2F`` can be in one. What it
calls a label is our alias. Other than there, a query is cut off before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from urllib.parse import unquote

from trueup.serving.rest_bodies import Code

_ONE_VERSION = r"(?:/versions/([0-9]+)|/labels/([^/:]+))?"
_PREDICTION = re.compile(
    rf"/v1/models/([^/:]+){_ONE_VERSION}:(classify|regress|predict)", re.IGNORECASE | re.ASCII
)
_MODEL = re.compile(
    rf"/v1/models(?:/([^/:]+))?{_ONE_VERSION}(?:/(metadata))?", re.IGNORECASE | re.ASCII
)
_INT64_MAX = (1 << 63) - 1

# Clients repeat a few paths. Longer ones are not kept: they could fill the memory.
_KEPT_PATH = 256


class What(Enum):
    """What is asked for; the value is its name in metrics and messages."""

    PREDICT = "predict"
    CLASSIFY = "classify"
    REGRESS = "regress"
    STATUS = "status"
    METADATA = "metadata"
    OPEN_INFERENCE = "v2"
    CAPTURE = "capture"
    LABELS = "labels"
    LIVE = "livez"
    READY = "readyz"
    METRICS = "metrics"


#: These have their paths but no answer yet: :data:`Code.UNIMPLEMENTED`.
NOT_YET = frozenset({What.CLASSIFY, What.REGRESS, What.OPEN_INFERENCE})

_VERBS = {what.value: what for what in (What.PREDICT, What.CLASSIFY, What.REGRESS)}

_OURS = {
    "/trueup/v1/capture": ("POST", What.CAPTURE),
    "/trueup/v1/labels": ("POST", What.LABELS),
    "/livez": ("GET", What.LIVE),
    "/readyz": ("GET", What.READY),
    "/metrics": ("GET", What.METRICS),
}


@dataclass(frozen=True, slots=True)
class Route:
    """What is asked for, and of what. At most one of ``version`` and ``alias`` is given.

    :param model: empty for what is of no model.
    """

    what: What
    model: str = ""
    version: int | None = None
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class NoRoute:
    """Why there is nothing under a path, or not by this method."""

    status: int
    message: str
    allow: str = ""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """``Allow``, which a reply with 405 has."""
        return (("Allow", self.allow),) if self.allow else ()


def route(method: str, path: str) -> Route | NoRoute:
    """
    :param path: as it was sent (``Request.raw_path``): not decoded, without the query.

    >>> route("POST", "/v1/models/flights/labels/canary:predict")
    Route(what=<What.PREDICT: 'predict'>, model='flights', version=None, alias='canary')
    >>> route("GET", "/v1/models").message
    'Missing model name in request.'
    """
    return _kept(method, path) if len(path) <= _KEPT_PATH else _route(method, path)


def _route(method: str, path: str) -> Route | NoRoute:
    start = path[:4].lower()
    if start == "/v1/":
        return _tensorflow_serving(method, path)
    if start == "/v2/" or path.lower() == "/v2":
        return Route(What.OPEN_INFERENCE)
    ours = _OURS.get(path)
    if ours is None:
        return NoRoute(Code.NOT_FOUND.http, f"There is nothing at {path[:200]}")
    needed, what = ours
    if method != needed and (method, needed) != ("HEAD", "GET"):
        allow = "GET, HEAD" if needed == "GET" else needed
        return NoRoute(405, f"{path} is asked for by {needed}", allow)
    return Route(what)


_kept = lru_cache(maxsize=1024)(_route)


def _tensorflow_serving(method: str, path: str) -> Route | NoRoute:
    malformed = NoRoute(Code.INVALID_ARGUMENT.http, f"Malformed request: {method} {path}")
    if method == "POST":
        found = _PREDICTION.fullmatch(path)
        what = _VERBS.get(found[4]) if found else None
    elif method == "GET":
        found = _MODEL.fullmatch(path)
        what = What.METADATA if found and found[4] == "metadata" else What.STATUS
    else:
        return malformed
    if found is None:
        return malformed
    model, digits, alias = found[1], found[2], found[3]
    number = digits.lstrip("0") if digits else ""  # int() refuses texts of thousands of digits
    if len(number) > 19 or int(number or "0") > _INT64_MAX:
        problem = f"Failed to convert version: {digits} to numeric."
        return NoRoute(Code.INVALID_ARGUMENT.http, problem)
    if what is None:
        return malformed
    if not model:
        return NoRoute(Code.INVALID_ARGUMENT.http, "Missing model name in request.")
    return Route(
        what,
        unquote(model),
        int(number or "0") if digits else None,
        unquote(alias) if alias else None,
    )
