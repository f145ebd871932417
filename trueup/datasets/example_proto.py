"""``tf.train.Example`` without TensorFlow: the message built from its field numbers
(tensorflow/core/example/example.proto and feature.proto).
"""

from __future__ import annotations

from functools import cache
from typing import Any

_PACKAGE = "trueup.example"
_LISTS = (("BytesList", "TYPE_BYTES"), ("FloatList", "TYPE_FLOAT"), ("Int64List", "TYPE_INT64"))


@cache
def example_class() -> Any:
    """The message class; its wire form is that of ``tf.train.Example``.

    >>> example = example_class()()
    >>> example.features.feature["a"].int64_list.value.append(7)
    >>> example.SerializeToString().hex()
    '0a0c0a0a0a016112051a030a0107'
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    proto = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="trueup/example.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, kind in _LISTS:
        message = file.message_type.add(name=name)
        number = getattr(proto, kind)
        message.field.add(name="value", number=1, type=number, label=proto.LABEL_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for place, (name, _) in enumerate(_LISTS, start=1):
        field = f"{name[:-4].lower()}_list"
        _add(feature, field, place, name).oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=proto.TYPE_STRING, label=proto.LABEL_OPTIONAL)
    _add(entry, "value", 2, "Feature")
    _add(features, "feature", 1, "Features.FeatureEntry").label = proto.LABEL_REPEATED
    _add(file.message_type.add(name="Example"), "features", 1, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Example"))


def _add(message: Any, name: str, number: int, kind: str) -> Any:
    from google.protobuf import descriptor_pb2

    proto = descriptor_pb2.FieldDescriptorProto
    return message.field.add(
        name=name,
        number=number,
        type=proto.TYPE_MESSAGE,
        label=proto.LABEL_OPTIONAL,
        type_name=f".{_PACKAGE}.{kind}",
    )
