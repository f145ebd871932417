"""``trueup compare`` on real flights: 336,776 departures from New York in 2013, with the weather.

Drift where the world changed, ok on random halves, and a fault with its cause for each way in
which a pipeline breaks.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from trueup.comparison import compare
from trueup.datasets.flights import flights_with_weather
from trueup.records.report import CauseKind, Finding, Quantity, Report, Verdict

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    return flights_with_weather()


@pytest.fixture(scope="module")
def halves(flights: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    shuffled = flights.sample(frac=1.0, random_state=20130101)
    middle = len(shuffled) // 2
    return shuffled.iloc[:middle], shuffled.iloc[middle:]


def finding(report: Report, feature: str, quantity: Quantity) -> Finding:
    return next(f for f in report.findings if f.feature == feature and f.quantity is quantity)


def test_winter_against_july_is_drift(flights: pd.DataFrame) -> None:
    winter, july = flights[flights.month <= 3], flights[flights.month == 7]
    report = compare(winter, july).report
    assert report.verdict is Verdict.DRIFT
    temperature = finding(report, "temp", Quantity.MEAN)
    assert temperature.training == pytest.approx(winter.temp.mean(), rel=1e-9)
    assert temperature.serving == pytest.approx(july.temp.mean(), rel=1e-9)
    first = list(dict.fromkeys(f.feature for f in report.findings))
    assert set(first[:2]) == {"temp", "dewp"}
    assert not [f for f in report.findings if f.cause]
    delay = finding(report, "dep_delay", Quantity.MEAN)
    assert delay.level.value == "alert"
    assert delay.serving == pytest.approx(july.dep_delay.mean())
    ignored = {s.feature for s in report.features if s.role.value == "ignored"}
    assert {"year", "month", "day", "hour", "minute"} <= ignored


def test_random_halves_are_ok(halves: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    assert compare(*halves).verdict is Verdict.OK


def kilometres(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(distance=frame.distance * 1.609344)


def nulls_to_zero(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(dep_delay=frame.dep_delay.fillna(0.0))


def lower_case(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(carrier=frame.carrier.str.lower())


def stuck(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(wind_speed=frame.wind_speed.median())


@pytest.mark.parametrize(
    ("break_it", "column", "cause"),
    [
        (kilometres, "distance", CauseKind.UNIT),
        (nulls_to_zero, "dep_delay", CauseKind.DEFAULT_FILL),
        (lower_case, "carrier", CauseKind.LETTER_CASE),
        (stuck, "wind_speed", CauseKind.STUCK),
    ],
)
def test_a_broken_column_is_a_fault_with_its_cause(
    halves: tuple[pd.DataFrame, pd.DataFrame], break_it, column: str, cause: CauseKind
) -> None:
    report = compare(halves[0], break_it(halves[1])).report
    assert report.verdict is Verdict.FAULT
    assert {f.cause.kind for f in report.findings if f.cause} == {cause}
    assert {f.feature for f in report.findings if f.level.value == "alert"} == {column}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trueup.cli.main", "compare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_exit_codes_json_and_page(flights: pd.DataFrame, tmp_path: Path) -> None:
    winter, july = tmp_path / "winter.parquet", tmp_path / "july.csv"
    page = tmp_path / "report.html"
    flights[flights.month <= 3].to_parquet(winter)
    flights[flights.month == 7].to_csv(july, index=False)
    drifted = run(winter, july, "--json", "--html", page)
    assert drifted.returncode == 3, drifted.stderr
    report = Report.model_validate(json.loads(drifted.stdout))
    assert report.verdict is Verdict.DRIFT
    assert "<html" in page.read_text(encoding="utf-8")
    told = run(winter, july)
    assert told.returncode == 3
    assert "DRIFT" in told.stdout
    assert "temp" in told.stdout
    same = run(winter, winter)
    assert same.returncode == 0, same.stderr


@pytest.mark.parametrize(
    "content", [None, b"", b"PAR1 and then nothing", b"a,a\n1,2\n", b"a,b\n1\n"]
)
def test_bad_input_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    if content is not None and content.startswith(b"PAR1"):
        bad = tmp_path / "bad.parquet"
    good.write_text("a,b\n" + "".join(f"{i},{i % 7}\n" for i in range(100)))
    if content is not None:
        bad.write_bytes(content)
    result = run(bad, good)
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert str(bad) in result.stderr
