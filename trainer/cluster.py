"""Who a task is in its cluster: what ``TF_CONFIG`` says, and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from trueup.errors import BadInputError
from trueup.records.job import TaskType

_TYPES = {
    "chief": TaskType.CHIEF,
    "master": TaskType.CHIEF,
    "worker": TaskType.WORKER,
    "ps": TaskType.PS,
}


@dataclass(frozen=True)
class Member:
    """One task of a cluster.

    :param cluster: ``host:port`` of every task, by type as ``TF_CONFIG`` has it; empty for a
        cluster of one.
    """

    type: TaskType = TaskType.CHIEF
    index: int = 0
    cluster: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_chief(self) -> bool:
        """Whether this task saves, exports and reports: the chief, or, where the cluster has none
        (Kubernetes operators allow that), the first worker."""
        if self.type is TaskType.CHIEF:
            return True
        return self.type is TaskType.WORKER and self.index == 0 and "chief" not in self.cluster

    @property
    def replicas(self) -> int:
        """Tasks that share the steps of an all-reduce: the chief and all workers.

        >>> Member(cluster={"chief": ("a:1",), "worker": ("b:1", "c:1")}).replicas
        3
        """
        return max(1, sum(len(self.cluster.get(name, ())) for name in ("chief", "worker")))

    @property
    def workers(self) -> int:
        """Tasks that do the steps where the chief only coordinates."""
        return len(self.cluster.get("worker", ()))

    @property
    def address(self) -> str | None:
        """``host:port`` of this task."""
        found = self.cluster.get(self.type.value, ())
        return found[self.index] if self.index < len(found) else None

    def threads(self, asked: int, cores: int | None = None) -> int:
        """Threads for the operations of this task.

        :param asked: 0 shares the cores of the machine among the tasks that are on it.

        >>> here = {"chief": ("a:1",), "worker": ("a:2", "a:3"), "ps": ("b:1",)}
        >>> Member(cluster=here).threads(0, cores=8), Member().threads(0, cores=8)
        (2, 8)
        """
        if asked:
            return asked
        cores = cores or len(os.sched_getaffinity(0))
        own = (self.address or "").rpartition(":")[0]
        tasks = [name for names in self.cluster.values() for name in names]
        here = sum(name.rpartition(":")[0] == own for name in tasks)
        return max(1, cores // max(1, here))


def member(tf_config: str | None) -> Member:
    """What ``TF_CONFIG`` says of this process; without it, it is alone.

    :raises BadInputError: it says nothing sensible.
    """
    if not tf_config:
        return Member()
    try:
        found = json.loads(tf_config)
        task = found.get("task") or {}
        cluster = {
            str(name): tuple(map(str, addresses))
            for name, addresses in (found.get("cluster") or {}).items()
        }
        name, index = str(task.get("type", "chief")), int(task.get("index", 0))
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInputError(
            f"TF_CONFIG is not the JSON that TensorFlow describes: {error}",
            remedy='set it to {"cluster": {"chief": ["host:port"]}, "task": {"type": "chief"}}',
        ) from error
    if name not in _TYPES:
        raise BadInputError(
            f"TF_CONFIG has a task of the type {name!r}",
            remedy="use chief, worker or ps (an evaluator makes TensorFlow 2 wait for ever)",
        )
    if cluster and index >= len(cluster.get(name, ())):
        raise BadInputError(
            f"TF_CONFIG says {name} {index}, and its cluster has {len(cluster.get(name, ()))}",
            remedy="name every task of the cluster",
        )
    return Member(_TYPES[name], index, cluster)
