"""Pictures of real reports for docs/images: ``.venv/bin/python scripts/screenshots.py``.

Flights that left New York in 2013: winter against July (drift), a broken pipeline (fault), two
random halves (ok). Chromium takes the pictures; look at them before they are committed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pandas as pd
from chromium import Chromium

from trueup.comparison import Comparison, compare
from trueup.datasets.flights import SPEC_PATH, flights_with_weather

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIZES = {"": (1200, 1000), "-phone": (390, 844)}


def reports(flights: pd.DataFrame) -> dict[str, Comparison]:
    """By the name of the picture."""
    shuffled = flights.sample(frac=1.0, random_state=20130101)
    half, other = shuffled.iloc[: len(shuffled) // 2], shuffled.iloc[len(shuffled) // 2 :]
    broken = other.assign(
        distance=other["distance"] * 1.609344,
        dep_delay=other["dep_delay"].fillna(0.0),
        carrier=other["carrier"].str.lower(),
    )
    winter, july = flights[flights["month"] <= 3], flights[flights["month"] == 7]
    return {
        "drift": compare(winter, july, spec=SPEC_PATH),
        "fault": compare(half, broken, spec=SPEC_PATH),
        "ok": compare(half, other, spec=SPEC_PATH),
    }


def main() -> int:
    IMAGES.mkdir(parents=True, exist_ok=True)
    browser = Chromium()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, comparison in reports(flights_with_weather()).items():
                page = Path(folder) / f"{name}.html"
                comparison.save(page)
                for ending, (width, height) in SIZES.items():
                    browser.open(page, width=width, height=height)
                    browser.picture(IMAGES / f"report-{name}{ending}.png")
                if name == "drift":
                    width, height = SIZES[""]
                    browser.open(page, width=width, height=height, dark=True)
                    browser.picture(IMAGES / f"report-{name}-dark.png")
    finally:
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
