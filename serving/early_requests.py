"""Predict requests that came before the models were loaded: they wait instead of being refused.

Workers share a port, so that one that is started anew gets requests at once, while the others could
have answered them; and who starts a server and asks at once means to be answered, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trueup.serving.http_message import Request
    from trueup.serving.routes import Route


class EarlyRequests:
    """Used on the event loop's thread only. What waits is bounded by the connections there may be
    and by ``max_pending``.

    :param why_wait: why models are not there yet; empty when all that were live at the start are.
    :param timeout_s: how long a request may wait.
    """

    def __init__(self, why_wait: Callable[[], str], timeout_s: float) -> None:
        self._why_wait = why_wait
        self._timeout_s = timeout_s
        self._waiting: list[tuple[Request, Route]] = []
        self._closed = False

    def take(self, request: Request, where: Route) -> bool:
        """Let it wait, if that can help it; whether it does."""
        if self._closed or not self._why_wait():
            return False
        self._waiting.append((request, where))
        return True

    def due(self, now_s: float) -> tuple[list[tuple[Request, Route]], list[Request], str]:
        """Those that are to be tried again, those that have waited too long, and why they have."""
        why = self._why_wait()
        waiting, self._waiting = self._waiting, []
        if not why and not self._closed:
            return waiting, [], ""
        late = []
        for request, where in waiting:
            if self._closed or request.gone or request.arrival_s + self._timeout_s <= now_s:
                late.append(request)
            else:
                self._waiting.append((request, where))
        return [], late, why or "the server is stopping"

    def close(self) -> None:
        """Let nobody wait any more: the server is stopping."""
        self._closed = True
