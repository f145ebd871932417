"""What a SavedModel's signature takes and gives, as records without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any, Literal

Method = Literal["predict", "classify", "regress"]

DEFAULT_SIGNATURE = "serving_default"

# Method names of tensorflow/python/saved_model/signature_constants.py. A signature without one of
# them, such as `__saved_model_init_op`, is not for clients.
_METHODS: dict[str, Method] = {
    "tensorflow/serving/predict": "predict",
    "tensorflow/serving/classify": "classify",
    "tensorflow/serving/regress": "regress",
}

# Numbers of tensorflow/core/framework/types.proto, under the names that NumPy and TensorFlow's
# Python give them; the records of a signature are read without importing TensorFlow.
_DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string",
    8: "complex64", 9: "int64", 10: "bool", 14: "bfloat16", 17: "uint16", 18: "complex128",
    19: "float16", 22: "uint32", 23: "uint64",
}  # fmt: skip


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    :param key: its name in the signature, by which clients call it.
    :param tensor_name: its name in the graph, such as ``"serving_default_x:0"``.
    :param dtype: ``"float32"``, ``"string"``, …; ``"DT_<number>"`` for what JSON cannot carry.
    :param shape: as in the SavedModel, batch dimension first, ``None`` for an unknown dimension;
        ``None`` instead of a tuple where the rank is unknown.
    """

    key: str
    tensor_name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    @cached_property
    def row_shape(self) -> tuple[int | None, ...] | None:
        """The shape of one row; ``None`` where the rank is unknown or there is no batch."""
        return self.shape[1:] if self.shape else None

    @cached_property
    def batched(self) -> bool:
        """Whether the first dimension is known to exist and free to grow."""
        return bool(self.shape) and self.shape is not None and self.shape[0] is None


@dataclass(frozen=True, eq=False)
class Signature:
    """One function of a model. Inputs and outputs are sorted by key."""

    name: str
    method: Method
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Keys of the inputs, in order."""
        return tuple(self.inputs)

    @cached_property
    def specs(self) -> tuple[TensorSpec, ...]:
        """Specs of the inputs, in order."""
        return tuple(self.inputs.values())

    @cached_property
    def batchable(self) -> bool:
        """Whether rows of several requests may share one call.

        Only where every input *and every output* has an unknown first dimension: an output
        without it (a mean over the batch, say) would mix the requests of strangers.
        """
        tensors = (*self.inputs.values(), *self.outputs.values())
        return bool(self.inputs) and all(tensor.batched for tensor in tensors)

    @cached_property
    def scalar_rows(self) -> bool:
        """Whether a row of each input is one value: no shapes have to be looked at."""
        return all(spec.row_shape == () for spec in self.specs)

    @cached_property
    def row_values(self) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
        """The values of a row's object, in order; ``KeyError`` where one is absent."""
        if len(self.names) == 1:
            only = self.names[0]
            return lambda row: (row[only],)
        return itemgetter(*self.names)


def read_signatures(meta_graph_def: Any) -> dict[str, Signature]:
    """The signatures of a ``MetaGraphDef`` that clients may call.

    Left out: those that are not for prediction, and those with a tensor that is not dense
    (sparse or ragged), which neither JSON nor TensorFlow Serving can carry.
    """
    found: dict[str, Signature] = {}
    for name, definition in sorted(meta_graph_def.signature_def.items()):
        method = _METHODS.get(definition.method_name)
        tensors = (*definition.inputs.values(), *definition.outputs.values())
        if method is None or not all(tensor.name for tensor in tensors):
            continue
        found[name] = Signature(
            name=name,
            method=method,
            inputs=_specs(definition.inputs),
            outputs=_specs(definition.outputs),
        )
    return found


def _specs(tensors: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {key: _spec(key, tensors[key]) for key in sorted(tensors)}


def _spec(key: str, tensor: Any) -> TensorSpec:
    shape = tensor.tensor_shape
    return TensorSpec(
        key=key,
        tensor_name=tensor.name,
        dtype=_DTYPES.get(tensor.dtype, f"DT_{tensor.dtype}"),
        shape=None
        if shape.unknown_rank
        else tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim),
    )
