"""Writes SavedModels as users have them; run in a process of its own: TensorFlow takes seconds.

python registry_models.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    import tensorflow as tf

    def save(name: str, inputs: dict[str, tuple[list[int | None], Any]]) -> None:
        """A model that gives the number of its rows back, whatever it takes."""
        module = tf.Module()
        module.one = tf.Variable(1.0)
        specs = {key: tf.TensorSpec(shape, dtype, key) for key, (shape, dtype) in inputs.items()}

        @tf.function
        def serve(**given: Any) -> dict[str, Any]:
            first = next(iter(given.values()))
            return {"y": tf.ones([tf.shape(first)[0]]) * module.one}

        module.serve = serve
        signature = serve.get_concrete_function(**specs)
        tf.saved_model.save(module, str(folder / name), signatures={"serving_default": signature})

    save(
        "flights",
        {
            "distance": ([None], tf.float32),
            "seats": ([None, 1], tf.int64),
            "origin": ([None], tf.string),
        },
    )
    save("matrix", {"inputs": ([None, 4], tf.float32)})
    save("examples", {"examples": ([None], tf.string)})
    save("waves", {"signal": ([None], tf.complex64)})
    plain = tf.Module()
    plain.one = tf.Variable(1.0)
    tf.saved_model.save(plain, str(folder / "unsigned"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
