"""``tf.train.Example`` to tensors, by operations of the graph alone, a batch at a time.

An example has one Feature per raw variable: floats in ``float_list``, integers and booleans (0, 1)
in ``int64_list``, strings, bytes and times (ISO 8601) in ``bytes_list``; values of a fixed shape in
row-major order. A Feature that is absent is missing. The label is there under its own name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from trueup.records.features import FeaturePlan
from trueup.records.input_spec import Kind, Variable
from trueup.records.training import Target
from trueup.trainer.graph.keys import Lookup
from trueup.trainer.graph.variables import (
    MISSING_INTEGER,
    graph_dtype,
    list_size,
    missing_value,
)

Parser = Callable[[Any], tuple[dict[str, Any], Any]]


def parsing(plan: FeaturePlan) -> dict[str, Any]:
    """What ``tf.io.parse_example`` needs to know of each variable and of the label."""
    features = {variable.name: _feature(variable) for variable in plan.inputs}
    features[plan.target.label] = _feature(label_variable(plan.target))
    return features


def parser(plan: FeaturePlan) -> Parser:
    """A function of serialized examples (string tensor, shape ``(batch,)``) that gives tensors by
    variable, each of shape ``(batch, …)`` and of its :func:`graph_dtype`, missing values encoded,
    and the label (:func:`label_transform`)."""
    import tensorflow as tf

    features = parsing(plan)
    label = label_transform(plan.target)
    booleans = [v.name for v in plan.inputs if graph_dtype(v) == "bool"]
    lists = {v.name: missing_value_of(v) for v in plan.inputs if list_size(v) is None}

    @tf.autograph.experimental.do_not_convert
    def parse(serialized: Any) -> tuple[dict[str, Any], Any]:
        found = tf.io.parse_example(serialized, features)
        outcome = label(found.pop(plan.target.label))
        for name, filler in lists.items():
            found[name] = found[name].to_tensor(filler)
        for name in booleans:
            found[name] = tf.not_equal(found[name], 0)
        return found, outcome

    return parse


def label_variable(target: Target) -> Variable:
    """The label as a variable of its own."""
    number = graph_dtype(Variable(name=target.label, dtype=target.dtype, kind=Kind.CATEGORICAL))
    kind = Kind.CATEGORICAL if number == "string" else Kind.NUMERIC
    return Variable(name=target.label, dtype=target.dtype, kind=kind)


def label_transform(target: Target) -> Callable[[Any], Any]:
    """A function of the raw label, shape ``(batch,)``: float32 of it (regression; NaN where it is
    missing), float32 0 or 1 (binary), its class as int64 (multiclass; -1 is none of them)."""
    import tensorflow as tf

    variable = label_variable(target)
    dtype = graph_dtype(variable)

    def number(label: Any) -> Any:
        value = tf.cast(label, tf.float32)
        if dtype != "int64":
            return value
        return tf.where(tf.equal(label, MISSING_INTEGER), np.nan, value)

    if target.task == "regression":
        return number
    if target.positive_above is not None:
        threshold = np.float32(target.positive_above)
        return lambda label: tf.cast(tf.cast(label, tf.float32) > threshold, tf.float32)
    # As examples hold them, so 0 or 1 of a boolean.
    stored = "int64" if dtype == "bool" else dtype
    classes = Lookup(stored, [_stored(text, dtype) for text in target.classes])
    if target.task == "binary":
        return lambda label: tf.cast(tf.equal(classes.places(label), 1), tf.float32)

    def place(label: Any) -> Any:
        places = classes.places(label)
        return tf.where(places < len(target.classes), places, tf.constant(-1, tf.int64))

    return place


def _stored(text: str, dtype: str) -> str:
    return str(int(text == "true")) if dtype == "bool" else text


def missing_value_of(variable: Variable) -> Any:
    """The default of the variable's Feature: as examples hold it, so 0 or 1 for a boolean."""
    value = missing_value(variable)
    return int(value) if graph_dtype(variable) == "bool" else value


def _feature(variable: Variable) -> Any:
    import tensorflow as tf

    dtype = graph_dtype(variable)
    stored = tf.dtypes.as_dtype("int64" if dtype == "bool" else dtype)
    default = missing_value_of(variable)
    size = list_size(variable)
    if size is None:
        return tf.io.RaggedFeature(stored)
    if variable.shape:
        return tf.io.FixedLenFeature(variable.shape, stored, [default] * size)
    return tf.io.FixedLenFeature((), stored, default)
