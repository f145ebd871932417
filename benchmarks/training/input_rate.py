"""The input pipeline alone, in a process of its own: rows/s and peak memory as JSON."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from time import monotonic

import data

from trueup.records.training import Split, TrainingData


def main() -> None:
    folder, batch, threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    import tensorflow as tf

    from trueup.trainer.graph.examples import parser
    from trueup.trainer.input import Rows, batches

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(max(2, threads))
    lineage = TrainingData.model_validate_json((folder / "data" / "data.json").read_bytes())
    split = lineage.splits[Split.TRAIN]
    rows = Rows(folder / "data", split.shards, parts=1, seed=1).stream(0)
    found = batches(rows, batch, parser(data.plan()), whole=True, threads=threads)
    iterator = iter(found)
    for _ in range(4):
        next(iterator)
    steps, begun = split.rows // batch, monotonic()
    for _ in range(steps):
        next(iterator)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = steps * batch / (monotonic() - begun)
    print(json.dumps({"rows_per_s": rate, "peak_mb": peak_mb}))


if __name__ == "__main__":
    main()
