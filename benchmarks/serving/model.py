"""Writes the model that all servers serve: 8 numbers, 4 strings with embeddings → 64 → 32 → 1.

python model.py FOLDER
"""

from __future__ import annotations

import os
import sys
from itertools import pairwise

NUMBERS = [f"n{place}" for place in range(8)]
STRINGS = [f"s{place}" for place in range(4)]
WORDS = 50
EMBEDDED = 8


def main(folder: str) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    tf.random.set_seed(1)
    words = [f"v{place}" for place in range(WORDS)]

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tables = [
                tf.lookup.StaticHashTable(
                    tf.lookup.KeyValueTensorInitializer(
                        words, list(range(1, WORDS + 1)), value_dtype=tf.int64
                    ),
                    0,
                )
                for _ in STRINGS
            ]
            self.embeddings = [
                tf.Variable(tf.random.normal([WORDS + 1, EMBEDDED])) for _ in STRINGS
            ]
            sizes = [len(NUMBERS) + EMBEDDED * len(STRINGS), 64, 32, 1]
            self.weights = [tf.Variable(tf.random.normal([a, b]) * 0.1) for a, b in pairwise(sizes)]

        @tf.function
        def serve(self, **row):  # type: ignore[no-untyped-def]
            numbers = tf.stack([(row[name] - 1.0) / 2.0 for name in NUMBERS], axis=1)
            parts = [numbers]
            for place, name in enumerate(STRINGS):
                index = self.tables[place].lookup(row[name])
                parts.append(tf.gather(self.embeddings[place], index))
            hidden = tf.concat(parts, axis=1)
            for weight in self.weights[:-1]:
                hidden = tf.nn.relu(hidden @ weight)
            return {"score": tf.squeeze(hidden @ self.weights[-1], 1)}

    model = Model()
    specs = {name: tf.TensorSpec([None], tf.float32, name=name) for name in NUMBERS}
    specs |= {name: tf.TensorSpec([None], tf.string, name=name) for name in STRINGS}
    signature = model.serve.get_concrete_function(**specs)
    tf.saved_model.save(model, folder, signatures={"serving_default": signature})


if __name__ == "__main__":
    main(sys.argv[1])
