"""The child process with two more tasks: what the tests need TFDV itself to do."""

from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq

from trueup.tfdv.child import TASKS, Files, Options, serve


def generate(tfdv: ModuleType, files: Files, options: Options) -> None:
    """``frame`` (a message that holds a path to Parquet) → statistics."""
    frame = pq.read_table(options["frame"]).to_pandas()
    statistics = tfdv.generate_statistics_from_dataframe(frame)
    Path(files["output"]).write_bytes(statistics.SerializeToString())


def load(tfdv: ModuleType, files: Files, options: Options) -> None:
    """``path`` by TFDV's own reader → statistics."""
    reader = getattr(tfdv, options["reader"])
    Path(files["output"]).write_bytes(reader(options["path"]).SerializeToString())


def write(tfdv: ModuleType, files: Files, options: Options) -> None:
    """``statistics`` to ``path`` by TFDV's own writer."""
    tfdv.write_stats_text(tfdv.load_stats_binary(files["statistics"]), options["path"])
    Path(files["output"]).write_bytes(b"")


if __name__ == "__main__":
    serve({**TASKS, "generate": generate, "load": load, "write": write})
