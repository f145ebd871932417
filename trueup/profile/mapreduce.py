"""Passes over a data set's partitions: in this process, or in a pool of processes.

Partitions do not depend on the number of workers, and what they give is merged in their order; so
the result is the same to the bit for any number of workers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from typing import TypeVar

import pyarrow as pa

from trueup.errors import ChildTaskError
from trueup.profile.build import profile_batches, sized
from trueup.profile.edges import Edges
from trueup.profile.first_pass import FirstPass, Limits, first_pass
from trueup.profile.series import SeriesBuilder, WindowSeries
from trueup.profile.states import Profile
from trueup.records.dataset import Dataset, Partition
from trueup.records.input_spec import InputSpec

PARTITIONS = 64
"""Asked of a data set: enough to balance a pool, few enough that merging costs nothing."""

POOL_WEIGHT = 256_000_000
"""Total weight (bytes, as a rule) from which a pool pays for starting its processes."""

Progress = Callable[[int, int], None]
"""Called with the weight that is done and the total weight."""

Result = TypeVar("Result")

Task = Callable[[tuple[int, Partition]], Result]
"""What is made of a part, which is given with its number; picklable."""


def first_pass_dataset(
    dataset: Dataset,
    spec: InputSpec,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Edges:
    """Frozen edges from all rows of ``dataset`` (training data).

    :param workers: processes; by default one per core for large data, none else.
    :raises ChildTaskError: when a worker process ended without a result.
    """
    parts = dataset.partitions(PARTITIONS)
    together = FirstPass.empty(spec, len(parts))
    found = _mapped(lambda: partial(_first_pass, spec, together.limits()), parts, workers, progress)
    for result in found:
        together.include(result)
        del result  # see _mapped
    return together.edges()


def profile_dataset(
    dataset: Dataset,
    edges: Edges,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Profile of all rows of ``dataset``, counted against ``edges``.

    :param workers: processes; by default one per core for large data, none else.
    :raises ChildTaskError: when a worker process ended without a result.
    """
    parts = dataset.partitions(PARTITIONS)
    task = partial(_profile, edges, dataset.schema)
    found = _mapped(lambda: task, parts, workers, progress)
    empty = profile_batches((), edges, dataset.schema)
    return reduce(Profile.merge, found, empty)


def series_dataset(
    dataset: Dataset,
    edges: Edges,
    time: str,
    length_s: float,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> WindowSeries:
    """The windows of ``dataset``, each ``length_s`` seconds long.

    :param time: the variable that places rows in time.
    :param workers: processes; by default one per core for large data, none else.
    :raises ChildTaskError: when a worker process ended without a result.
    """
    parts = dataset.partitions(PARTITIONS)
    task = partial(_series, edges, time, length_s)
    found = _mapped(lambda: task, parts, workers, progress)
    return reduce(WindowSeries.merge, found, SeriesBuilder(edges, time, length_s).series())


def _first_pass(
    spec: InputSpec, limits: Limits | None, numbered: tuple[int, Partition]
) -> FirstPass:
    number, part = numbered
    return first_pass(part.batches(), spec, number, limits)


def _profile(edges: Edges, schema: pa.Schema, numbered: tuple[int, Partition]) -> Profile:
    return profile_batches(numbered[1].batches(), edges, schema)


def _series(
    edges: Edges, time: str, length_s: float, numbered: tuple[int, Partition]
) -> WindowSeries:
    builder = SeriesBuilder(edges, time, length_s)
    for batch in sized(numbered[1].batches()):
        builder.add(batch)
    return builder.series()


def _mapped(
    task: Callable[[], Task[Result]],
    parts: Sequence[Partition],
    workers: int | None,
    progress: Progress | None,
) -> Iterator[Result]:
    """What tasks make of each part, in order, as they are merged one by one.

    :param task: asked for the task when a part's turn comes, which may know what was merged.
    """
    total = sum(part.weight for part in parts)
    if workers is None:
        workers = (os.cpu_count() or 1) if total >= POOL_WEIGHT else 1
    numbered = list(enumerate(parts))
    results = (
        _in_pool(task, numbered, min(workers, len(parts)))
        if workers > 1 and len(parts) > 1
        else (task()(item) for item in numbered)
    )
    done = 0
    for part in parts:
        result = next(results)
        done += part.weight
        if progress is not None:
            progress(done, total)
        yield result
        del result  # before the next is made: of hundreds of columns it is half a gigabyte


class _Without:
    """A finder that finds nothing where a module is asked for that shall stay out."""

    def __init__(self, module: str) -> None:
        self.module = module

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname == self.module:
            raise ModuleNotFoundError(f"{fullname} stays out of this process", name=fullname)


def leave_pandas_out() -> None:
    """Keep pandas out of this worker process, unless the user's own script has brought it.

    pyarrow imports it at the first ``pa.array()``, for 37 MB and 0.3 s in every worker, and goes
    on without where there is none. Workers are given Arrow data only. (``None`` in
    ``sys.modules`` would do for pyarrow 10; later ones take it for the module.)
    """
    sys.meta_path.insert(0, _Without("pandas"))  # type: ignore[arg-type]  # find_spec is enough


def _in_pool(
    task: Callable[[], Task[Result]],
    numbered: Sequence[tuple[int, Partition]],
    workers: int,
) -> Iterator[Result]:
    """At most two parts per worker are under way or waiting to be merged: memory is bounded."""
    from collections import deque
    from concurrent.futures import Future, ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    waiting: deque[Future[Result]] = deque()
    pool = ProcessPoolExecutor(workers, get_context("spawn"), leave_pandas_out)
    try:
        for item in numbered:
            waiting.append(pool.submit(task(), item))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise ChildTaskError(
            "a process that read a part of the data ended without a result",
            remedy="it may have run out of memory: try again with fewer workers",
            retry=True,
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
