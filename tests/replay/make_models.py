"""Writes three SavedModels that take ``x`` (float32) and may be given ``unused``."""

import sys
from pathlib import Path

import tensorflow as tf  # noqa: TID253 - a program of its own

X = tf.TensorSpec([None], tf.float32, "x")


def save(folder: Path, answer) -> None:
    module = tf.Module()
    module.scale = tf.Variable(2.0)

    @tf.function(input_signature=[X], autograph=False)
    def serve(x):
        return {"predictions": answer(x, module.scale)}

    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


def slow(x, scale):
    square = tf.random.stateless_uniform((700, 700), (1, 2))
    product = tf.while_loop(
        lambda step, _: step < 12, lambda step, m: (step + 1, tf.matmul(m, square) / 350.0),
        (0, square),
    )[1]  # fmt: skip
    return scale * x + 0.0 * tf.reduce_max(product)


root = Path(sys.argv[1])
save(root / "plain", lambda x, scale: scale * x)
save(root / "noisy", lambda x, scale: scale * x + tf.random.uniform(tf.shape(x)))
save(root / "slow", slow)
