"""How far a long command is, on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_BETWEEN_LINES = 10.0

Update = Callable[[int, int], None]


@contextmanager
def progress_on_stderr(what: str, *, quiet: bool = False) -> Iterator[Update | None]:
    """Gives a callback (done, total), or ``None`` where nothing is to be said.

    The passes of a command each count from 0; a bar starts anew with each.
    """
    if quiet:
        yield None
    elif not sys.stderr.isatty():
        yield line_now_and_then(what, time.monotonic, lambda line: print(line, file=sys.stderr))
    else:
        with _bar(what) as update:
            yield update


def line_now_and_then(
    what: str, clock: Callable[[], float], write: Callable[[str], object]
) -> Update:
    """A callback that writes a line at most every ``SECONDS_BETWEEN_LINES``: work that is shorter
    says nothing, and logs of longer work stay short. That all is done shows in what comes next."""
    last = clock()

    def update(done: int, total: int) -> None:
        nonlocal last
        now = clock()
        if now - last >= SECONDS_BETWEEN_LINES and done < total:
            last = now
            write(f"{what}: {100 * done / total:.0f} %")

    return update


@contextmanager
def _bar(what: str) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn(what), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(), console=Console(stderr=True), transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task(what)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=max(total, 1))

        yield update
