"""Work beside hot threads: what keeps a load from being felt by those who wait for predictions."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

Result = TypeVar("Result")

LOW_PRIORITY = 15
"""Of 19: the least that Linux has."""

SWITCH_INTERVAL_S = 0.0005
"""CPython's own is 0.005: so long a hot thread waits for the interpreter while another thread
computes in Python, and it waits anew each time that it comes back from a call of the model."""

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


def freeze_heap() -> None:
    """Take what is in memory now out of every later search for garbage.

    A model that is closed leaves cycles, and looking for them holds the interpreter's lock: over
    the 300,000 objects of an imported TensorFlow for 200 to 350 ms, in which no request is
    answered; over what comes after this call, for 6 ms (measured on 2 cores). To be called once,
    when the libraries are imported and before the first model is loaded.
    """
    gc.collect()
    gc.freeze()
