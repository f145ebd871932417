"""What a built-in model computes, and the weights that it has: few, and large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trueup.config.training import TrainingSettings
from trueup.records.features import FeaturePlan
from trueup.records.training import Target
from trueup.trainer.graph.functions import OwnFeatures
from trueup.trainer.graph.layout import Column
from trueup.trainer.graph.preprocessing import Bag, Encoded, Preprocessing


def outputs_of(target: Target) -> int:
    """Number of the model's outputs."""
    return len(target.classes) if target.task == "multiclass" else 1


class Net:
    """Wide part: a weight per place of a category. Deep part: embeddings and numbers through
    layers. ``linear`` has the first and a weight per number.

    :param owner: the Keras model, which makes and tracks the weights.
    :ivar hidden: layers of the deep part. :ivar last: the layer of outputs; ``None`` where there
        are neither numbers nor embeddings.
    """

    def __init__(self, owner: Any, plan: FeaturePlan, settings: TrainingSettings) -> None:
        import tf_keras

        self.own = OwnFeatures(plan)
        self.encode = Preprocessing(self.own.plan)
        self._owner = owner
        self._outputs = outputs_of(plan.target)
        self._scale = plan.target.scale
        self._linear = settings.model == "linear"
        self._seed = settings.seed
        columns = (*self.encode.columns, *self.encode.bags)
        self._wide = self._wide_table(columns) if settings.model != "dnn" else None
        self._tables: dict[int, Any] = {}
        self.hidden: list[Any] = []
        width = len(self.encode.dense_names)
        if not self._linear:
            width += self._add_tables(columns)
            width = self._add_layers(settings, width)
        self.last = self._dense(self._outputs, width, None) if width else None
        bias = np.zeros(self._outputs, np.float32)
        if plan.target.bias:
            bias[:] = plan.target.bias
        self._bias = owner.add_weight(
            name="bias", shape=(self._outputs,),
            initializer=tf_keras.initializers.Constant(bias / np.float32(self._scale)),
        )  # fmt: skip

    def __call__(self, raw: Mapping[str, Any], training: bool | None) -> Any:
        """Logits of a batch, shape ``(rows, outputs)``."""
        import tensorflow as tf

        encoded = self.encode(self.own(raw))
        answer = tf.zeros([encoded.rows, self._outputs]) + self._bias
        if self._wide is not None:
            answer += wide_sum(self._wide, self.encode.columns, encoded)
        if self.last is not None:
            answer += self.last(self._through(encoded, training))
        return answer * self._scale if self._scale != 1.0 else answer

    def _through(self, encoded: Encoded, training: bool | None) -> Any:
        import tensorflow as tf

        parts = [] if encoded.dense is None else [encoded.dense]
        for size, table in self._tables.items():
            parts += embedded(table, size, self.encode.columns, encoded)
        values = parts[0] if len(parts) == 1 else tf.concat(parts, 1)
        for layer in self.hidden:
            values = layer(values, training=training)
        return values

    def _wide_table(self, columns: Sequence[Column]) -> Any:
        places = sum(column.size for column in columns)
        if not places:
            return None
        return self._owner.add_weight(
            name="wide", shape=(places, self._outputs), initializer="zeros"
        )

    def _add_tables(self, columns: Sequence[Column]) -> int:
        """One table for each size of embeddings; returns the width of all of them."""
        import tf_keras

        for size in sorted({c.embedding for c in columns if c.embedding}):
            self._tables[size] = self._owner.add_weight(
                name=f"embedding_{size}",
                shape=(sum(c.size for c in columns if c.embedding == size), size),
                initializer=tf_keras.initializers.RandomUniform(-0.05, 0.05, self._next()),
            )
        return sum(c.embedding for c in columns)

    def _add_layers(self, settings: TrainingSettings, width: int) -> int:
        import tf_keras

        if not width:
            return 0
        for units in settings.hidden_units:
            self.hidden.append(self._dense(units, width, "relu"))
            if settings.dropout:
                self.hidden.append(tf_keras.layers.Dropout(settings.dropout, seed=self._next()))
            width = units
        return width

    def _dense(self, units: int, width: int, activation: str | None) -> Any:
        import tf_keras

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
