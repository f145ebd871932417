"""Models of a plan: ``linear``, ``dnn``, ``wide_and_deep``, and the user's own.

A model takes the raw variables as the parser gives them, a dictionary of tensors by name, and gives
logits: shape ``(batch, 1)`` of regression (the number itself) and binary, ``(batch, classes)`` of
multiclass.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from trueup.config.training import TrainingSettings, is_function
from trueup.records.features import FeaturePlan
from trueup.trainer.graph.functions import UserCodeError, load_function
from trueup.trainer.graph.net import Net

_PROBABILITIES = ("sigmoid", "softmax")


def build_model(plan: FeaturePlan, settings: TrainingSettings) -> Any:
    """A ``tf_keras.Model`` with all its weights made; to be called under ``strategy.scope()``.

    :raises ConfigError: the user's code is not there. :raises UserCodeError: it failed.
    """
    if not is_function(settings.model):
        return _plan_model()(plan, settings)
    import tf_keras

    function = load_function(settings.model, "training.model")
    try:
        model = function(plan, settings)
    except Exception as error:  # it is the user's code: anything may come
        raise UserCodeError(
            f"training.model: {settings.model} failed: {type(error).__name__}: {error}",
            remedy="it gets the plan of features and the settings, and returns a tf_keras model",
        ) from error
    if not isinstance(model, tf_keras.Model):
        raise UserCodeError(
            f"training.model: {settings.model} gave {type(model).__name__}",
            remedy="return a tf_keras.Model (not one of keras, which is Keras 3)",
        )
    return model


def compile_model(
    model: Any, plan: FeaturePlan, settings: TrainingSettings, *, steps_per_execution: int = 1
) -> Any:
    """Compile ``model`` with Adam, and loss and metrics of the task; under ``strategy.scope()``.

    Regression: mean squared error, ``mae``, ``rmse``. Binary: log loss, ``auc``, ``accuracy``.
    Multiclass: log loss (rows of no known class do not count), ``accuracy``.
    """
    import tf_keras

    logits = gives_logits(model)
    task = plan.target.task
    loss: Any
    if task == "regression":
        loss = tf_keras.losses.MeanSquaredError()
        metrics = [
            tf_keras.metrics.MeanAbsoluteError(name="mae"),
            tf_keras.metrics.RootMeanSquaredError(name="rmse"),
        ]
    elif task == "binary":
        loss = tf_keras.losses.BinaryCrossentropy(from_logits=logits)
        metrics = [
            tf_keras.metrics.AUC(name="auc", from_logits=logits),
            tf_keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0 if logits else 0.5),
        ]
    else:
        loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=logits, ignore_class=-1)
        metrics = [tf_keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    model.compile(
        optimizer=tf_keras.optimizers.legacy.Adam(learning_rate=settings.learning_rate),
        loss=loss,
        metrics=metrics,
        steps_per_execution=steps_per_execution,
    )
    return model


def gives_logits(model: Any) -> bool:
    """Whether outputs are logits: so it is, unless the model says otherwise (``from_logits =
    False``) or its last layer ends with a sigmoid or softmax."""
    said = getattr(model, "from_logits", None)
    if said is not None:
        return bool(said)
    layers = getattr(model, "layers", None)
    last = layers[-1] if layers else None
    activation = getattr(last, "activation", None)
    name = getattr(activation, "__name__", "")
    return name not in _PROBABILITIES and type(last).__name__.lower() not in _PROBABILITIES


@lru_cache(maxsize=1)
def _plan_model() -> Any:
    """The class, made when it is first needed: importing this module imports no TensorFlow."""
    import tensorflow as tf
    import tf_keras

    class PlanModel(tf_keras.Model):  # type: ignore[misc]  # no stubs
        from_logits = True

        def __init__(self, plan: FeaturePlan, settings: TrainingSettings) -> None:
            super().__init__(name=settings.model, autocast=False)
            self.net = Net(self, plan, settings)
            # Keras tracks layers that are attributes of a model.
            self.hidden, self.last = self.net.hidden, self.net.last
            self.built = True

        # AutoGraph has nothing to convert in these, and takes 6 s of CPU per task to find that out.
        @tf.autograph.experimental.do_not_convert
        def train_step(self, data: Any) -> Any:
            return super().train_step(data)

        @tf.autograph.experimental.do_not_convert
        def test_step(self, data: Any) -> Any:
            return super().test_step(data)

        @tf.autograph.experimental.do_not_convert
        def predict_step(self, data: Any) -> Any:
            return super().predict_step(data)

        @tf.autograph.experimental.do_not_convert
        def call(self, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
            return self.net(inputs, training)

    return PlanModel
