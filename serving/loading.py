"""Work beside hot threads: what keeps a load from being felt by those who wait for predictions."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

Result = TypeVar("Result")

LOW_PRIORITY = 15
"""Of 19: the least that Linux has."""

SWITCH_INTERVAL_S = 0.0005
"""CPython's own is 0.005: so long a hot thread waits for the interpreter while another thread
computes in Python, and it waits anew each time that it comes back from a call of the model."""

_SETTLE_TIMEOUT_S = 5.0

_gentle = threading.Lock()


def at_low_priority(work: Callable[[], Result]) -> Result:
    """``work()`` in a thread of its own, which the system runs when others leave it time.

    Only for work outside of the interpreter (hashing, copying): a thread that holds the
    interpreter's lock while the system lets it wait makes all others wait. And only in a thread
    that ends with it: threads inherit the priority of those that start them, as TensorFlow's would
    if they were started by a load.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        with suppress(OSError, AttributeError):  # no Linux, or not allowed: as fast as it gets
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW_PRIORITY)
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001  raised anew by the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="low priority", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


@contextmanager
def gentle_to_other_threads() -> Iterator[None]:
    """While the block computes in Python, other threads get the interpreter sooner."""
    with _gentle:
        before = sys.getswitchinterval()
        sys.setswitchinterval(min(before, SWITCH_INTERVAL_S))
        try:
            yield
        finally:
            sys.setswitchinterval(before)


def loop_settler(call_soon_threadsafe: Callable[[Callable[[], Any]], Any]) -> Callable[[], None]:
    """A function that returns when an event loop has done all that it had begun when it was called.

    :param call_soon_threadsafe: of the loop; a loop that is closed or stuck is not waited for.
    """

    def settle() -> None:
        done = threading.Event()
        with suppress(RuntimeError):  # the loop is closed
            call_soon_threadsafe(done.set)
            done.wait(_SETTLE_TIMEOUT_S)

    return settle
