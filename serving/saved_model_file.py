"""The signatures of a SavedModel, read from its file without importing TensorFlow.

Only the few messages on the way to them are declared here, with the field numbers of
tensorflow/core/protobuf/{saved_model,meta_graph}.proto; all else is passed over.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from trueup.errors import BadInputError
from trueup.serving.signature import Signature, read_signatures

SERVE = "serve"

_PACKAGE = "trueup.saved_model"

#: Message → field → (number, kind, repeated): kinds are scalars, or the name of a message.
_MESSAGES: dict[str, dict[str, tuple[int, str, bool]]] = {
    "SavedModel": {"meta_graphs": (2, "MetaGraphDef", True)},
    "MetaGraphDef": {
        "meta_info_def": (1, "MetaInfoDef", False),
        "signature_entries": (5, "SignatureEntry", True),
    },
    "MetaInfoDef": {"tags": (4, "string", True)},
    "SignatureEntry": {"key": (1, "string", False), "value": (2, "SignatureDef", False)},
    "SignatureDef": {
        "input_entries": (1, "TensorEntry", True),
        "output_entries": (2, "TensorEntry", True),
        "method_name": (3, "string", False),
    },
    "TensorEntry": {"key": (1, "string", False), "value": (2, "TensorInfo", False)},
    "TensorInfo": {
        "name": (1, "string", False),
        "dtype": (2, "int32", False),
        "tensor_shape": (3, "Shape", False),
    },
    "Shape": {"dim": (2, "Dim", True), "unknown_rank": (3, "bool", False)},
    "Dim": {"size": (1, "int64", False)},
}


def signatures_of(folder: Path) -> dict[str, Signature]:
    """The signatures that clients may call, of the SavedModel in ``folder``.

    :raises BadInputError: there is none, it is damaged, or it is not for serving.
    """
    path = folder / "saved_model.pb"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"{folder} is no SavedModel: {path.name} cannot be read ({error.strerror})",
            remedy="name the folder that tf.saved_model.save or model.export wrote",
        ) from error
    from google.protobuf.message import DecodeError

    try:
        found = _saved_model().FromString(data)
    except DecodeError as error:
        raise BadInputError(
            f"{path} is damaged: it is no SavedModel", remedy="export the model again"
        ) from error
    graphs = [graph for graph in found.meta_graphs if SERVE in graph.meta_info_def.tags]
    if not graphs:
        raise BadInputError(
            f"{path} has no graph with the tag {SERVE!r}", remedy="export it for serving"
        )
    signatures = read_signatures(_Graph(graphs[0]))
    if not any(signature.method == "predict" for signature in signatures.values()):
        raise BadInputError(
            f"{path} has no signature for predict",
            remedy="save it with signatures={'serving_default': function}",
        )
    return signatures


class _Graph:
    """A graph with maps, as TensorFlow's own classes have them."""

    def __init__(self, graph: Any) -> None:
        self.signature_def = {
            entry.key: _Definition(entry.value) for entry in graph.signature_entries
        }


class _Definition:
    def __init__(self, definition: Any) -> None:
        self.method_name = definition.method_name
        self.inputs = {entry.key: entry.value for entry in definition.input_entries}
        self.outputs = {entry.key: entry.value for entry in definition.output_entries}


@lru_cache(maxsize=1)
def _saved_model() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    scalars = {
        "string": field.TYPE_STRING,
        "int32": field.TYPE_INT32,
        "int64": field.TYPE_INT64,
        "bool": field.TYPE_BOOL,
    }
    file = descriptor_pb2.FileDescriptorProto(
        name="trueup/saved_model.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for key, (number, kind, repeated) in fields.items():
            added = message.field.add(
                name=key,
                number=number,
                type=scalars.get(kind, field.TYPE_MESSAGE),
                label=field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL,
            )
            if kind not in scalars:
                added.type_name = f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.SavedModel"))
