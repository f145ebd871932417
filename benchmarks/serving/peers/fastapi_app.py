"""What most teams write: FastAPI, one call of the model per request."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import tensorflow as tf  # noqa: TID253  as everybody does it
from fastapi import FastAPI

tf.config.threading.set_intra_op_parallelism_threads(1)
app = FastAPI()
signature = tf.saved_model.load(os.environ["MODEL"]).signatures["serving_default"]
names = list(signature.structured_input_signature[1])
kinds = {name: np.float32 if name.startswith("n") else object for name in names}


@app.get("/ready")
def ready() -> dict[str, bool]:
    return {"ready": True}


@app.post("/predict")
def predict(body: dict[str, Any]) -> dict[str, Any]:
    rows = body["instances"]
    columns = {
        name: tf.constant(np.array([row[name] for row in rows], kinds[name])) for name in names
    }
    return {"predictions": signature(**columns)["score"].numpy().tolist()}
