"""A :class:`~trueup.profile.series.WindowSeries` as bytes: how training's windows vary, kept with
a baseline."""

from __future__ import annotations

import numpy as np

from trueup.errors import ProfileError
from trueup.profile.codec import opened, sealed
from trueup.profile.series import CELLS, FIRST_CELL, FeatureSeries, WindowSeries
from trueup.profile.wire import Decoder, Encoder

SERIES = b"seri"

_COLUMNS = FIRST_CELL + CELLS


def dumps_series(series: WindowSeries) -> bytes:
    """``series`` as bytes, equal for equal sums."""
    out = Encoder()
    out.float(series.length_s)
    out.floats(series.index.astype(np.float64))  # exact: windows since 1970 are few
    out.count(len(series.features))
    for name, feature in series.features.items():
        out.text(name)
        out.floats(feature.sums)
    return sealed(SERIES, bytes(out.data))


def loads_series(data: bytes) -> WindowSeries:
    """What :func:`dumps_series` wrote.

    :raises ProfileError: it is damaged or of a newer release.
    """
    source = Decoder(opened(SERIES, data))
    length_s = source.float()
    index = source.floats().astype(np.int64)
    features = {}
    for _ in range(source.count()):
        name = source.text()
        sums = source.floats()
        if sums.size != len(index) * _COLUMNS:
            raise ProfileError(f"the sums of {name!r} are not of {len(index)} windows")
        features[name] = FeatureSeries(sums.reshape(len(index), _COLUMNS))
    source.end()
    return WindowSeries(length_s, index, features)
