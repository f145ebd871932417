"""How the work is spread: a strategy of TensorFlow for what the settings ask, and servers for the
tasks that only lend their processor and memory."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from trueup.config.training import TrainingSettings
from trueup.errors import BadInputError, ChildTaskError
from trueup.records.job import TaskType
from trueup.trainer.cluster import Member
from trueup.trainer.progress import EVERY_S, read_status

if TYPE_CHECKING:
    import tensorflow as tf

_log = logging.getLogger(__name__)

#: Smaller variables are not split over parameter servers: each piece is a message of its own.
_MIN_PIECE_BYTES = 4 << 20
#: A chief whose status does not change for so long is gone.
_CHIEF_GONE_S = 120.0

#: The result, which the chief writes last.
RESULT = "result.json"


def set_environment(threads: int) -> None:
    """What must be set before TensorFlow is imported."""
    # Keras 3 has no path for parameter servers and fails under all-reduce (keras#20585).
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    # Else a step to a worker that is gone waits for it, and is not given to another one.
    os.environ["GRPC_FAIL_FAST"] = "use_caller"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ[name] = str(threads)


def set_threads(threads: int) -> None:
    """Threads of TensorFlow's operations in this process; before its first operation.

    Between operations there are two at least: one may be waiting for another task.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(max(2, threads))


def check_cluster(settings: TrainingSettings, task: Member) -> None:
    """:raises BadInputError: the cluster of ``TF_CONFIG`` does not fit the strategy."""
    strategy, cluster = settings.strategy, task.cluster
    lacking = ""
    if strategy == "parameter_server" and not (cluster.get("ps") and cluster.get("worker")):
        lacking = "a worker and a ps at least"
    elif strategy == "parameter_server" and not cluster.get("chief"):
        lacking = "a chief, which coordinates"
    elif strategy == "multi_worker" and not cluster and settings.workers > 1:
        lacking = "a chief, and workers beside it"
    elif strategy in ("single", "mirrored") and task.replicas + len(cluster.get("ps", ())) > 1:
        lacking = "one task only"
    if lacking:
        raise BadInputError(
            f"strategy {strategy!r} needs {lacking}, and TF_CONFIG has "
            f"{({name: len(tasks) for name, tasks in cluster.items()}) or 'no cluster'}",
            remedy="start the tasks that the strategy needs, or choose another strategy",
        )


def make_strategy(settings: TrainingSettings, task: Member) -> tf.distribute.Strategy:
    """The strategy, connected to the other tasks; the first thing that TensorFlow does."""
    import tensorflow as tf

    if settings.strategy == "single":
        return tf.distribute.get_strategy()
    if settings.strategy == "mirrored":
        return tf.distribute.MirroredStrategy()
    if settings.strategy == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.ParameterServerStrategy(
        tf.distribute.cluster_resolver.TFConfigClusterResolver(),
        variable_partitioner=tf.distribute.experimental.partitioners.MinSizePartitioner(
            min_shard_bytes=_MIN_PIECE_BYTES, max_shards=settings.parameter_servers
        ),
    )


def is_server(settings: TrainingSettings, task: Member) -> bool:
    """Whether the task does what others tell it: all but the chief, under parameter servers."""
    return settings.strategy == "parameter_server" and not task.is_chief


def serve(task: Member, threads: int) -> None:
    """Start this task's server of TensorFlow: it does what the chief says."""
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads, inter_op_parallelism_threads=max(2, threads)
    )
    server = tf.distribute.Server(
        {name: list(addresses) for name, addresses in task.cluster.items()},
        job_name=task.type.value,
        task_index=task.index,
        protocol="grpc",
        config=config,
        start=True,
    )
    _SERVERS.append(server)  # it ends when it is collected


_SERVERS: list[object] = []


def wait_for_chief(folder: Path, task: Member) -> None:
    """Stay until the chief is done.

    :raises ChildTaskError: the chief failed, or nothing was heard of it for two minutes.
    """
    from threading import Event

    chief = TaskType.CHIEF if "chief" in task.cluster else TaskType.WORKER
    pause, last, changed = Event(), None, monotonic()
    begun = read_status(folder, chief, 0)
    while not (folder / RESULT).exists():
        status = read_status(folder, chief, 0)
        if status != last:
            last, changed = status, monotonic()
        fresh = begun is None or (status is not None and status.started_at != begun.started_at)
        if status is not None and status.state == "failed" and fresh:
            raise ChildTaskError(f"the chief failed: {status.message}")
        if monotonic() - changed > _CHIEF_GONE_S:
            raise ChildTaskError(
                f"nothing was heard of the chief for {_CHIEF_GONE_S:.0f} s", retry=True
            )
        pause.wait(EVERY_S / 2)


def batch_replicas(settings: TrainingSettings, task: Member) -> int:
    """Tasks that share one batch: all of an all-reduce; one where each step is one task's."""
    return task.replicas if settings.strategy == "multi_worker" else 1


def readers(settings: TrainingSettings, task: Member) -> int:
    """Tasks that read rows."""
    if settings.strategy == "parameter_server":
        return task.workers
    return batch_replicas(settings, task)
