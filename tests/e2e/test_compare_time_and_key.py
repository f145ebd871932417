"""``--time`` and ``--key`` on real flights: windows as evidence, and rows against rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trueup.comparison import compare
from trueup.datasets.flights import flights_with_weather
from trueup.errors import DataError
from trueup.records.report import CauseKind, Level, Quantity, Verdict

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    return flights_with_weather().reset_index(names="flight_id")


def test_winter_against_july_is_drift_by_days_too(flights: pd.DataFrame) -> None:
    winter, july = flights[flights.month <= 3], flights[flights.month == 7]
    by_rows = compare(winter, july).report
    by_days = compare(winter, july, time="time_hour").report
    assert by_days.verdict is Verdict.DRIFT
    assert [f.feature for f in by_days.findings[:2]] == ["temp", "dewp"]
    alerts = [
        {f.feature for f in report.findings if f.level is Level.ALERT}
        for report in (by_rows, by_days)
    ]
    assert {"temp", "dewp", "dep_delay", "arr_delay"} <= alerts[1]
    assert len(alerts[1]) < len(alerts[0])
    assert by_days.notes[0].startswith("windows of 1d by time_hour are the unit of evidence: 91 of")


def test_two_quiet_stretches_of_autumn_are_no_drift_by_days(flights: pd.DataFrame) -> None:
    """Delays of the first three weeks of September against those of the following three: another
    draw of days. By rows their means differ 'significantly'; by days nobody is woken."""
    at = flights.time_hour
    columns = ["time_hour", "dep_delay", "arr_delay", "air_time", "distance", "carrier", "origin"]
    first = flights.loc[(at >= "2013-09-02") & (at < "2013-09-23"), columns]
    second = flights.loc[(at >= "2013-09-23") & (at < "2013-10-14"), columns]
    by_rows = compare(first, second).report
    delays = [f for f in by_rows.findings if f.feature in ("dep_delay", "arr_delay")]
    assert any(f.level is Level.ALERT for f in delays)
    by_days = compare(first, second, time="time_hour", window="1d").report
    delays = [f for f in by_days.findings if f.feature in ("dep_delay", "arr_delay")]
    assert not [f.reason for f in delays if f.level is Level.ALERT]


def test_each_way_to_serve_another_value_is_named(flights: pd.DataFrame) -> None:
    served = flights.sample(40_000, random_state=3)
    served = served.assign(
        distance=served.distance * 1.609344,
        carrier=served.carrier.str.lower(),
        dep_delay=served.dep_delay.fillna(-1.0),
        humid=served.humid.round(0),
        tailnum=served.tailnum.str[:4],
        time_hour=served.time_hour + pd.Timedelta(hours=4),
        temp=served.temp.astype(np.float32),
    )
    report = compare(flights, served, key="flight_id", time="time_hour").report
    skews = {f.feature: f for f in report.findings if f.quantity is Quantity.ROW_SKEW}
    causes = {name: f.cause.kind for name, f in skews.items() if f.cause}
    assert causes == {
        "distance": CauseKind.UNIT,
        "carrier": CauseKind.LETTER_CASE,
        "dep_delay": CauseKind.DEFAULT_FILL,
        "humid": CauseKind.ROUNDING,
        "tailnum": CauseKind.TRUNCATION,
        "time_hour": CauseKind.TIME_ZONE,
        "temp": CauseKind.DTYPE,
    }
    assert report.verdict is Verdict.FAULT
    assert skews["origin"].level is Level.OK
    assert skews["origin"].reason == "origin is equal in all 40,000 joined rows"
    assert "40,000 rows were joined by flight_id (336,776 training, 40,000 serving rows)" in (
        report.notes
    )


def test_stale_weather_is_named(flights: pd.DataFrame) -> None:
    """Serving got each station's weather of the hour before."""
    weather = flights.drop_duplicates(["origin", "time_hour"])[
        ["origin", "time_hour", "temp", "humid"]
    ].sort_values(["origin", "time_hour"])
    served = weather.assign(temp=weather.groupby("origin")["temp"].shift())
    report = compare(weather, served, key=["origin", "time_hour"], time="time_hour").report
    skew = {f.feature: f for f in report.findings if f.quantity is Quantity.ROW_SKEW}
    cause = skew["temp"].cause
    assert cause is not None and cause.kind is CauseKind.STALE
    assert skew["humid"].level is Level.OK


def test_the_command_joins_files(flights: pd.DataFrame, compare_here, tmp_path: Path) -> None:
    few = flights.head(3_000)[["flight_id", "distance", "carrier"]]
    few.to_parquet(tmp_path / "training.parquet")
    few.assign(distance=few.distance.round(-2)).to_csv(tmp_path / "serving.csv", index=False)
    sides = tmp_path / "training.parquet", tmp_path / "serving.csv"
    run = compare_here(*sides, "--json", "--key", "flight_id")
    assert run.code == 4
    skew = run.findings("distance")[Quantity.ROW_SKEW]
    assert skew.cause is not None
    assert "serving is rounded to hundreds" in skew.cause.statement
    assert compare_here(*sides, "--json").code == 3  # seen, but without the cause
    compare_here(*sides, "--json", "--key", "flightid").refused("flightid", "did you mean")
    compare_here(*sides, "--json", "--window", "1d").refused("a window needs a time")


def test_keys_that_never_meet_are_refused(flights: pd.DataFrame) -> None:
    few = flights.head(1_000)[["flight_id", "distance"]]
    with pytest.raises(DataError, match="no flight_id occurs exactly once"):
        compare(few, few.assign(flight_id=few.flight_id + 10_000), key="flight_id")
