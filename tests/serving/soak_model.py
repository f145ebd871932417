"""Writes a SavedModel with inputs of many kinds; run in a process of its own.

python soak_model.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(folder: Path) -> None:
    import tensorflow as tf

    class Kinds(tf.Module):
        """Gives back what it gets."""

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.float32, name="weight"),
                tf.TensorSpec([None], tf.int64, name="order"),
                tf.TensorSpec([None], tf.bool, name="express"),
                tf.TensorSpec([None], tf.string, name="city"),
                tf.TensorSpec([None], tf.string, name="photo_bytes"),
                tf.TensorSpec([None, 2, 3], tf.float32, name="grid"),
            ]
        )
        def serve(self, weight, order, express, city, photo_bytes, grid):  # type: ignore[no-untyped-def]
            return {
                "heavy": weight * 2.0,
                "next": order + 1,
                "slow": tf.logical_not(express),
                "to": tf.identity(city),
                "seen_bytes": tf.identity(photo_bytes),
                "sum": tf.reduce_sum(grid, axis=[1, 2]),
            }

    model = Kinds()
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.serve})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
