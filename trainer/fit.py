"""Training, as the chief and the workers of an all-reduce run it; the chief exports the result."""

from __future__ import annotations

import json
import logging
import shutil
from math import ceil
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from trueup.errors import BadInputError
from trueup.frames.whole import write_whole
from trueup.records.job import TrainingResult
from trueup.records.training import Split
from trueup.trainer.cluster import Member
from trueup.trainer.fit_callbacks import (
    begin_position,
    make_callbacks,
    position_path,
    save_weights,
    saved_weights,
)
from trueup.trainer.fit_export import export
from trueup.trainer.fit_history import read_history
from trueup.trainer.fit_warm import take_weights
from trueup.trainer.graph.examples import parser
from trueup.trainer.graph.model import build_model, compile_model
from trueup.trainer.input import Rows, batches
from trueup.trainer.job_folder import DATA, Job
from trueup.trainer.progress import Reporter
from trueup.trainer.steps import Steps, plan_steps
from trueup.trainer.strategies import RESULT, batch_replicas, make_strategy, readers

if TYPE_CHECKING:
    import tensorflow as tf

_log = logging.getLogger(__name__)

_RESUMED = "resumed.json"


class Fit:
    """One task's part in a job.

    :param doing: says what it is at, for errors.
    """

    def __init__(self, job: Job, task: Member, reporter: Reporter, threads: int) -> None:
        self._job, self._task, self._reporter, self._threads = job, task, reporter, threads
        self._settings = job.spec.settings
        self.steps = self._plan(batch_replicas(self._settings, task))
        self.doing = "the start"
        self._begun = monotonic()

    def _plan(self, replicas: int) -> Steps:
        rows = self._job.split(Split.TRAIN).rows
        return plan_steps(rows, self._settings, replicas=replicas)

    def train(self) -> None:
        """Until the weights are on disk; goes on from the backup where there is one."""
        folder, settings = self._job.folder, self._settings
        if self._finished():
            return
        resumed = begin_position(folder) > 0
        if resumed and self._task.is_chief:
            self._count_resumption()
        self.doing = "joining the cluster"
        strategy = make_strategy(settings, self._task)
        self.steps = self._plan(strategy.num_replicas_in_sync)
        self.doing = "building the model"
        with strategy.scope():
            model = build_model(self._job.plan, settings)
            compile_model(model, self._job.plan, settings, steps_per_execution=self.steps.per_call)
        if self._job.spec.warm_start and not resumed:
            self.doing = "the warm start"
            take_weights(model, folder / self._job.spec.warm_start, self._job)
        pieces = sum("/part_" in weight.name for weight in model.weights)
        _log.info("%d variables, %d of them pieces of tables", len(model.weights), pieces)
        self.doing = "training"
        self._reporter.say(state="running", epochs=settings.epochs, message="tracing the graph")
        self._fit(strategy, model)
        if not settings.patience or saved_weights(folder / "best") is None:
            chief, loss = self._task.is_chief, self._reporter.status.loss
            save_weights(model, folder / "last", "weights-last", loss=loss or 0.0, chief=chief)

    def _fit(self, strategy: tf.distribute.Strategy, model: Any) -> None:
        settings, steps = self._settings, self.steps
        coordinated = settings.strategy == "parameter_server"
        tune = self._job.split(Split.TUNE)
        validation: dict[str, Any] = {}
        if tune.rows and settings.patience:
            validation = {
                "validation_data": self._dataset(strategy, Split.TUNE),
                "validation_steps": ceil(tune.rows / steps.batch),
                "validation_freq": steps.per_pass,
            }
        model.fit(
            self._dataset(strategy, Split.TRAIN),
            epochs=steps.epochs,
            steps_per_epoch=steps.per_epoch,
            callbacks=make_callbacks(
                self._job.folder,
                steps,
                self._reporter,
                chief=self._task.is_chief,
                batch_logs=not coordinated,
                patience=settings.patience if validation else 0,
            ),
            verbose=0,
            **validation,
        )

    def _dataset(self, strategy: tf.distribute.Strategy, split: Split) -> Any:
        """Endless batches of this task's share, in the form that the strategy wants."""
        import tensorflow as tf

        folder, settings = self._job.folder, self._settings
        parse = parser(self._job.plan)
        rows = Rows(
            folder=folder / DATA,
            shards=self._job.split(split).shards,
            parts=readers(settings, self._task),
            seed=settings.seed,
            position=position_path(folder) if split is Split.TRAIN else None,
        )

        def make(context: Any) -> tf.data.Dataset:
            if settings.strategy == "parameter_server":
                part = tf.distribute.coordinator.experimental_get_current_worker_index()
            else:
                part = context.input_pipeline_id
            size = context.get_per_replica_batch_size(self.steps.batch)
            return batches(rows.stream(part), size, parse, whole=True, threads=self._threads)

        if settings.strategy == "parameter_server":
            from tf_keras.utils.experimental import DatasetCreator

            return DatasetCreator(make)
        if settings.strategy == "single":
            return make(tf.distribute.InputContext())
        return strategy.distribute_datasets_from_function(make)

    def export(self) -> TrainingResult:
        """Chief: weights into a model without a strategy, which is exported.

        A model that is spread over parameter servers cannot be loaded again (``tf.saved_model
        .load`` knows no pieces); a checkpoint of it can be read into a plain one.
        """
        folder, patience = self._job.folder, self._settings.patience
        self.doing = "the export"
        self._reporter.say(message="exporting")
        weights = saved_weights(folder / "best") or saved_weights(folder / "last")
        if weights is None:
            raise BadInputError(f"job folder {folder} has no weights", remedy="start the job again")
        metrics = export(self._job, weights.path, self._threads)
        history = read_history(folder)
        epochs = self.steps.epochs
        if history.ends(patience):
            epochs = history.losses[-1][0] + 1
        result = TrainingResult(
            epochs=ceil(epochs / self.steps.per_pass),
            rows=epochs * self.steps.rows_of_epoch,
            loss=weights.loss,
            metrics=metrics,
            stopped_early=epochs < self.steps.epochs,
            restarts=resumptions(folder),
            seconds=monotonic() - self._begun,
        )
        write_whole(folder / RESULT, result.model_dump_json(indent=2).encode())
        for used in ("backup", "best", "last"):
            shutil.rmtree(folder / used, ignore_errors=True)
        return result

    def _finished(self) -> bool:
        """Whether an earlier start of this job trained to the end."""
        folder, patience = self._job.folder, self._settings.patience
        if saved_weights(folder / "last") is not None:
            return True
        history = read_history(folder)
        best = saved_weights(folder / "best")
        over = bool(history.losses) and history.losses[-1][0] + 1 >= self.steps.epochs
        return best is not None and (over or history.ends(patience))

    def _count_resumption(self) -> None:
        path = self._job.folder / _RESUMED
        write_whole(path, json.dumps(resumptions(self._job.folder) + 1).encode())


def resumptions(folder: Path) -> int:
    """How often training went on from its backup."""
    try:
        return int(json.loads((folder / _RESUMED).read_bytes()))
    except FileNotFoundError:
        return 0
