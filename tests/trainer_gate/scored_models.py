"""Small SavedModels whose inputs differ, for scoring; made in one process, as TensorFlow takes
seconds.

python scored_models.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path


def main(folder: Path) -> None:
    import tensorflow as tf

    spec = tf.TensorSpec

    def save(folder_name: str, call: Callable[..., dict], **inputs: tf.TensorSpec) -> None:
        module = tf.Module()
        module.bias = tf.Variable(1.0)

        def with_bias(**given: tf.Tensor) -> dict:
            return call(module.bias, **given)

        function = tf.function(with_bias).get_concrete_function(**inputs)
        tf.saved_model.save(
            module, str(folder / folder_name), signatures={"serving_default": function}
        )

    save(
        "one",
        lambda bias, x: {"probability": bias * tf.where(tf.math.is_nan(x), 0.25, x)},
        x=spec([None], tf.float32, name="x"),
    )
    save(
        "other",
        lambda bias, name, stops, count: {
            "classes": name,
            "probabilities": bias
            * tf.stack(
                [
                    tf.cast(tf.strings.length(name), tf.float32),
                    tf.reduce_sum(tf.where(tf.math.is_nan(stops), 0.0, stops), axis=1),
                    tf.cast(count, tf.float32),
                ],
                axis=1,
            ),
        },
        name=spec([None], tf.string, name="name"),
        stops=spec([None, None], tf.float32, name="stops"),
        count=spec([None], tf.int64, name="count"),
    )
    save(
        "fails",
        lambda bias, x: {"y": tf.debugging.check_numerics(x * bias, "x is not finite")},
        x=spec([None], tf.float32, name="x"),
    )
    save(
        "two",
        lambda bias, x: {"left": x * bias, "right": x - bias},
        x=spec([None], tf.float32, name="x"),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
