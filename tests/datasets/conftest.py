"""Reads a data set back whole, through partitions that were pickled as a process pool does."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from trueup.datasets.open import open_dataset

Read = Callable[..., pa.Table]


@pytest.fixture
def read() -> Read:
    """All rows of a source as one table, read through three pickled partitions."""

    def read_all(source: Any, columns: list[str] | None = None) -> pa.Table:
        dataset = open_dataset(source)
        schema = dataset.schema
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in columns])
        parts = pickle.loads(pickle.dumps(dataset.partitions(3)))
        batches = [batch for part in parts for batch in part.batches(columns)]
        for batch in batches:
            assert batch.schema == schema
        table = pa.Table.from_batches(batches, schema=schema)
        assert table.num_rows == dataset.rows
        return table

    return read_all


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], str]:
    """Writes bytes under a name and gives the path."""

    def write_file(name: str, data: bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return str(path)

    return write_file
