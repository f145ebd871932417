"""``trueup tfdv`` and the commands of docs/tfdv.md, by TFDV itself."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from trueup.cli.main import main
from trueup.records.input_spec import Role
from trueup.tfdv import process
from trueup.tfdv.files import read_schema, read_statistics, write_message
from trueup.tfdv.process import TfdvProcess
from trueup.tfdv.protos import protos
from trueup.tfdv.schema_in import open_schema

pytestmark = pytest.mark.heavy

DOCS = Path(__file__).parents[2] / "docs" / "tfdv.md"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def one_child(tfdv: TfdvProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands ask the child process of all tests instead of starting one each."""
    monkeypatch.setattr(process, "TfdvProcess", lambda: nullcontext(tfdv))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "240")

    def run_command(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_command


@pytest.fixture(scope="module")
def files(halves: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``stats.pb`` is TFDV's of ``training.parquet``; in ``serving.parquet`` some columns moved."""
    folder = tmp_path_factory.mktemp("files")
    write_message(halves.statistics, folder / "stats.pb")
    halves.frame.to_parquet(folder / "training.parquet")
    halves.other.to_parquet(folder / "other.parquet")
    serving = halves.other.assign(origin=halves.other["origin"].replace("JFK", "SWF"))
    serving.to_parquet(folder / "serving.parquet")
    return folder


def commands() -> list[tuple[str, int]]:
    """The commands of the page with the exit codes that it gives them, in order."""
    lines = re.findall(r"^\$ trueup (.*)$", DOCS.read_text(), re.MULTILINE)
    codes = [re.search(r"# exit code (\d)", line) for line in lines]
    return [(line, int(code[1]) if code else 0) for line, code in zip(lines, codes, strict=True)]


@pytest.mark.usefixtures("one_child")
def test_the_commands_of_the_page_do_what_it_says(
    files: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "files"
    shutil.copytree(files, folder)
    monkeypatch.chdir(folder)
    found = commands()
    assert len(found) >= 10
    for line, expected in found:
        code, _, said = run(*shlex.split(line, comments=True))
        assert code == expected, (line, said)
    for name in ("training.tfrecord", "serving.pbtxt"):
        assert read_statistics(name).datasets[0].num_examples == 10_000
    assert "<facets-overview" in Path("facets.html").read_text()
    assert {feature.name for feature in read_schema("schema.pbtxt").feature} >= {"temp", "origin"}
    assert open_schema("own.pbtxt")["year"].role is Role.IGNORED


@pytest.mark.usefixtures("one_child")
def test_validate_tells_anomalies_and_distances(files: Path, run: Run, tmp_path: Path) -> None:
    schema, now = tmp_path / "schema.pbtxt", tmp_path / "now.pb"
    assert run("tfdv", "infer-schema", files / "stats.pb", "-o", schema)[0] == 0
    assert run("profile", files / "serving.parquet", "--tfdv", now)[0] == 0
    text = schema.read_text().replace(
        'name: "origin"',
        'name: "origin" drift_comparator { infinity_norm { threshold: 0.1 } }',
        1,
    )
    schema.write_text(text)
    against = ("tfdv", "validate", now, "--schema", schema, "--previous", files / "stats.pb")
    code, out, _ = run(*against, "--json")
    assert code == 3
    report = json.loads(out)
    reasons = {(one["feature"], one["reason"]) for one in report["anomalies"]}
    assert ("origin", "ENUM_TYPE_UNEXPECTED_STRING_VALUES") in reasons
    assert ("origin", "COMPARATOR_L_INFTY_HIGH") in reasons
    assert "SCHEMA_MISSING_COLUMN" not in {reason for _, reason in reasons}
    (measured,) = report["measurements"]
    assert (measured["feature"], measured["distance"]) == ("origin", "L_INFTY")
    assert measured["value"] == pytest.approx(1 / 3, abs=0.05)

    code, out, _ = run(*against)
    assert code == 3
    assert "Unexpected string values" in out and "SWF" in out
    assert "drift of origin: l infty 0.3" in out
    assert f"{now} against {schema}: {len(report['anomalies'])} anomalies." in out


@pytest.mark.usefixtures("one_child")
def test_a_schema_is_printed_or_written_in_either_form(
    files: Path, run: Run, tmp_path: Path
) -> None:
    code, printed, _ = run("tfdv", "infer-schema", files / "stats.pb", "--no-shapes")
    assert code == 0
    assert 'name: "carrier"' in printed and "shape {" not in printed
    for name in ("schema.pbtxt", "schema.pb"):
        code, said, _ = run("tfdv", "infer-schema", files / "stats.pb", "-o", tmp_path / name)
        assert (code, said.startswith("The schema of 13 features")) == (0, True)
    assert read_schema(tmp_path / "schema.pb") == read_schema(tmp_path / "schema.pbtxt")
    _, printed, _ = run("tfdv", "infer-schema", files / "stats.pb", "--max-string-domain-size", "3")
    assert 'name: "origin"' in printed and '"EWR"' in printed and '"UA"' not in printed


@pytest.mark.usefixtures("one_child")
def test_what_cannot_be_validated_exits_with_2(files: Path, run: Run, tmp_path: Path) -> None:
    schema = tmp_path / "schema.pbtxt"
    schema.write_text('feature { name: "x" type: INT presence { min_fraction: 1 } }')
    nothing = protos().statistics.DatasetFeatureStatisticsList()
    nothing.datasets.add(name="All Examples")
    write_message(nothing, tmp_path / "nothing.pb")
    (tmp_path / "bad.pbtxt").write_text("feature { nmae: 3 }")
    stats = files / "stats.pb"
    for arguments, words in (
        ([tmp_path / "nothing.pb", "--schema", schema], "no examples"),
        ([stats, "--schema", tmp_path / "bad.pbtxt"], "nmae"),
        ([stats, "--schema", tmp_path / "none.pbtxt"], "none.pbtxt does not exist"),
        ([stats, "--schema", stats], "stats.pb"),
        ([files / "training.parquet", "--schema", schema], "training.parquet"),
        ([stats, "--schema", schema, "--slice", "x"], "no slice 'x'"),
        ([stats, "--schema", schema, "--environment", "STAGING"], "STAGING"),
    ):
        code, _, said = run("tfdv", "validate", *arguments)
        assert (code, said.count("\n")) == (2, 1), said
        assert words in said


def test_a_command_with_a_child_of_its_own(files: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trueup.cli.main", "tfdv", "infer-schema", files / "stats.pb"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 'name: "carrier"' in done.stdout
    assert done.stderr == ""
