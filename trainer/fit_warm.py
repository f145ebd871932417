"""Training that begins with the weights of an exported model."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from trueup.errors import BadInputError
from trueup.records.features import FeaturePlan
from trueup.trainer.graph.export import PLAN_FILE
from trueup.trainer.graph.model import build_model
from trueup.trainer.job_folder import Job


def take_weights(model: Any, export: Path, job: Job) -> None:
    """Give ``model``, under whatever strategy, the weights of the SavedModel in ``export``.

    They go by way of a checkpoint of a plain model, so that a split table gets its pieces.

    :raises BadInputError: ``export`` cannot be read, or its features or layers are others: a weight
        would belong to something else then.
    """
    import tensorflow as tf

    try:
        plan = FeaturePlan.model_validate_json((export / PLAN_FILE).read_bytes())
        loaded = tf.saved_model.load(str(export))
    except (OSError, ValidationError, tf.errors.OpError) as error:
        raise BadInputError(
            f"{export} cannot be read for a warm start: {error}",
            remedy="name the export of a version of this model, or train from scratch",
        ) from error
    plain = build_model(job.plan, job.spec.settings)
    shapes = [tuple(variable.shape) for variable in plain.variables]
    if plan != job.plan or shapes != [tuple(weight.shape) for weight in loaded.weights]:
        raise BadInputError(
            f"the model in {export} has other features or layers than this job's",
            remedy="train with its plan and settings, or from scratch",
        )
    for variable, weight in zip(plain.variables, loaded.weights, strict=True):
        variable.assign(weight)
    with TemporaryDirectory() as folder:
        plain.save_weights(f"{folder}/weights", save_format="tf")
        model.load_weights(f"{folder}/weights").assert_existing_objects_matched()
