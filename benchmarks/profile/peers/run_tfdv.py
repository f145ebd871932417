"""TFDV's statistics of a frame in one process, without Beam: its fastest way for one job."""

from __future__ import annotations

import sys

from measured import Measured, frame_of, quiet

quiet()
measured = Measured("tensorflow-data-validation")
with measured.phase("import"):
    import tensorflow_data_validation as tfdv
frame = frame_of(sys.argv[1:])
measured.loaded()
with measured.phase("profile"):
    statistics = tfdv.generate_statistics_from_dataframe(frame, n_jobs=1)
assert len(statistics.datasets[0].features) == frame.shape[1]
assert statistics.datasets[0].num_examples == len(frame)
measured.tell(*frame.shape)
