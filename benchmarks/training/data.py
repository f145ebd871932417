"""Seeded rows with twelve features, as shards of ``tf.train.Example``, and the plan for them."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa

from trueup.frames.format import encode
from trueup.records.features import Bucketed, FeaturePlan, Scaled, Vocabulary
from trueup.records.input_spec import InputSpec, Kind, Role, Variable
from trueup.records.training import Shard, Split, SplitData, Target, TrainingData

NUMBERS = tuple(f"number_{n}" for n in range(8))
WORDS = tuple(f"word_{n}" for n in range(4))
VALUES = 200
SHARD_ROWS = 262_144
_BLOCK = 65_536
_TARGET = Target(label="up", task="binary", positive_above=0.5)
_LABEL = Variable(name="up", dtype="float32", kind=Kind.NUMERIC, role=Role.LABEL)


def variables() -> tuple[Variable, ...]:
    numbers = [Variable(name=n, dtype="float32", kind=Kind.NUMERIC) for n in NUMBERS]
    words = [Variable(name=n, dtype="string", kind=Kind.CATEGORICAL) for n in WORDS]
    return (*numbers, *words)


def plan() -> FeaturePlan:
    """Eight numbers scaled, two of them in buckets too, four vocabularies with embeddings."""
    scaled = [Scaled(variable=n, mean=0.0, sd=1.0, low=-6.0, high=6.0) for n in NUMBERS]
    edges = tuple(np.linspace(-2, 2, 15).tolist())
    buckets = [Bucketed(variable=n, boundaries=edges, embedding=4) for n in NUMBERS[:2]]
    values = tuple(f"v{n}" for n in range(VALUES))
    words = [Vocabulary(variable=n, values=values, embedding=8) for n in WORDS]
    return FeaturePlan(inputs=variables(), features=(*scaled, *buckets, *words), target=_TARGET)


def write(folder: Path, rows: int) -> None:
    """``data/`` and ``plan.json`` of a job."""
    shards = [
        _write_shard(folder / "data", number, min(SHARD_ROWS, rows - first))
        for number, first in enumerate(range(0, rows, SHARD_ROWS))
    ]
    data = TrainingData(
        model="benchmark",
        spec=InputSpec(variables=(*variables(), _LABEL)),
        target=_TARGET,
        sources=(),
        splits={Split.TRAIN: SplitData(rows=rows, shards=tuple(shards))},
        made_at=datetime.now(timezone.utc),
    )
    (folder / "data" / "data.json").write_text(data.model_dump_json())
    (folder / "plan.json").write_text(plan().model_dump_json())


def _write_shard(folder: Path, number: int, rows: int) -> Shard:
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    encoder = RecordBatchToExamplesEncoder()
    path = folder / "train" / f"{number:05d}.tfrecord"
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    drawn = np.random.default_rng(number)
    with path.open("wb") as file:
        for first in range(0, rows, _BLOCK):
            data = encode(encoder.encode(_batch(drawn, min(_BLOCK, rows - first))))
            file.write(data)
            digest.update(data)
            size += len(data)
    return Shard(path=f"train/{path.name}", rows=rows, bytes=size, sha256=digest.hexdigest())


def _batch(drawn: np.random.Generator, rows: int) -> pa.RecordBatch:
    numbers = {name: drawn.normal(size=rows).astype(np.float32) for name in NUMBERS}
    places = {name: drawn.integers(0, VALUES, rows) for name in WORDS}
    score = sum(numbers.values()) / 3 + (places[WORDS[0]] % 7 - 3)
    values = np.array([f"v{n}".encode() for n in range(VALUES)], object)
    columns = {
        **numbers,
        **{name: values[found] for name, found in places.items()},
        "up": (score + drawn.normal(size=rows) > 0).astype(np.float32),
    }
    lists = [
        pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32), pa.array(column))
        for column in columns.values()
    ]
    return pa.RecordBatch.from_arrays(lists, list(columns))
