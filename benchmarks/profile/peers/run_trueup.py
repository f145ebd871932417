"""Trueup: what the columns are, bins and vocabularies (the first pass), then the counting pass.

The counting pass alone is what a window of traffic costs; all three are what a baseline costs.

    run_trueup.py FILE [ROWS]            of the pandas frame, as the peers
    run_trueup.py FILE --workers N       of the Parquet file, read as it is counted
"""

from __future__ import annotations

import sys

from measured import Measured, frame_of, quiet

quiet()
measured = Measured("trueup")
with measured.phase("import"):
    from trueup.datasets.infer import infer_spec
    from trueup.datasets.open import open_dataset
    from trueup.profile.mapreduce import first_pass_dataset, profile_dataset


def main() -> None:
    arguments = sys.argv[1:]
    workers = 1
    if "--workers" in arguments:
        workers = int(arguments.pop(arguments.index("--workers") + 1))
        source = arguments[0]
    else:
        source = frame_of(arguments)
    measured.loaded()
    with measured.phase("open"):
        dataset = open_dataset(source)
        spec = infer_spec(dataset)
    with measured.phase("first pass"):
        edges = first_pass_dataset(dataset, spec, workers=workers)
    with measured.phase("profile"):
        profile = profile_dataset(dataset, edges, workers=workers)
    assert profile.rows == dataset.rows
    measured.tell(dataset.rows, len(dataset.schema))


if __name__ == "__main__":  # worker processes import this file
    main()
