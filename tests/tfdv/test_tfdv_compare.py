"""TFDV's statistics in place of training data: ``trueup compare stats.pb serving.parquet``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.protobuf import text_format

from trueup.comparison import compare
from trueup.errors import BadInputError, DataError
from trueup.records.input_spec import Role
from trueup.records.report import CauseKind, Level, Quantity, Report, Verdict
from trueup.tfdv.baseline import open_statistics
from trueup.tfdv.files import write_message
from trueup.tfdv.protos import protos

pytestmark = pytest.mark.heavy  # statistics of TFDV's own making


@pytest.fixture(scope="module")
def statistics(halves: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("statistics") / "stats.pb"
    write_message(halves.statistics, path)
    return path


def causes(report: Report) -> dict[str, tuple[CauseKind, dict[str, Any]]]:
    return {
        finding.feature: (finding.cause.kind, dict(finding.cause.parameters))
        for finding in report.findings
        if finding.cause is not None
    }


def out_of_range(report: Report) -> set[str]:
    return {
        f.feature
        for f in report.findings
        if f.quantity is Quantity.OUT_OF_RANGE and f.level is not Level.OK
    }


def test_the_other_half_is_ok_and_the_report_says_what_is_not_known(
    statistics: Path, halves: Any
) -> None:
    report = compare(statistics, halves.other).report
    assert report.verdict is Verdict.OK
    assert all(finding.level is Level.OK for finding in report.findings)
    assert (report.training.rows, report.serving.rows) == (10_000, 10_000)
    assert report.training.name == str(statistics)
    notes = "\n".join(report.notes)
    for words in ("variation between windows", "correlations", "fourth moment", "quantile"):
        assert words in notes
    assert "tailnum: only the most frequent values are known" in notes


def test_roles_are_those_of_data(statistics: Path, halves: Any) -> None:
    """Parts of the date change by themselves: without roles a month of data is a stuck column."""
    by_statistics = compare(statistics, halves.other).report
    by_data = compare(halves.frame, halves.other).report
    assert {f.feature: f.role for f in by_statistics.features} == {
        f.feature: f.role for f in by_data.features
    }
    assert {f.feature for f in by_data.features if f.role is Role.IGNORED} == {
        "year",
        "month",
        "day",
    }


def test_summaries_of_training_are_those_of_the_data(statistics: Path, halves: Any) -> None:
    report = compare(statistics, halves.other).report
    for feature in report.features:
        if feature.training is None or feature.training.mean is None:
            continue
        values = halves.frame[feature.feature]
        assert feature.training.missing == values.isna().sum()
        assert feature.training.mean == pytest.approx(values.mean(), rel=1e-9), feature.feature
        assert feature.training.sd == pytest.approx(values.std(), rel=1e-6), feature.feature


def test_a_shift_is_drift_and_its_size_is_right(statistics: Path, halves: Any) -> None:
    hot = halves.other.assign(temp=halves.other["temp"] + 20)
    report = compare(statistics, hot).report
    assert report.verdict is Verdict.DRIFT
    moved = [f for f in report.findings if f.level is Level.ALERT]
    assert {finding.feature for finding in moved} == {"temp"}
    mean = next(f for f in moved if f.quantity is Quantity.MEAN)
    sd = halves.frame["temp"].std()
    expected = (hot["temp"].mean() - halves.frame["temp"].mean()) / sd
    assert mean.effect == pytest.approx(expected, rel=1e-4)
    assert mean.interval is not None
    assert mean.interval.low < expected < mean.interval.high


@pytest.mark.parametrize("fill", [0.0, -999.0])
def test_filled_nulls_are_named_with_their_value(
    statistics: Path, halves: Any, fill: float
) -> None:
    """0 is a delay that flights do have; how often is known, that of 1 is not."""
    filled = halves.other.assign(dep_delay=halves.other["dep_delay"].fillna(fill))
    report = compare(statistics, filled).report
    assert report.verdict is Verdict.FAULT
    kind, parameters = causes(report)["dep_delay"]
    assert kind is CauseKind.DEFAULT_FILL
    assert float(parameters["value"]) == fill


def test_faults_of_strings_and_stuck_numbers_are_named(statistics: Path, halves: Any) -> None:
    broken = halves.other.assign(
        carrier=halves.other["carrier"].str.lower(),
        dest=halves.other["dest"].str[:2],
        temp=55.04,
    )
    report = compare(statistics, broken).report
    assert report.verdict is Verdict.FAULT
    found = {feature: kind for feature, (kind, _) in causes(report).items()}
    assert found == {
        "carrier": CauseKind.LETTER_CASE,
        "dest": CauseKind.TRUNCATION,
        "temp": CauseKind.STUCK,
    }


def test_another_unit_is_an_alert_whose_cause_is_not_guessed(statistics: Path, halves: Any) -> None:
    """TFDV does not keep the shape by which a conversion is told from growth; ours do."""
    metric = halves.other.assign(distance=halves.other["distance"] * 1.609344)
    report = compare(statistics, metric).report
    assert report.verdict is Verdict.DRIFT
    assert "distance" in {f.feature for f in report.findings if f.level is Level.ALERT}
    assert any("change of unit is not told" in note for note in report.notes)


def test_few_whole_numbers_and_a_constant(tmp_path: Path, generate: Any) -> None:
    """Three values make bins as narrow as numbers get; a unit is not sought in them."""
    training = pd.DataFrame({"grade": [1, 2, 3] * 200, "flag": [0, 1] * 300, "x": [7] * 600})
    path = tmp_path / "stats.pb"
    write_message(generate(training), path)
    same = compare(path, training).report
    assert same.verdict is Verdict.OK
    report = compare(path, training.assign(grade=7)).report
    assert causes(report) == {"grade": (CauseKind.STUCK, causes(report)["grade"][1])}
    assert compare(path, training.assign(x=8)).report.verdict is not Verdict.OK


@pytest.mark.parametrize("seed", range(4))
def test_random_halves_of_awkward_shapes_are_ok(tmp_path: Path, generate: Any, seed: int) -> None:
    """Quantiles of TFDV are sketched: ties, gaps and tails must not look like change."""
    rng = np.random.default_rng(seed)
    n = 12_000
    frame = pd.DataFrame(
        {
            "poisson": rng.poisson(0.7, n),
            "rounded": rng.normal(0, 3, n).round(),
            "pareto": rng.pareto(1.2, n),
            "mostly_zero": np.where(rng.random(n) < 0.93, 0.0, rng.exponential(5, n)),
            "two_humps": np.where(rng.random(n) < 0.5, rng.normal(-9, 1, n), rng.normal(9, 1, n)),
            "with_null": pd.Series(rng.random(n)).where(rng.random(n) < 0.4),
            "word": rng.choice(list("abcdefgh"), n, p=np.arange(8, 0, -1) / 36),
        }
    )
    path = tmp_path / "stats.pb"
    write_message(generate(frame.iloc[: n // 2]), path)
    report = compare(path, frame.iloc[n // 2 :].reset_index(drop=True)).report
    assert report.verdict in (Verdict.OK, Verdict.WATCH)
    assert [f.feature for f in report.findings if f.level is Level.ALERT] == []


def test_ignore_and_label_need_no_rows(statistics: Path, halves: Any) -> None:
    serving = halves.other.assign(temp=halves.other["temp"] + 20, extra=1)
    report = compare(statistics, serving, ignore=["temp", "extra"], label="dep_delay").report
    assert report.verdict is Verdict.OK
    roles = {f.feature: f.role for f in report.features}
    assert (roles["temp"], roles["extra"]) == (Role.IGNORED, Role.IGNORED)
    assert roles["dep_delay"] is Role.LABEL


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"time": "day"}, "time cannot be given"),
        ({"key": "flight"}, "keys cannot be given"),
        ({"label": "dep_dely"}, "did you mean 'dep_delay'?"),
        ({"slice_name": "country_US"}, "no slice 'country_US'"),
        ({"spec": "corrections.toml"}, "TOML cannot correct"),
    ],
    ids=str,
)
def test_wishes_that_need_rows_are_refused(
    statistics: Path, halves: Any, wish: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadInputError, match=words):
        compare(statistics, halves.other, **wish)


def test_statistics_cannot_be_serving(statistics: Path, halves: Any) -> None:
    with pytest.raises(BadInputError, match="rows are needed"):
        compare(halves.frame, statistics)


def test_a_schema_says_what_features_are(statistics: Path, halves: Any, tmp_path: Path) -> None:
    schema = tmp_path / "schema.pbtxt"
    schema.write_text(
        """
        feature { name: "temp" type: FLOAT lifecycle_stage: DEPRECATED }
        feature { name: "dep_delay" type: FLOAT not_in_environment: "SERVING" }
        feature { name: "precip" type: FLOAT float_domain { min: 0 max: 5 } }
        feature { name: "gate" type: BYTES }
        """
    )
    wet = halves.other["precip"].where(np.arange(10_000) % 20 > 0, 3.0)
    serving = halves.other.assign(temp=halves.other["temp"] + 20, precip=wet)
    assert out_of_range(compare(statistics, serving).report) == {"temp", "precip"}
    report = compare(statistics, serving, spec=schema).report
    roles = {f.feature: f.role for f in report.features}
    assert (roles["temp"], roles["dep_delay"]) == (Role.IGNORED, Role.LABEL)
    assert out_of_range(report) == set()
    assert out_of_range(compare(statistics, serving.assign(precip=wet * 2), spec=schema).report)
    assert any("gate: in the schema only" in note for note in report.notes)
    assert compare(statistics, halves.other, spec=schema).report.verdict is Verdict.OK


def test_slices_by_name(halves: Any, tmp_path: Path) -> None:
    both = protos().statistics.DatasetFeatureStatisticsList()
    for name, examples in (("origin_JFK", 400), ("All Examples", 10_000)):
        both.datasets.add().CopyFrom(halves.statistics.datasets[0])
        both.datasets[-1].name, both.datasets[-1].num_examples = name, examples
    path = tmp_path / "stats.pbtxt"
    path.write_text(text_format.MessageToString(both))
    assert open_statistics(path).profile.rows == 10_000
    assert open_statistics(path, slice_name="origin_JFK").profile.rows == 400
    assert compare(path, halves.other).report.training.rows == 10_000
    both.datasets[1].name = "origin_EWR"
    path.write_text(text_format.MessageToString(both))
    with pytest.raises(DataError, match=r"no slice 'All Examples'; slices: 'origin_JFK', 'orig"):
        compare(path, halves.other)


def test_comparing_loads_neither_tensorflow_nor_tfdv(
    statistics: Path, halves: Any, tmp_path: Path
) -> None:
    serving = tmp_path / "serving.parquet"
    halves.other.to_parquet(serving)
    program = (
        "import sys\nfrom trueup.cli.main import main\n"
        f"code = main(['compare', {str(statistics)!r}, {str(serving)!r}])\n"
        "print(*sys.modules, file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert loaded.isdisjoint({"tensorflow", "tensorflow_data_validation", "apache_beam"})
    assert "tensorflow_metadata" in loaded
