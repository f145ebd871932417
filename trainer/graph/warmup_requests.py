"""Warm-up requests of a SavedModel, as TensorFlow Serving and our server play them before clients'
requests come: ``assets.extra/tf_serving_warmup_requests``, TFRecord of ``PredictionLog``.

The messages are few and flat, so they are written from their field numbers
(tensorflow_serving/apis/{prediction_log,predict,model}.proto) without tensorflow-serving-api.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trueup.records.features import Bucketed, FeaturePlan, Scaled, Vocabulary
from trueup.records.input_spec import Variable
from trueup.trainer.graph.variables import graph_dtype, signature_dtype

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
BATCHES = (1, 32)

_PREDICT_LOG, _REQUEST, _MODEL_SPEC, _INPUTS = 6, 1, 1, 2
_SIGNATURE_NAME, _KEY, _VALUE = 3, 1, 2


def write_warmup(folder: Path, plan: FeaturePlan) -> None:
    """One request of typical values for each of a few batch sizes."""
    import tensorflow as tf

    path = folder / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for rows in BATCHES:
            writer.write(_prediction_log({v.name: typical(plan, v, rows) for v in plan.signature}))


def typical(plan: FeaturePlan, variable: Variable, rows: int) -> np.ndarray:
    """Values as training had them: a mean, a bucket's end, the most frequent text."""
    value: Any = "" if graph_dtype(variable) == "string" else 0
    for feature in plan.features:
        if feature.variable != variable.name:
            continue
        if isinstance(feature, Scaled) and not feature.log:
            value = min(max(feature.mean, feature.low), feature.high)
            break
        if isinstance(feature, Bucketed) and feature.boundaries:
            value = feature.boundaries[len(feature.boundaries) // 2]
            break
        if isinstance(feature, Vocabulary):
            value = feature.values[0]
            break
    shape = (rows, *(1 if size < 0 else size for size in variable.shape))
    dtype = signature_dtype(variable)
    if dtype == "string":
        return np.full(shape, str(value).encode(), object)
    if dtype == "bool":
        return np.full(shape, value == "true", bool)
    return np.full(shape, float(value)).astype(dtype)


def _prediction_log(inputs: dict[str, np.ndarray]) -> bytes:
    import tensorflow as tf

    request = _field(_MODEL_SPEC, _field(_SIGNATURE_NAME, b"serving_default"))
    for name, values in inputs.items():
        tensor = tf.make_tensor_proto(values).SerializeToString()
        request += _field(_INPUTS, _field(_KEY, name.encode()) + _field(_VALUE, tensor))
    return _field(_PREDICT_LOG, _field(_REQUEST, request))


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of a message."""
    return bytes([number << 3 | 2]) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
