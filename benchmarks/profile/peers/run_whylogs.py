"""whylogs' profile of a frame."""

from __future__ import annotations

import sys

from measured import Measured, frame_of, quiet

quiet()
measured = Measured("whylogs")
with measured.phase("import"):
    import whylogs as why
frame = frame_of(sys.argv[1:])
measured.loaded()
with measured.phase("profile"):
    view = why.log(pandas=frame).view()
assert len(view.get_columns()) == frame.shape[1]
assert max(c.get_metric("counts").n.value for c in view.get_columns().values()) == len(frame)
measured.tell(*frame.shape)
