"""Evidently's data drift report: the first half of a frame against the second."""

from __future__ import annotations

import sys

from measured import Measured, frame_of, quiet

quiet()
measured = Measured("evidently")
with measured.phase("import"):
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset
frame = frame_of(sys.argv[1:])
half = len(frame) // 2
reference, current = frame.iloc[:half], frame.iloc[half:]
measured.loaded()
with measured.phase("profile"):
    definition = DataDefinition()
    snapshot = Report([DataDriftPreset()]).run(
        Dataset.from_pandas(current, data_definition=definition),
        Dataset.from_pandas(reference, data_definition=definition),
    )
    found = snapshot.dict()
assert len(found["metrics"]) > 1
measured.tell(*frame.shape)
