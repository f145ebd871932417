"""The user's own code: functions of features, and a model of one's own."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trueup.errors import BadInputError, ConfigError
from trueup.records.features import Feature, FeaturePlan, Hashed, Scaled
from trueup.records.input_spec import Dtype, Kind, Variable
from trueup.trainer.graph.variables import graph_dtype

BUCKETS = 1024
"""Of integers and strings that a function gives: they are categories by their hash."""

_EMBEDDING = 8
_LARGEST = float(np.finfo(np.float32).max)
_KINDS: dict[str, Dtype] = {"string": "string", "bool": "bool"}


class UserCodeError(BadInputError):
    """The user's own code failed; the message has its words."""


def load_function(path: str, key: str) -> Callable[..., Any]:
    """The function ``package.module:function``.

    :param key: of the configuration that names it.
    :raises ConfigError: there is no such module or function, or importing it fails.
    """
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # it is the user's code: anything may come
        raise ConfigError(
            f"{key} names {path}, and importing {module_name} failed: "
            f"{type(error).__name__}: {error}",
            remedy="correct it, or name a module that the job's Python finds",
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(
            f"{key} names {path}, and {module_name} has no function {name}",
            remedy="correct the name",
        )
    found: Callable[..., Any] = function
    return found


class OwnFeatures:
    """The functions of a plan, and the plan with what they give.

    :ivar plan: of the raw variables and of the functions' results: floats and booleans enter as
        they are, integers and strings by their hash.
    """

    def __init__(self, plan: FeaturePlan) -> None:
        self._functions = [(path, load_function(path, "training.functions"))
                           for path in plan.functions]  # fmt: skip
        self._inputs = plan.inputs
        self.plan = self._extended(plan) if self._functions else plan

    def __call__(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Raw variables, and what the functions give."""
        found = dict(raw)
        for path, function in self._functions:
            found.update(_called(path, function, raw, found))
        return found

    def _extended(self, plan: FeaturePlan) -> FeaturePlan:
        """What the functions give, found by tracing them once."""
        import tensorflow as tf

        specs = {
            v.name: tf.TensorSpec(
                [None, *(None if n < 0 else n for n in v.shape)],
                tf.dtypes.as_dtype(graph_dtype(v)),
            )
            for v in plan.inputs
        }

        @tf.function(autograph=False)
        def trace(raw: dict[str, Any]) -> dict[str, Any]:
            return {k: v for k, v in self(raw).items() if k not in raw}

        given = trace.get_concrete_function(specs).structured_outputs
        variables = list(plan.inputs)
        features: list[Feature] = list(plan.features)
        for name, tensor in given.items():
            variable = _variable(name, tensor)
            variables.append(variable)
            if graph_dtype(variable) == "float32" or variable.dtype == "bool":
                features.append(Scaled(variable=name, mean=0.0, sd=1.0, low=-_LARGEST,
                                       high=_LARGEST))  # fmt: skip
            else:
                features.append(Hashed(variable=name, buckets=BUCKETS, embedding=_EMBEDDING))
        return plan.model_copy(update={"inputs": tuple(variables), "features": tuple(features)})


def _called(
    path: str, function: Callable[..., Any], raw: Mapping[str, Any], taken: Mapping[str, Any]
) -> dict[str, Any]:
    """What one function gives, in the graph's types."""
    import tensorflow as tf

    try:
        given = function(dict(raw))
        if not isinstance(given, Mapping) or not given:
            raise TypeError(f"it gave {type(given).__name__}, and not tensors by name")
        tensors = {str(name): tf.convert_to_tensor(value) for name, value in given.items()}
    except Exception as error:  # it is the user's code: anything may come
        text = str(error).strip().splitlines() or [""]
        raise UserCodeError(
            f"training.functions: {path} failed: {type(error).__name__}: {text[-1]}",
            remedy="it gets a dictionary of tensors by variable and gives such a dictionary, by "
            "operations of the graph only",
        ) from error
    for name, tensor in tensors.items():
        if name in taken:
            raise ConfigError(
                f"training.functions: {path} gives {name!r}, which is there already",
                remedy="give it another name",
            )
        if tensor.shape.rank is None or not 1 <= tensor.shape.rank <= 2 or (
            tensor.shape.rank == 2 and tensor.shape[1] is None
        ):  # fmt: skip
            raise UserCodeError(
                f"training.functions: {path} gives {name!r} of shape {tensor.shape}",
                remedy="give one value, or a fixed number of values, for each row: (batch,) or "
                "(batch, k)",
            )
    return {name: _graph_typed(tensor) for name, tensor in tensors.items()}


def _graph_typed(tensor: Any) -> Any:
    import tensorflow as tf

    if tensor.dtype.is_floating:
        return tf.cast(tensor, tf.float32)
    return tf.cast(tensor, tf.int64) if tensor.dtype.is_integer else tensor


def _variable(name: str, tensor: Any) -> Variable:
    dtype = tensor.dtype.name
    kind = Kind.CATEGORICAL if dtype in ("string", "bool") else Kind.NUMERIC
    shape: Sequence[int] = tensor.shape[1:]
    return Variable(name=name, dtype=_KINDS.get(dtype, dtype), kind=kind, shape=tuple(shape))
