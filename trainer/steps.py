"""How many steps a job makes, and between which of them its state is saved."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from trueup.config.training import TrainingSettings

#: Steps between two backups: seconds to half a minute of work, by what a step takes.
_STEPS_OF_BACKUP = {
    "single": 1000,
    "mirrored": 1000,
    "multi_worker": 500,
    "parameter_server": 100,
}
#: Steps in one call of the graph. The coordinator of parameter servers hands out calls, so that
#: fewer, longer ones would leave workers idle at the end of each virtual epoch.
_STEPS_OF_CALL = {"single": 50, "mirrored": 50, "multi_worker": 50, "parameter_server": 10}


@dataclass(frozen=True)
class Steps:
    """The course of a job.

    :param batch: rows of one step, over all tasks that take part in it.
    :param epochs: virtual ones, after each of which the state is saved.
    :param per_epoch: steps of a virtual epoch; a multiple of ``per_call``.
    :param per_pass: virtual epochs that make one pass over the rows.
    """

    batch: int
    epochs: int
    per_epoch: int
    per_call: int
    per_pass: int

    @property
    def rows_of_epoch(self) -> int:
        return self.batch * self.per_epoch


def plan_steps(rows: int, settings: TrainingSettings, *, replicas: int = 1) -> Steps:
    """The course of a job over ``rows`` training rows.

    :param replicas: tasks that share a batch evenly.

    >>> plan_steps(1_000_000, TrainingSettings(batch_size=1000, epochs=2))
    Steps(batch=1000, epochs=2, per_epoch=1000, per_call=50, per_pass=1)
    """
    batch = max(1, min(settings.batch_size, rows) // replicas) * replicas
    steps = ceil(rows / batch)
    parts = max(1, round(steps / _STEPS_OF_BACKUP[settings.strategy]))
    per_epoch = ceil(steps / parts)
    most = _STEPS_OF_CALL[settings.strategy]
    if settings.strategy == "parameter_server":
        most = max(1, min(most, per_epoch // (2 * settings.workers)))
    calls = ceil(per_epoch / most)
    per_call = ceil(per_epoch / calls)
    return Steps(batch, parts * settings.epochs, calls * per_call, per_call, parts)
