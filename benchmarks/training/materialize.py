"""Rows per second into TFRecord files of Examples, ours beside others, and memory against rows.

python benchmarks/training/materialize.py [--rows 1000000] [--results FILE]

Each way runs in a process of its own, one thread, over the same Parquet file with 12 features and a
label: row by row in Python (`tf.train.Example`), tfx_bsl's encoder of record batches, and ours; and
then all of what `trueup train` does with rows before it trains: label and times looked at, splits,
stable hashes, every row in random order over shards, SHA-256, the gate's rows as Parquet, fsync.
tfx_bsl and TensorFlow must be installed (the extra `full`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
}
BATCH_ROWS = 1 << 16
PYTHON_ROWS = 100_000
"""Row by row: a larger file says the same and takes minutes."""

REPEATS = 3
KINDS = [(f"number_{i}", pa.float32()) for i in range(6)] + [
    ("count_0", pa.int64()), ("count_1", pa.int64()), ("word_0", pa.string()),
    ("word_1", pa.string()), ("word_2", pa.string()), ("word_3", pa.string()),
]  # fmt: skip
FEATURES = [name for name, _ in KINDS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--memory-rows", type=int, nargs="*", default=[1_000_000, 4_000_000])
    parser.add_argument("--results", type=Path)
    parser.add_argument("--only", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        print(json.dumps(_measured(WAYS[asked.only], asked.file)))
        return
    with tempfile.TemporaryDirectory(prefix="trueup-materialize-") as folder:
        found = _all(Path(folder), asked.rows, asked.memory_rows)
    for line in _shown(found):
        print(line)
    if asked.results:
        asked.results.write_text(json.dumps(found, indent=1) + "\n")


def _all(folder: Path, rows: int, memory_rows: list[int]) -> dict[str, Any]:
    path, few = _written(folder, rows), _written(folder, min(rows, PYTHON_ROWS))
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(REPEATS):  # in turn, so that what else the machine does falls on all of them
        for way in WAYS:
            runs[way].append(_run(way, few if way == "python" else path))
    memory = {}
    for count in memory_rows:
        memory[count] = _run("trueup train", _written(folder, count))["peak_mb"]
    middle = {
        way: sorted(of, key=lambda run: run["cpu_s"])[len(of) // 2] for way, of in runs.items()
    }
    spread = {way: [round(run["rows_per_cpu_s"]) for run in of] for way, of in runs.items()}
    return {"rows": rows, "runs": middle, "rows_per_cpu_s_of_all": spread, "memory_mb": memory}


def _run(way: str, path: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--only", way, "--file", str(path)],
        env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{way} failed: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{way}: {found['rows_per_cpu_s']:,.0f} rows per CPU second", flush=True)
    return found


def _measured(work: Callable[[Path, Path], int], path: Path) -> dict[str, float]:
    """One run; the import of libraries is not in it."""
    work(_tiny(path), path.parent / "warm")
    target = path.parent / f"out-{os.getpid()}"
    wall, cpu = time.perf_counter(), time.process_time()
    rows = work(path, target)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    for made in (target, path.parent / "warm"):
        _remove(made)
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return {"cpu_s": cpu, "wall_s": wall, "rows_per_cpu_s": rows / cpu,
            "rows_per_s": rows / wall, "peak_mb": peak}  # fmt: skip


def _remove(path: Path) -> None:
    if path.is_dir():
        for inner in path.iterdir():
            inner.unlink()
        path.rmdir()
    elif path.exists():
        path.unlink()


def _tiny(path: Path) -> Path:
    """A file on which a way is run once before, so that what it imports is imported."""
    tiny = path.with_suffix(".tiny.parquet")
    if not tiny.exists():
        pq.write_table(_rows(0, 20_000), tiny)
    return tiny


def _written(folder: Path, rows: int) -> Path:
    path = folder / f"{rows}.parquet"
    if not path.exists():
        with pq.ParquetWriter(path, _rows(0, 1).schema) as writer:
            for first in range(0, rows, 1 << 17):
                writer.write_table(_rows(first, min(1 << 17, rows - first)))
    return path


def _rows(first: int, rows: int) -> pa.Table:
    random = np.random.default_rng(first)
    words = np.array(["AA", "B6", "american", "delta lines"])
    columns: dict[str, pa.Array] = {}
    for name, kind in KINDS:
        if pa.types.is_floating(kind):
            values = random.normal(size=rows).astype(np.float32)
            columns[name] = pa.array(values, mask=random.random(rows) < 0.05)
        elif pa.types.is_integer(kind):
            columns[name] = pa.array(random.integers(0, 5000, rows))
        else:
            columns[name] = pa.array(random.choice(words, rows))
    at = np.arange(first, first + rows) * 10_000_000 + 1_356_998_400_000_000
    columns["at"] = pa.array(at).cast(pa.timestamp("us", "UTC"))
    columns["label"] = pa.array(random.integers(0, 2, rows))
    return pa.table(columns)


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    file = pq.ParquetFile(path)
    yield from file.iter_batches(BATCH_ROWS, columns=[*FEATURES, "label"], use_threads=False)


def _python(path: Path, target: Path) -> int:
    import tensorflow as tf

    feature, rows = tf.train.Feature, 0
    with tf.io.TFRecordWriter(str(target)) as writer:
        for batch in _batches(path):
            columns = [(n, batch.column(i).to_pylist()) for i, n in enumerate(batch.schema.names)]
            for row in range(batch.num_rows):
                found = {}
                for name, values in columns:
                    value = values[row]
                    if value is None:
                        continue
                    if isinstance(value, float):
                        found[name] = feature(float_list=tf.train.FloatList(value=[value]))
                    elif isinstance(value, int):
                        found[name] = feature(int64_list=tf.train.Int64List(value=[value]))
                    else:
                        content = tf.train.BytesList(value=[value.encode()])
                        found[name] = feature(bytes_list=content)
                example = tf.train.Example(features=tf.train.Features(feature=found))
                writer.write(example.SerializeToString())
            rows += batch.num_rows
    return rows


def _as_lists(batch: pa.RecordBatch) -> pa.RecordBatch:
    """As tfx_bsl takes it: every column a list."""
    arrays = []
    for array in batch.columns:
        there = np.asarray(array.is_valid())
        ends = np.concatenate(([0], np.cumsum(there))).astype(np.int32)
        offsets = pa.array(ends, mask=np.append(~there, False))
        kept = array.drop_null()
        if pa.types.is_string(kept.type):
            kept = kept.cast(pa.binary())
        arrays.append(pa.ListArray.from_arrays(offsets, kept))
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _tfx_bsl(path: Path, target: Path) -> int:
    import tensorflow as tf
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    encoder, rows = RecordBatchToExamplesEncoder(), 0
    with tf.io.TFRecordWriter(str(target)) as writer:
        for batch in _batches(path):
            for example in encoder.encode(_as_lists(batch)):
                writer.write(example)
            rows += batch.num_rows
    return rows


def _tfx_bsl_framed(path: Path, target: Path) -> int:
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    from trueup.frames.format import encode

    encoder, rows = RecordBatchToExamplesEncoder(), 0
    with target.open("wb") as file:
        for batch in _batches(path):
            file.write(encode(encoder.encode(_as_lists(batch))))
            rows += batch.num_rows
    return rows


def _ours(path: Path, target: Path) -> int:
    from trueup.records.input_spec import Variable
    from trueup.trainer.data.example_encoder import ExampleEncoder

    dtypes = {pa.float32(): ("float32", "numeric"), pa.int64(): ("int64", "numeric"),
              pa.string(): ("string", "categorical")}  # fmt: skip
    variables = [
        Variable.model_validate({"name": n, "dtype": dtypes[k][0], "kind": dtypes[k][1]})
        for n, k in [*KINDS, ("label", pa.int64())]
    ]
    encoder, rows = ExampleEncoder(variables), 0
    with target.open("wb") as file:
        for batch in _batches(path):
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            file.write(encoder.encode(columns, batch.num_rows).data)
            rows += batch.num_rows
    return rows


def _all_of_it(path: Path, target: Path) -> int:
    from trueup.datasets.infer import infer_spec
    from trueup.trainer.data.event_times import microseconds
    from trueup.trainer.data.materialize import materialize
    from trueup.trainer.data.sources import files_source, together
    from trueup.trainer.data.splits import SplitRule
    from trueup.trainer.data.survey import survey

    whole, sources = together([files_source([str(path)])], "rows")
    spec = infer_spec(whole, time="at", label="label")
    now = microseconds(datetime.now(timezone.utc))
    rule = SplitRule("label", "at", (), 0.05, 0.1, now)
    found = survey(sources, spec, rule, model="m", gate_period=timedelta(hours=7))
    made = materialize(sources, spec, found, target, model="m", shard_rows=262_144)
    return sum(split.rows for split in made.splits.values())


WAYS: dict[str, Callable[[Path, Path], int]] = {
    "python": _python,
    "tfx_bsl": _tfx_bsl,
    "tfx_bsl, our framing": _tfx_bsl_framed,
    "trueup": _ours,
    "trueup train": _all_of_it,
}


def _shown(found: dict[str, Any]) -> Iterator[str]:
    runs = found["runs"]
    yield f"{'way':24}{'rows / CPU s':>14}{'rows / s':>12}{'of tfx_bsl':>12}{'of Python':>12}"
    for way, run in runs.items():
        rate = run["rows_per_cpu_s"]
        yield (
            f"{way:24}{rate:14,.0f}{run['rows_per_s']:12,.0f}"
            f"{rate / runs['tfx_bsl']['rows_per_cpu_s']:12.2f}"
            f"{rate / runs['python']['rows_per_cpu_s']:12.1f}"
        )
    for rows, peak in found["memory_mb"].items():
        yield f"peak memory of trueup train, {int(rows):>12,} rows: {peak:.0f} MB"
    spread = [max(of) / min(of) for of in found["rows_per_cpu_s_of_all"].values()]
    yield (
        f"largest spread of {REPEATS} runs: {max(spread):.2f} x, "
        f"median {statistics.median(spread):.2f} x"
    )


if __name__ == "__main__":
    main()
