"""BentoML with adaptive batching on, as its documentation shows it."""

from __future__ import annotations

import os

import bentoml
import numpy as np


@bentoml.service(traffic={"timeout": 60}, workers=1)
class Scores:
    def __init__(self) -> None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        self.tf = tf
        loaded = tf.saved_model.load(os.environ["MODEL"])
        self.loaded = loaded
        self.signature = loaded.signatures["serving_default"]
        self.names = list(self.signature.structured_input_signature[1])

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=512, max_latency_ms=10_000)
    def predict(self, instances: list[dict]) -> list[float]:  # type: ignore[type-arg]
        columns = {
            name: self.tf.constant(
                np.array(
                    [row[name] for row in instances],
                    np.float32 if name.startswith("n") else object,
                )
            )
            for name in self.names
        }
        return self.signature(**columns)["score"].numpy().tolist()
