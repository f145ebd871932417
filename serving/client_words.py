"""What clients are told of a failure on our side: why, but not where on the server's disk. The log
has the whole sentence."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from time import monotonic

from trueup.errors import CaptureFullError

_log = logging.getLogger(__name__)

CAPTURE_FULL = (
    "the capture has no room or its disk fails, and nothing is answered that is not written down; "
    "try again later"
)
A_PATH = "(a path on the server)"

_URL = r"\b[A-Za-z][\w+.-]*://[^\s'\"]+"
_QUOTED = r"(?<=')/[^'\n]*(?=')|(?<=\")/[^\"\n]*(?=\")"
# No part of a name such as model/dense/MatMul, and no slash by itself.
_BARE = r"(?<![\w./)\]}-])~?/[^\s'\":;,()\[\]{}<>|]+"
_PATHS = re.compile(f"{_URL}|{_QUOTED}|{_BARE}")

_SAY_AGAIN_S = 60.0


def without_paths(text: str) -> str:
    """``text`` without absolute paths and URLs.

    >>> without_paths("no file /srv/m/1: node model/dense failed at s3://bucket/m")
    'no file (a path on the server): node model/dense failed at (a path on the server)'
    """
    return _PATHS.sub(A_PATH, text)


class Said:
    """Logs a sentence, but not the same one again within a minute: a full disk fails thousands of
    requests a second. Any thread may call it."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._last: tuple[str, float] = ("", float("-inf"))
        self._lock = threading.Lock()

    def __call__(self, sentence: str) -> None:
        now = self._clock()
        with self._lock:
            before, at = self._last
            # Numbers in it (bytes that are free) change with each request.
            form = re.sub(r"\d+", "0", sentence)
            if form == before and now - at < _SAY_AGAIN_S:
                return
            self._last = (form, now)
        _log.error("%s", sentence)


_said = Said()


def for_clients(error: Exception) -> str:
    """The sentence for clients about ``error``, which is ours, not theirs; logs the whole one."""
    whole = str(error)
    told = CAPTURE_FULL if isinstance(error, CaptureFullError) else without_paths(whole)
    if told != whole:
        _said(whole)
    return told
