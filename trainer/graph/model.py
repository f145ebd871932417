"""Models of a plan: ``linear``, ``dnn``, ``wide_and_deep``, and the user's own.

A model takes the raw variables as the parser gives them, a dictionary of tensors by name, and gives
logits: shape ``(batch, 1)`` of regression (the number itself) and binary, ``(batch, classes)`` of
multiclass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from trueup.config.training import TrainingSettings, is_function
from trueup.records.features import FeaturePlan
from trueup.records.training import Target
from trueup.trainer.graph.functions import OwnFeatures, UserCodeError, load_function
from trueup.trainer.graph.layout import Column
from trueup.trainer.graph.preprocessing import Bag, Encoded, Preprocessing

_PROBABILITIES = ("sigmoid", "softmax")


def outputs_of(target: Target) -> int:
    """Number of the model's outputs."""
    return len(target.classes) if target.task == "multiclass" else 1


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
        """Wide part: a weight per place of a category. Deep part: embeddings and numbers through
        layers. ``linear`` has the first and a weight per number."""

        from_logits = True

        def __init__(self, plan: FeaturePlan, settings: TrainingSettings) -> None:
            super().__init__(name=settings.model, autocast=False)
            self._own = OwnFeatures(plan)
            self._encode = Preprocessing(self._own.plan)
            self._units = outputs_of(plan.target)
            self._scale = plan.target.scale
            self._linear = settings.model == "linear"
            self._seed = settings.seed
            columns = (*self._encode.columns, *self._encode.bags)
            self._wide = self._wide_table(columns) if settings.model != "dnn" else None
            self._tables: Any = {}
            self._hidden: Any = []
            width = len(self._encode.dense_names)
            if not self._linear:
                width += self._add_tables(columns)
                width = self._add_layers(settings, width)
            self._last = self._dense(self._units, width, None) if width else None
            bias = np.zeros(self._units)
            if plan.target.bias:
                bias[:] = plan.target.bias
            self._bias = self.add_weight(
                name="bias", shape=(self._units,),
                initializer=tf_keras.initializers.Constant(bias.astype(np.float32) / self._scale),
            )  # fmt: skip
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
            encoded = self._encode(self._own(inputs))
            answer = tf.zeros([encoded.rows, self._units]) + self._bias
            if self._wide is not None:
                answer += wide_sum(self._wide, self._encode.columns, encoded)
            last = self._last
            if last is not None:
                answer += last(self._through(encoded, training))
            return answer * self._scale if self._scale != 1.0 else answer

        def _through(self, encoded: Encoded, training: bool | None) -> Any:
            parts = [] if encoded.dense is None else [encoded.dense]
            for size, table in self._tables.items():
                parts += embedded(table, int(size), self._encode.columns, encoded)
            values = parts[0] if len(parts) == 1 else tf.concat(parts, 1)
            for layer in self._hidden:
                values = layer(values, training=training)
            return values

        def _wide_table(self, columns: Sequence[Column]) -> Any:
            places = sum(column.size for column in columns)
            if not places:
                return None
            return self.add_weight(name="wide", shape=(places, self._units), initializer="zeros")

        def _add_tables(self, columns: Sequence[Column]) -> int:
            """One table for each size of embeddings; returns the width of all of them."""
            for size in sorted({c.embedding for c in columns if c.embedding}):
                mine = [c for c in columns if c.embedding == size]
                self._tables[str(size)] = self.add_weight(
                    name=f"embedding_{size}",
                    shape=(sum(c.size for c in mine), size),
                    initializer=tf_keras.initializers.RandomUniform(-0.05, 0.05, self._next()),
                )
            return sum(c.embedding for c in columns)

        def _add_layers(self, settings: TrainingSettings, width: int) -> int:
            if not width:
                return 0
            for units in settings.hidden_units:
                self._hidden.append(self._dense(units, width, "relu"))
                if settings.dropout:
                    self._hidden.append(
                        tf_keras.layers.Dropout(settings.dropout, seed=self._next())
                    )
                width = units
            return width

        def _dense(self, units: int, width: int, activation: str | None) -> Any:
            layer = tf_keras.layers.Dense(
                units, activation=activation, use_bias=activation is not None,
                kernel_initializer="zeros" if self._linear
                else tf_keras.initializers.GlorotUniform(self._next()),
            )  # fmt: skip
            layer.build((None, width))
            return layer

        def _next(self) -> int:
            self._seed += 1
            return self._seed

    return PlanModel


def wide_sum(table: Any, columns: Sequence[Column], encoded: Encoded) -> Any:
    """Sum of the weights of a row's places, shape ``(rows, outputs)``; of a bag, their mean."""
    import tensorflow as tf

    total = 0.0
    if encoded.places is not None:
        offsets = tf.constant([column.offset for column in columns], tf.int64)
        total = tf.reduce_sum(tf.nn.embedding_lookup(table, encoded.places + offsets), 1)
    if encoded.bags:
        places = tf.concat([bag.places + bag.column.offset for bag in encoded.bags], 0)
        means = _means(table, places, encoded)
        total += tf.reduce_sum(means, 1)
    return total


def embedded(table: Any, size: int, columns: Sequence[Column], encoded: Encoded) -> list[Any]:
    """Embeddings of the columns of one size, each tensor ``(rows, width)``."""
    import tensorflow as tf

    offset = 0
    chosen, offsets = [], []
    for place, column in enumerate(columns):
        if column.embedding == size:
            chosen.append(place)
            offsets.append(offset)
            offset += column.size
    parts = []
    if chosen:
        places = tf.gather(encoded.places, chosen, axis=1) + tf.constant(offsets, tf.int64)
        found = tf.nn.embedding_lookup(table, places)
        parts.append(tf.reshape(found, [-1, len(chosen) * size]))
    bags = []
    for bag in encoded.bags:
        if bag.column.embedding == size:
            bags.append(Bag(bag.column, bag.places + offset, bag.rows))
            offset += bag.column.size
    if bags:
        within = Encoded(encoded.rows, None, None, tuple(bags))
        means = _means(table, tf.concat([bag.places for bag in bags], 0), within)
        parts.append(tf.reshape(means, [-1, len(bags) * size]))
    return parts


def _means(table: Any, places: Any, encoded: Encoded) -> Any:
    """Means of a table's rows by row and bag, shape ``(rows, bags, width)``; zeros of none."""
    import tensorflow as tf

    count = len(encoded.bags)
    rows = tf.cast(encoded.rows, tf.int64)
    segments = tf.concat([bag.rows * count + place for place, bag in enumerate(encoded.bags)], 0)
    found = tf.math.unsorted_segment_mean(
        tf.nn.embedding_lookup(table, places), segments, rows * count
    )
    return tf.reshape(found, [rows, count, table.shape[1]])
