"""The end of a process whose parent is gone: a pipe tells, whatever ended the parent.

The parent keeps one end of a pipe and gives the other one to its child, who waits until it can be
read: the kernel closes the parent's end when that is killed, and nothing else does.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lifeline() -> Iterator[int]:
    """For the parent: a descriptor to pass on to children (``pass_fds``, and their option
    ``--lifeline``). They are told to end when the block does, or when this process is killed."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)


def end_with_parent(descriptor: int | None) -> None:
    """For the child: SIGTERM to this process when the parent is gone. ``None`` does nothing."""
    if descriptor is None:
        return

    def wait() -> None:
        # Not for this thread: whoever waits for the signal gets it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        os.read(descriptor, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
