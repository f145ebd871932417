"""Writes small SavedModels; run in a process of its own, because TensorFlow takes seconds.

python saved_models.py FOLDER    FOLDER/1, FOLDER/2 … : the same model, whose answers tell which
"""

from __future__ import annotations

import sys
from pathlib import Path

VERSIONS = 3


def main(folder: Path) -> None:
    import tensorflow as tf

    class Scaled(tf.Module):
        """``score`` = 1000 × version + x, and ``name`` given back; x = -1e7 fails in the model."""

        def __init__(self, version: int) -> None:
            super().__init__()
            self.version = tf.Variable(float(version))

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.float32, name="x"),
                tf.TensorSpec([None], tf.string, name="name"),
            ]
        )
        def serve(self, x, name):  # type: ignore[no-untyped-def]
            with tf.control_dependencies(
                [tf.debugging.assert_none_equal(x, -1e7, message="x is poison")]
            ):
                return {"score": 1000.0 * self.version + x, "name": tf.identity(name)}

    for version in range(1, VERSIONS + 1):
        model = Scaled(version)
        tf.saved_model.save(
            model, str(folder / str(version)), signatures={"serving_default": model.serve}
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
