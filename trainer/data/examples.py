"""Rows read back from shards, some of them, as the InputSpec declares them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from trueup.datasets.parts import conform
from trueup.datasets.sources import File
from trueup.datasets.tfrecord_file import ExampleUnit
from trueup.records.training import Shard, Split, TrainingData
from trueup.trainer.data.declared import declared_array, declared_schema

MOST_SHARDS = 8
"""From so many, evenly spread over all, rows are taken: a shard is a random sample of its group."""


def sample_of(data: TrainingData, folder: Path, split: Split, most_rows: int) -> pa.Table:
    """Up to ``most_rows`` rows of ``train`` or ``tune``, a random sample of them; variables that
    are not in the Examples (times, ids) are null.

    :raises DataError: a shard cannot be read; the message names it.
    """
    schema = declared_schema(data.spec)
    shards = data.splits[split].shards
    count = min(len(shards), MOST_SHARDS)
    chosen = [shards[place * len(shards) // count] for place in range(count)]
    parts: list[pa.Table] = [schema.empty_table()]
    wanted = most_rows
    for place, shard in enumerate(chosen):
        share = math.ceil(wanted / (len(chosen) - place))
        part = _first(shard, folder, data, share, schema)
        wanted -= part.num_rows
        parts.append(part)
    return pa.concat_tables(parts).combine_chunks()


def _first(
    shard: Shard, folder: Path, data: TrainingData, most_rows: int, schema: pa.Schema
) -> pa.Table:
    rows, batches = 0, []
    for batch in _batches(shard, folder, data, most_rows):
        arrays = [
            declared_array(batch.column(place), variable)[0]
            for place, variable in enumerate(data.spec.variables)
        ]
        batches.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
        rows += batch.num_rows
        if rows >= most_rows:
            break
    return pa.Table.from_batches(batches, schema).slice(0, most_rows)


def _batches(
    shard: Shard, folder: Path, data: TrainingData, most_rows: int
) -> Iterator[pa.RecordBatch]:
    """With the types that Examples have."""
    kinds = [pa.field(field.name, _stored(field.type)) for field in declared_schema(data.spec)]
    stored = pa.schema(kinds)
    share = min(1.0, 1.05 * most_rows / max(shard.rows, 1))
    file = File(str(folder / shard.path), shard.bytes, "tfrecord")
    for batch in ExampleUnit(file, 0, math.ceil(shard.bytes * share)).read(stored):
        batch = conform(batch, stored)
        arrays = [
            _unsigned(array) if variable.dtype == "uint64" and not variable.multi_valued else array
            for array, variable in zip(batch.columns, data.spec.variables, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, names=stored.names)


def _stored(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_stored(kind.value_type))
    if pa.types.is_uint64(kind) or pa.types.is_boolean(kind):
        return pa.int64()
    if pa.types.is_timestamp(kind):
        return pa.string()
    return pa.float32() if pa.types.is_floating(kind) else kind


def _unsigned(array: pa.Array) -> pa.Array:
    values = array.fill_null(0).to_numpy(zero_copy_only=False).view(np.uint64)
    return pa.array(values, mask=array.is_null().to_numpy(zero_copy_only=False))
