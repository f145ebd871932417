"""``trueup profile`` as a user runs it: the table, JSON, and the files it writes."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest

from trueup.cli.main import main
from trueup.cli.progress import SECONDS_BETWEEN_LINES, line_now_and_then
from trueup.profile.file import open_profile
from trueup.records.data_summary import DataSummary


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    rows = 2_000
    frame = pd.DataFrame(
        {
            "ride": np.arange(rows),
            "at": pd.date_range("2013-07-01", periods=rows, freq="min", tz="UTC"),
            "fare": rng.lognormal(2, 0.5, rows).round(2),
            "city": rng.choice(["Oslo", "Bergen"], rows),
        }
    )
    frame.loc[::10, "fare"] = np.nan
    path = tmp_path / "rides.csv"
    frame.to_csv(path, index=False)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_table_shows_every_column(data, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    code, out, err = run(capsys, "profile", data)
    assert (code, err) == (0, "")
    assert "2,000 rows, 4 columns" in out
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "id:" in lines["ride"]
    assert "2013-07-01 00:00 UTC" in lines["at"]
    assert "10 %" in lines["fare"].replace("\N{NO-BREAK SPACE}", " ") and "mean" in lines["fare"]
    assert "Oslo" in lines["city"] and "Bergen" in lines["city"]


def test_json_is_a_data_summary(data, capsys) -> None:
    code, out, _ = run(capsys, "profile", data, "--json")
    assert code == 0
    summary = DataSummary.model_validate_json(out)
    fare = next(one for one in summary.variables if one.variable.name == "fare")
    frame = pd.read_csv(data)
    assert fare.summary is not None
    assert fare.summary.missing == frame["fare"].isna().sum()
    assert fare.summary.mean == pytest.approx(frame["fare"].mean())
    city = next(one for one in summary.variables if one.variable.name == "city")
    assert {v.value: v.count for v in city.frequent} == frame["city"].value_counts().to_dict()


def test_a_profile_stands_in_for_the_training_data(data, capsys, tmp_path) -> None:
    serving = tmp_path / "serving.csv"
    frame = pd.read_csv(data)
    frame.assign(fare=frame["fare"] * 1.609344).to_csv(serving, index=False)
    saved = tmp_path / "rides.profile"
    code, out, _ = run(capsys, "profile", data, "-o", saved)
    assert code == 0
    assert f"The profile is in {saved}." in out
    assert open_profile(saved).profile.rows == 2_000
    reports = []
    for training in (data, saved):
        code, out, _ = run(capsys, "compare", training, serving, "--json")
        assert code in (3, 4)
        report = json.loads(out)
        for volatile in ("check_id", "created_at"):
            del report[volatile]
        reports.append(report)
    assert reports[0] == reports[1]


def test_what_needs_rows_is_refused_of_a_profile(data, capsys, tmp_path) -> None:
    saved = tmp_path / "rides.profile"
    run(capsys, "profile", data, "-o", saved)
    code, _, err = run(capsys, "compare", saved, data, "--key", "ride")
    assert code == 2
    assert "holds statistics, not rows: keys cannot be given" in err


def test_the_written_spec_is_read_back(data, capsys, tmp_path) -> None:
    written = tmp_path / "spec.toml"
    assert run(capsys, "profile", data, "--write-spec", written)[0] == 0
    text = written.read_text()
    written.write_text(text.replace("[variables.fare]", '[variables.fare]\nunit = "NOK"', 1))
    code, out, _ = run(capsys, "profile", data, "--spec", written, "--json")
    assert code == 0
    summary = DataSummary.model_validate_json(out)
    units = {one.variable.name: one.variable.unit for one in summary.variables}
    assert units["fare"] == "NOK"


def test_wrong_words_are_one_sentence(data, capsys, tmp_path) -> None:
    for arguments, words in (
        (["missing.csv"], "missing.csv"),
        ([data, "--time", "fair"], "did you mean 'fare'?"),
        ([data, "--ignore", "citty"], "did you mean 'city'?"),
        ([data, "-o", tmp_path / "none" / "x"], "cannot write"),
    ):
        code, out, err = run(capsys, "profile", *arguments)
        assert (code, out) == (2, "")
        assert words in err
        assert len(err.strip().splitlines()) == 1


def test_long_work_writes_a_line_now_and_then() -> None:
    now = 0.0
    lines: list[str] = []
    update = line_now_and_then("profiling", lambda: now, lines.append)
    for step in range(1, 101):
        now += SECONDS_BETWEEN_LINES / 20
        update(step, 100)
    assert lines == [f"profiling: {percent} %" for percent in (20, 40, 60, 80)]


def test_a_profile_shows_what_its_data_showed(data, capsys, tmp_path) -> None:
    saved = tmp_path / "rides.profile"
    _, of_data, _ = run(capsys, "profile", data, "-o", saved, "--json")
    code, of_profile, _ = run(capsys, "profile", saved, "--json")
    assert (code, of_profile) == (0, of_data)
    code, out, _ = run(capsys, "profile", saved, "--label", "fare", "--json")
    roles = {one.variable.name: one.variable.role.value
             for one in DataSummary.model_validate_json(out).variables}  # fmt: skip
    assert (code, roles["fare"]) == (0, "label")


def test_a_profile_behind_a_url(data, capsys, tmp_path) -> None:
    saved = tmp_path / "rides.profile"
    run(capsys, "profile", data, "-o", saved)
    fsspec.filesystem("memory").pipe("/profiles/rides.profile", saved.read_bytes())
    url = "memory://profiles/rides.profile"
    assert run(capsys, "compare", url, data)[0] == 0
    assert run(capsys, "profile", url, "--json")[0] == 0
    code, _, err = run(capsys, "compare", "memory://profiles/none.profile", data)
    assert code == 2
    assert "cannot read memory://profiles/none.profile" in err


def test_what_is_read_is_never_written_to(data, capsys, tmp_path) -> None:
    before = data.read_bytes()
    link = tmp_path / "link.csv"
    link.symlink_to(data)
    folder = tmp_path / "days"
    folder.mkdir()
    inner = folder / "monday.csv"
    inner.write_bytes(before)
    for source, output in (
        (data, data), (data, link), (link, data), (folder, inner), (folder / "*.csv", inner),
    ):  # fmt: skip
        code, _, err = run(capsys, "profile", source, "-o", output)
        assert code == 2
        assert f"{output} is what is read" in err
    for option in ("--write-spec", "--tfdv"):
        assert run(capsys, "profile", data, option, data)[0] == 2
    assert run(capsys, "compare", data, inner, "--html", inner)[0] == 2
    assert data.read_bytes() == inner.read_bytes() == before


def test_results_do_not_overwrite_one_another(data, capsys, tmp_path) -> None:
    out = tmp_path / "out"
    code, _, err = run(capsys, "profile", data, "-o", out, "--write-spec", out)
    assert code == 2
    assert "shall hold two results" in err
    assert not out.exists()


def test_what_cannot_be_written_is_said_before_the_work(capsys, tmp_path) -> None:
    """The data are not even opened."""
    for output, words in ((tmp_path, "it is a folder"), (tmp_path / "no" / "x", "no folder")):
        code, _, err = run(capsys, "profile", "memory://nowhere/x.csv", "-o", output)
        assert code == 2
        assert words in err


def test_lists_texts_and_nested_columns(capsys, tmp_path) -> None:
    path = tmp_path / "x.jsonl"
    rows = (
        {"user": {"age": i % 60}, "tags": ["a", "b", "c"][: i % 4],
         "note": f"row {i} says something of several words", "items": [{"price": i / 4}]}
        for i in range(400)
    )  # fmt: skip
    path.write_text("\n".join(json.dumps(row) for row in rows))
    code, out, _ = run(capsys, "profile", path, "--json")
    found = {one.variable.name: one for one in DataSummary.model_validate_json(out).variables}
    assert code == 0
    assert set(found) == {"user.age", "tags", "note", "items[].price"}
    assert found["note"].variable.kind.value == "text"
    assert found["tags"].variable.multi_valued
    tags, price = found["tags"].summary, found["items[].price"].summary
    assert tags is not None and price is not None
    assert {v.value: v.count for v in found["tags"].frequent} == {"a": 300, "b": 200, "c": 100}
    assert tags.mean_length == pytest.approx(1.5)
    assert price.mean == pytest.approx(399 / 8)
