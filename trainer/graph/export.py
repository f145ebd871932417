"""A trained model as a SavedModel that takes raw variables, for our server and TensorFlow Serving.

Outputs, by task: regression ``predictions`` (float32); binary ``probability`` of the second class
(float32) and ``classes`` (the likelier one, string); multiclass ``probabilities`` (float32, in the
order of the plan's classes) and ``classes``.
"""

from __future__ import annotations

import keyword
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from trueup.errors import TrueupError
from trueup.records.features import FeaturePlan
from trueup.records.input_spec import InputSpec, Variable
from trueup.records.training import Target
from trueup.trainer.graph.model import gives_logits
from trueup.trainer.graph.net import outputs_of
from trueup.trainer.graph.variables import graph_dtype, signature_dtype
from trueup.trainer.graph.warmup_requests import write_warmup

PLAN_FILE = Path("assets.extra", "trueup_plan.json")
SIGNATURE = "serving_default"

_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_RESERVED = frozenset({"self", "name", "training"})


class ExportError(TrueupError):
    """A model that could not be saved."""


def served_spec(plan: FeaturePlan) -> InputSpec:
    """The raw variables of the signature, with what is optional: for the version's row."""
    return InputSpec(variables=plan.signature)


def export_model(model: Any, plan: FeaturePlan, folder: Path) -> None:
    """Save ``model`` (built without a strategy, weights loaded) in ``folder``, which must not be
    there; it is there whole, or not at all.

    :raises ExportError: it could not be written, or the user's code holds what cannot be saved.
    """
    import tensorflow as tf

    holder = tf.Module()
    # Not the Keras model itself: it would be saved with its training functions, and those of its
    # layers. What the signature needs is tracked: variables, and tables of the user's layers.
    holder.weights = list(model.variables)
    holder.tables = _tables(model)
    arguments = _arguments(plan.signature)
    part = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}")
    try:
        function = _signature(model, plan, arguments)
        part.parent.mkdir(parents=True, exist_ok=True)
        tf.saved_model.save(holder, str(part), signatures={SIGNATURE: function})
        _rename_inputs(part, {key: v.name for key, v in arguments.items()})
        extra = part / PLAN_FILE
        extra.parent.mkdir(exist_ok=True)
        extra.write_text(plan.model_dump_json(indent=1), "utf-8")
        write_warmup(part, plan)
        part.replace(folder)
    except (OSError, tf.errors.OpError) as error:
        raise ExportError(
            f"the model could not be saved in {folder}: {_words(error)}",
            remedy="see to room and rights there, and train again",
        ) from error
    except (AssertionError, ValueError, TypeError) as error:
        raise ExportError(
            f"the model cannot be saved: {_words(error)}",
            remedy="models and functions of your own keep variables and tables as attributes of "
            "the model, and use operations of the graph only",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _tables(model: Any) -> list[Any]:
    """Resources such as lookup tables, anywhere in the model."""
    from tensorflow.python.trackable.resource import TrackableResource

    found = model._flatten(predicate=lambda part: isinstance(part, TrackableResource))
    return list(found)


def _arguments(variables: Sequence[Variable]) -> dict[str, Variable]:
    """The variables by names that arguments of a TensorFlow function may have: their own, where
    Python takes them and no other one is equal but for case."""
    found: dict[str, Variable] = {}
    taken: set[str] = set()
    for place, variable in enumerate(variables):
        name = variable.name
        plain = _PLAIN_NAME.fullmatch(name) and not keyword.iskeyword(name)
        if not plain or name in _RESERVED or name.lower() in taken:
            name = f"input_{place}_of_{len(variables)}"
        taken.add(name.lower())
        found[name] = variable
    return found


def _signature(model: Any, plan: FeaturePlan, arguments: Mapping[str, Variable]) -> Any:
    """The concrete function of raw variables, of the types by which clients give them."""
    import tensorflow as tf

    answers = answers_of(plan.target, gives_logits(model))

    @tf.function(autograph=False)
    def serve(**given: Any) -> dict[str, Any]:
        raw = {}
        for key, variable in arguments.items():
            if variable in plan.unused:
                continue
            dtype = tf.dtypes.as_dtype(graph_dtype(variable))
            raw[variable.name] = (
                tf.cast(given[key], dtype) if dtype.name != "string" else given[key]
            )
        return answers(model(raw, training=False))

    return serve.get_concrete_function(**{
        key: tf.TensorSpec(
            [None, *(None if n < 0 else n for n in v.shape)],
            tf.dtypes.as_dtype(signature_dtype(v)),
            key,
        )
        for key, v in arguments.items()
    })  # fmt: skip


def answers_of(target: Target, logits: bool) -> Any:
    """A function of the model's outputs that gives the signature's, by name."""
    import tensorflow as tf

    def regression(outputs: Any) -> dict[str, Any]:
        return {"predictions": tf.reshape(tf.cast(outputs, tf.float32), [-1])}

    def binary(outputs: Any) -> dict[str, Any]:
        flat = tf.reshape(tf.cast(outputs, tf.float32), [-1])
        probability = tf.sigmoid(flat) if logits else flat
        names = tf.constant(target.classes or ("0", "1"))
        place = tf.cast(probability > 0.5, tf.int32)
        return {"probability": probability, "classes": tf.gather(names, place)}

    def multiclass(outputs: Any) -> dict[str, Any]:
        rows = tf.reshape(tf.cast(outputs, tf.float32), [-1, outputs_of(target)])
        probabilities = tf.nn.softmax(rows) if logits else rows
        classes = tf.gather(tf.constant(target.classes), tf.argmax(probabilities, 1))
        return {"probabilities": probabilities, "classes": classes}

    return {"regression": regression, "binary": binary, "multiclass": multiclass}[target.task]


def _rename_inputs(folder: Path, names: Mapping[str, str]) -> None:
    """Give the signature's inputs the variables' own names, whatever characters they have."""
    if all(key == name for key, name in names.items()):
        return
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    path = folder / "saved_model.pb"
    saved = SavedModel.FromString(path.read_bytes())
    for graph in saved.meta_graphs:
        inputs = graph.signature_def[SIGNATURE].inputs
        infos = {names[key]: info.SerializeToString() for key, info in inputs.items()}
        inputs.clear()
        for name, info in infos.items():
            inputs[name].ParseFromString(info)
    path.write_bytes(saved.SerializeToString())
