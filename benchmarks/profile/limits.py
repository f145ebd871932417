"""What the parts of a profile cost per cell, beside what libraries take for the bare arithmetic.

python benchmarks/profile/limits.py
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__" and os.environ.get("POLARS_MAX_THREADS") != "1":
    from watch import ONE_THREAD  # libraries look at it once, when they are imported

    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})

import data
import numpy as np
import pyarrow as pa
import report
from run import located

from trueup.datasets.infer import infer_spec
from trueup.datasets.open import open_dataset
from trueup.profile.build import ProfileBuilder
from trueup.profile.mapreduce import first_pass_dataset

BATCHES = 16
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    asked = parser.parse_args()
    batches = [data.block(number, data.BLOCK_ROWS, 20) for number in range(BATCHES)]
    found = [*_bare(batches), *_columns(batches)]
    known = json.loads(asked.results.read_text()) if asked.results.exists() else {"runs": []}
    known["limits"] = located(known, found)
    asked.results.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    report.write(asked.results)


def _bare(batches: list[pa.RecordBatch]) -> list[dict[str, Any]]:
    """What libraries take for parts of the work."""
    import polars

    floats = [batch.column(1).to_numpy() for batch in batches]
    series = [polars.Series(values) for values in floats]
    edges = np.quantile(np.concatenate(floats), np.linspace(0, 1, 257))
    words = [batch.column(5).cast(pa.string()) for batch in batches]
    codes = [batch.column(19).cast(pa.string()) for batch in batches]

    def four(x: np.ndarray) -> None:
        d = x - x.mean()
        d2 = d * d
        d2.sum(), np.einsum("i,i->", d2, d), np.einsum("i,i->", d2, d2)

    return [
        _timed("NumPy: four central moments", floats, four),
        _timed("polars: mean, sd, skewness, kurtosis", series,
               lambda s: (s.mean(), s.std(), s.skew(), s.kurtosis())),
        _timed("NumPy: 256 bins by binary search", floats,
               lambda x: np.bincount(np.searchsorted(edges, x, side="right"), minlength=258)),
        _timed("Arrow: dictionary encoding, 12 words", words, lambda a: a.dictionary_encode()),
        _timed("Arrow: dictionary encoding, 100,000 words", codes,
               lambda a: a.dictionary_encode()),
    ]  # fmt: skip


def _columns(batches: list[pa.RecordBatch]) -> list[dict[str, Any]]:
    """What the counting pass takes for each kind of column, and for all together."""
    kinds = {
        "skewed_1": "fractions", "normal_0": "fractions, 2 % null",
        "single_2": "float32, 10 % null", "money_3": "money, 2 decimals",
        "count_4": "small integers", "big_16": "wide integers", "level_5": "12 words",
        "place_9": "600 words, 3 % null", "code_19": "100,000 words",
    }  # fmt: skip
    plain = [
        pa.RecordBatch.from_arrays(
            [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in b.columns],
            schema=None,
            names=b.schema.names,
        )
        for b in batches
    ]
    dataset = open_dataset(pa.Table.from_batches(plain))
    edges = first_pass_dataset(dataset, infer_spec(dataset), workers=1)
    rows = []
    for name, kind in kinds.items():
        builder = ProfileBuilder(edges)
        feature = builder._features[name]  # the kernel of one column has no other door
        arrays = [batch.column(batch.schema.names.index(name)) for batch in plain]
        feature.add(arrays[0])
        rows.append(_timed(f"Trueup: {kind}", arrays, feature.add))
    builder = ProfileBuilder(edges)
    rows.append(_comoments(builder, plain))
    whole = _timed("Trueup: 20 columns with co-moments", plain, builder.add)
    return [*rows, {**whole, "ns": round(whole["ns"] / 20, 2)}]


def _comoments(builder: ProfileBuilder, batches: list[pa.RecordBatch]) -> dict[str, Any]:
    """The co-moments alone, per cell of the columns that are paired."""
    sums = builder._comoments
    numbers = []
    for batch in batches:
        found = {
            name: builder._features[name].add(batch.column(batch.schema.names.index(name)))
            for name in sums.names
        }
        numbers.append({name: column for name, column in found.items() if column is not None})
    timed = _timed(
        f"Trueup: co-moments of {len(sums.names)} columns",
        numbers,
        lambda columns: sums.add(data.BLOCK_ROWS, columns),
    )
    return {**timed, "ns": round(timed["ns"] / len(sums.names), 2)}


def _timed(what: str, parts: list[Any], work: Callable[[Any], object]) -> dict[str, Any]:
    """Median nanoseconds of processor time per row of ``parts``."""
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        for part in parts:
            work(part)
        seconds.append(time.process_time() - start)
    rows = len(parts) * data.BLOCK_ROWS
    return {"what": what, "ns": round(statistics.median(seconds) / rows * 1e9, 2)}


if __name__ == "__main__":
    main()
