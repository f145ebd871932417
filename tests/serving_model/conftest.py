"""A real SavedModel with many signatures, made and loaded once per session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trueup.serving.saved_model import LoadedModel, load_saved_model

SCALARS = {
    "f16": "float16", "f32": "float32", "f64": "float64",
    "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64",
    "flag": "bool", "text": "string",
}  # fmt: skip


def save_model(folder: Path) -> None:
    """A module whose signatures cover types, ranks, and outputs that are no rows."""
    import tensorflow as tf

    class Module(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = tf.Variable(1.0)
            self.table = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(["red", "blue"], tf.constant([1, 2], tf.int64)),
                0,
            )

    module = Module()
    spec = tf.TensorSpec

    def function(call: object, **inputs: tf.TensorSpec) -> object:
        return tf.function(call).get_concrete_function(**inputs)

    def scalars(**given: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = {f"{name}_out": tf.identity(value) for name, value in given.items()}
        return {**outputs, "text_bytes": tf.identity(given["text"])}

    def ranks(**given: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name.upper(): tf.identity(value) for name, value in given.items()}

    signatures = {
        "serving_default": function(lambda x: {"y": x + module.bias}, x=spec([None], tf.float32)),
        "scalars": function(scalars, **{n: spec([None], d, name=n) for n, d in SCALARS.items()}),
        "ranks": function(
            ranks,
            a=spec([None], tf.float32, name="a"),
            b=spec([None, 3], tf.float32, name="b"),
            c=spec([None, None], tf.int64, name="c"),
            d=spec([None, 2, 2], tf.string, name="d"),
        ),
        "lookup": function(
            lambda colour: {"code": module.table.lookup(colour)}, colour=spec([None], tf.string)
        ),
        "mean": function(lambda x: {"mean": tf.reduce_mean(x)}, x=spec([None], tf.float32)),
        "mixed": function(
            lambda x: {"y": x * 2.0, "release": tf.constant("r1")}, x=spec([None], tf.float32)
        ),
        "scaled": function(
            lambda x, factor: {"y": x * factor},
            x=spec([None], tf.float32, name="x"),
            factor=spec([], tf.float32, name="factor"),
        ),
        "positive": function(
            lambda x: {"kept": tf.boolean_mask(x, x > 0.0)}, x=spec([None], tf.float32)
        ),
        "strict": function(
            lambda x: {"y": tf.debugging.check_numerics(x, "x is not finite")},
            x=spec([None], tf.float32),
        ),
        "free": function(lambda x: {"y": tf.identity(x)}, x=spec(None, tf.int32)),
        "pair": function(lambda x: {"y": tf.reduce_sum(x, 1)}, x=spec([2, 2], tf.float32)),
        "complex": function(lambda x: {"y": tf.cast(x, tf.complex64)}, x=spec([None], tf.float32)),
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("model") / "1"
    save_model(folder)
    return folder


@pytest.fixture(scope="session")
def model(model_folder: Path) -> Iterator[LoadedModel]:
    loaded = load_saved_model(model_folder, threads=1)
    yield loaded
    loaded.close()
