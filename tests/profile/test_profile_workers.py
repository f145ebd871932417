"""Worker processes stay light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CODE = """
import sys
from trueup.profile.mapreduce import _first_pass, _profile, leave_pandas_out
from trueup.datasets.infer import infer_spec
from trueup.datasets.open import open_dataset

leave_pandas_out()
dataset = open_dataset(sys.argv[1])
part = (0, dataset.partitions(1)[0])
edges = _first_pass(infer_spec(dataset), None, part).edges()
profile = _profile(edges, dataset.schema, part)
print(profile.rows, profile.features["a"].numeric.raw.mean, "pandas" in sys.modules)
"""


def test_a_worker_reads_and_counts_without_pandas(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    words = ["x", None, "y", "x"]
    pq.write_table(
        pa.table({"a": [1.0, 2.0, None, 6.0], "b": words, "c": [[1], [], [2], None]}), path
    )
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["4 3.0 False"], done.stderr
