"""``trueup import``, ``versions``, ``promote`` and ``rollback`` as users type them."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Row, select

from trueup.cli.main import main
from trueup.profile.file import open_profile
from trueup.profile.series_codec import loads_series
from trueup.records.input_spec import InputSpec, Role
from trueup.store.artifacts import blob_name
from trueup.store.engine import open_engine, reading, writing
from trueup.store.registry import mark_failed
from trueup.store.tables import baselines, models, versions

pytestmark = pytest.mark.heavy

ROWS = 400


def training() -> pd.DataFrame:
    chance = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "distance": chance.normal(1000.0, 300.0, ROWS),
            "seats": chance.integers(20, 300, ROWS),
            "origin": chance.choice(["EWR", "JFK", "LGA"], ROWS),
            "at": pd.date_range("2024-01-01", periods=ROWS, freq="1h").astype(str),
            "gate": chance.integers(1, 40, ROWS),
            "delayed": chance.integers(0, 2, ROWS),
        }
    )


@dataclass
class Desk:
    """A user's folder: a configuration, training data, exported models."""

    folder: Path
    exported: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str, code: int = 0) -> str:
        """What a command prints; of one that fails, its one sentence."""
        got = main([*arguments])
        said = self.capsys.readouterr()
        assert got == code, said
        if code:
            assert said.out == ""
            assert said.err.count("\n") == 1, said.err
            return said.err
        return said.out

    def add(self, name: str, *arguments: str, code: int = 0) -> str:
        return self.run(
            "import", "flights", "--saved-model", str(self.exported / name), *arguments, code=code
        )

    def told(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def configure(self, text: str) -> None:
        Path("trueup.toml").write_text(text)

    def rows(self, table: Any) -> list[Row[Any]]:
        engine = open_engine(f"sqlite:///{self.folder}/.trueup/store.db")
        with reading(engine) as connection:
            found = connection.execute(select(table)).all()
        engine.dispose()
        return list(found)

    @property
    def blobs(self) -> Path:
        return self.folder / ".trueup" / "blobs"

    def files(self) -> list[str]:
        return sorted(p.relative_to(self.blobs).as_posix() for p in self.blobs.rglob("*.*"))


@pytest.fixture
def desk(
    tmp_path: Path,
    exported: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Desk:
    monkeypatch.chdir(tmp_path)
    training().to_csv("training.csv", index=False)
    return Desk(tmp_path, exported, capsys)


def test_a_model_with_its_data(desk: Desk) -> None:
    said = desk.add(
        "flights", "--training-data", "training.csv", "--time", "at", "--window", "1d",
        "--label", "delayed", "--reason", "first",
    )  # fmt: skip
    assert said.splitlines()[0] == "flights version 1 is live."
    assert "no input of the model, so not compared: gate" in said
    (row,) = desk.rows(baselines)
    assert (row.model, row.version, row.reason) == ("flights", 1, "first")
    saved = open_profile(row.profile_uri)
    assert saved.profile.rows == ROWS
    assert saved.profile.edges.edges_id == row.edges_id
    spec = InputSpec.model_validate(row.input_spec)
    assert {v.name: v.role for v in spec.variables} == {
        "distance": Role.FEATURE, "seats": Role.FEATURE, "origin": Role.FEATURE,
        "at": Role.TIME, "gate": Role.IGNORED, "delayed": Role.LABEL,
    }  # fmt: skip
    assert spec["gate"].reason == "no input of the model"
    assert saved.profile.edges.spec == spec
    windows = row.details["windows"]
    assert (windows["seconds"], windows["count"], windows["time"]) == (86_400.0, 17, "at")
    series = loads_series(Path(windows["uri"]).read_bytes())
    assert int(series.features["distance"].rows.sum()) == ROWS
    (model,) = desk.rows(models)
    assert InputSpec.model_validate(model.input_spec) == spec


def test_what_is_published_is_what_was_exported(desk: Desk) -> None:
    desk.add("flights")
    (row,) = desk.rows(versions)
    folder = Path(row.artifact_uri)
    original = desk.exported / "flights"
    for path in (p for p in original.rglob("*") if p.is_file()):
        copy = folder / "files" / blob_name(path.relative_to(original).as_posix())
        assert copy.read_bytes() == path.read_bytes()
    assert (row.state, len(row.manifest_sha256)) == ("ready", 64)
    assert row.details["imported_from"] == str(original)


def test_without_data_the_variables_are_the_signatures(desk: Desk) -> None:
    said = desk.add("flights")
    assert "no training data: the first windows of traffic become the baseline" in said
    assert desk.rows(baselines) == []
    spec = InputSpec.model_validate(desk.rows(models)[0].input_spec)
    assert {v.name: (v.dtype, v.kind.value, v.shape) for v in spec.variables} == {
        "distance": ("float32", "numeric", ()),
        "seats": ("int64", "numeric", (1,)),
        "origin": ("string", "categorical", ()),
    }


def test_the_first_version_is_live_and_later_ones_when_asked(desk: Desk) -> None:
    desk.add("flights")
    assert "version 2 is ready; trueup promote makes it live" in desk.add("flights")
    assert desk.told("import", "flights", "--saved-model", str(desk.exported / "flights"),
                     "--promote")["live"]  # fmt: skip
    told = desk.told("versions", "flights")
    assert [(v["version"], v["state"], v["aliases"]) for v in told] == [
        (3, "ready", ["stable"]), (2, "ready", []), (1, "ready", []),
    ]  # fmt: skip
    assert (
        desk.run("promote", "flights", "1") == "stable of flights is version 1 now, which was 3.\n"
    )
    assert desk.run("promote", "flights", "1") == "stable of flights is version 1 already.\n"
    assert desk.told("rollback", "flights", "--reason", "worse")["version"] == 3
    assert "canary of flights is version 2 now" in desk.run(
        "promote", "flights", "2", "--alias", "canary"
    )
    shown = desk.run("versions", "flights")
    assert "canary" in shown and "stable" in shown


def test_a_first_version_may_wait(desk: Desk) -> None:
    assert "trueup promote makes it live" in desk.add("flights", "--no-promote")
    assert desk.run("rollback", "flights", code=2).startswith(
        "trueup: model flights has no alias stable"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("promote", "flights", "9"), "model flights has no version 9"),
        (("promote", "ships", "1"), "there is no model 'ships'; known are flights"),
        (("versions", "ships"), "there is no model 'ships'"),
        (("rollback", "flights"), "has no version before that could be live again"),
        (("rollback", "flights", "--alias", "no"), "has no alias no"),
        (("promote", "flights", "1", "--alias", "a b"), "'a b' is no name for a alias"),
        (("import", "a/b", "--saved-model", "x"), "'a/b' is no name for a model"),
    ],
)
def test_wrong_names_are_one_sentence(
    desk: Desk, arguments: tuple[str, ...], sentence: str
) -> None:
    desk.add("flights")
    assert sentence in desk.run(*arguments, code=2)


@pytest.mark.parametrize(
    ("name", "more", "sentence"),
    [
        ("absent", (), "is no SavedModel"),
        ("unsigned", (), "has no signature for predict"),
        ("waves", (), "takes 'signal' as complex64, which requests cannot carry"),
        ("matrix", ("--training-data", "training.csv"), "takes inputs, and none of that is in"),
        ("examples", ("--training-data", "training.csv"), "takes examples, and none of that"),
        ("flights", ("--time", "at"), "--time says something of training data, and none are given"),
        ("flights", ("--training-data", "nowhere.csv"), "nowhere.csv"),
        ("flights", ("--training-data", "training.csv", "--window", "1d"), "a window needs a time"),
        (
            "flights",
            ("--training-data", "training.csv", "--time", "at", "--window", "soon"),
            "'soon' is not a length of time",
        ),
        ("flights", ("--training-data", "training.csv", "--label", "late"), "the label column"),
    ],
)
def test_wrong_models_and_data_register_nothing(
    desk: Desk, name: str, more: tuple[str, ...], sentence: str
) -> None:
    assert sentence in desk.add(name, *more, code=2)
    assert not (desk.folder / ".trueup" / "store.db").exists() or desk.rows(models) == []
    assert not desk.blobs.exists() or desk.files() == []


def test_damaged_models_are_one_sentence(desk: Desk) -> None:
    copy = desk.folder / "copy"
    shutil.copytree(desk.exported / "flights", copy)
    whole = (copy / "saved_model.pb").read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"\xff" * 100):
        (copy / "saved_model.pb").write_bytes(data)
        said = desk.run("import", "flights", "--saved-model", str(copy), code=2)
        assert "saved_model.pb" in said
    assert desk.run("import", "flights", "--saved-model", "training.csv", code=2)


def test_text_is_no_number(desk: Desk) -> None:
    training().assign(distance="far", origin=1.5).to_csv("wrong.csv", index=False)
    said = desk.add("flights", "--training-data", "wrong.csv", code=2)
    assert "takes 'distance' as float32, and in wrong.csv it is string" in said


def test_one_value_is_no_list(desk: Desk) -> None:
    frame = training()
    frame["distance"] = [[value, value] for value in frame["distance"]]
    frame.to_parquet("lists.parquet")
    said = desk.add("flights", "--training-data", "lists.parquet", code=2)
    assert "takes one value of 'distance' per row, and lists.parquet has several values" in said


def test_what_only_the_model_has_is_said(desk: Desk) -> None:
    training().drop(columns="origin").to_csv("part.csv", index=False)
    assert "not in the training data, so not compared: origin" in desk.add(
        "flights", "--training-data", "part.csv"
    )
    (row,) = desk.rows(baselines)
    assert "origin" in InputSpec.model_validate(row.input_spec).by_name
    assert "origin" not in open_profile(row.profile_uri).profile.features


def test_several_files_are_one_data_set(desk: Desk) -> None:
    frame = training()
    frame[:100].to_csv("a.csv", index=False)
    frame[100:].to_parquet("b.parquet")
    desk.add("flights", "--training-data", "a.csv", "--training-data", "b.parquet")
    assert open_profile(desk.rows(baselines)[0].profile_uri).profile.rows == ROWS


def test_a_profile_or_statistics_stand_in_for_data(desk: Desk) -> None:
    desk.run("profile", "training.csv", "-o", "t.profile", "--tfdv", "stats.pb",
             "--label", "delayed")  # fmt: skip
    for place, source in enumerate(("t.profile", "stats.pb")):
        said = desk.add("flights", "--statistics", source, "--label", "delayed")
        assert "so not compared: gate" in said
        row = desk.rows(baselines)[place]
        saved = open_profile(row.profile_uri)
        assert saved.profile.rows == ROWS
        assert saved.profile.edges.edges_id == row.edges_id
        assert {"distance", "seats", "origin"} <= saved.profile.features.keys()
        assert "gate" not in saved.profile.features
        spec = InputSpec.model_validate(row.input_spec)
        assert spec["delayed"].role is Role.LABEL
    said = desk.add("flights", "--statistics", "stats.pb", "--time", "at", code=2)
    assert "holds statistics, not rows: time cannot be given" in said


def test_the_configuration_has_the_last_word(desk: Desk) -> None:
    Path("spec.toml").write_text(
        '[variables.distance]\nunit = "mi"\noptional = true\n[variables.seats]\nkind = "numeric"\n'
    )
    desk.configure(
        '[models.flights.variables.distance]\nunit = "km"\n'
        '[models.flights.variables.seats]\nkind = "categorical"\n'
    )
    desk.add("flights", "--training-data", "training.csv", "--spec", "spec.toml")
    spec = InputSpec.model_validate(desk.rows(baselines)[0].input_spec)
    assert (spec["distance"].unit, spec["distance"].optional) == ("km", True)
    assert spec["seats"].kind.value == "categorical"


def test_the_configuration_speaks_of_inputs_too(desk: Desk) -> None:
    desk.configure("[models.flights.variables.distance]\noptional = true\n")
    desk.add("flights")
    spec = InputSpec.model_validate(desk.rows(models)[0].input_spec)
    assert spec["distance"].optional and not spec["seats"].optional
    desk.configure("[models.flights.variables.distanse]\noptional = true\n")
    said = desk.add("flights", "--training-data", "training.csv", code=2)
    assert "variables.distanse is not a column of the data; did you mean 'distance'?" in said


def test_statistics_cannot_be_counted_anew(desk: Desk) -> None:
    desk.run("profile", "training.csv", "-o", "t.profile")
    desk.configure('[models.flights.variables.seats]\nkind = "categorical"\n')
    said = desk.add("flights", "--statistics", "t.profile", code=2)
    assert "t.profile holds statistics: kind of 'seats' cannot be corrected" in said
    desk.configure('[models.flights.capture.columns.origin]\npolicy = "hash"\n')
    said = desk.add("flights", "--statistics", "t.profile", code=2)
    assert "origin under column policies" in said


def test_a_hashed_column_is_hashed_in_the_baseline(desk: Desk) -> None:
    desk.configure(
        '[models.flights.capture.columns]\norigin.policy = "hash"\ndistance.policy = "hash"\n'
        'at.policy = "drop"\n'
    )
    desk.add("flights", "--training-data", "training.csv", "--time", "at")
    saved = open_profile(desk.rows(baselines)[0].profile_uri)
    categories = saved.profile.edges.features["origin"].categories
    assert categories is not None
    assert len(categories.values) == 3 and "JFK" not in categories.values
    # What requests have is known as it is sent.
    spec = InputSpec.model_validate(desk.rows(models)[0].input_spec)
    assert spec["distance"].dtype == "float64"
    assert saved.profile.edges.spec["distance"].kind.value == "categorical"


def test_what_fails_late_leaves_a_failed_version_and_no_files(desk: Desk) -> None:
    desk.blobs.mkdir(parents=True)
    (desk.blobs / "baselines").write_text("in the way")
    said = desk.add("flights", "--training-data", "training.csv", code=1)
    assert "baselines" in said
    assert [(v["version"], v["state"]) for v in desk.told("versions", "flights")] == [(1, "failed")]
    assert [name for name in desk.files() if name.startswith("models/")] == []
    (desk.blobs / "baselines").unlink()
    assert "version 2 is live" in desk.add("flights", "--training-data", "training.csv")


def child(desk: Desk, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "trueup.cli.main", *arguments],
        cwd=desk.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_imports_at_once_get_numbers_of_their_own(desk: Desk) -> None:
    model = str(desk.exported / "flights")
    children = [
        child(desk, "import", "flights", "--saved-model", model, "--training-data", "training.csv",
              "--json")
        for _ in range(4)
    ]  # fmt: skip
    told = []
    for each in children:
        out, err = each.communicate(timeout=200)
        assert each.returncode == 0, err
        told.append(json.loads(out))
    assert sorted(each["version"] for each in told) == [1, 2, 3, 4]
    assert sum(each["live"] for each in told) == 1
    aliases = [v for v in desk.told("versions", "flights") if v["aliases"]]
    assert [v["version"] for v in aliases] == [each["version"] for each in told if each["live"]]


def test_a_killed_import_is_never_live(desk: Desk) -> None:
    """Killed while it copies a large file: its version stays staged, the next one works."""
    copy = desk.folder / "large"
    shutil.copytree(desk.exported / "flights", copy)
    with (copy / "variables" / "more").open("wb") as stream:
        stream.truncate(4 << 30)  # sparse: hashing it takes seconds
    killed = child(desk, "import", "flights", "--saved-model", str(copy))
    deadline = time.monotonic() + 100
    while not (desk.blobs / "models" / "flights").exists():
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert [v["state"] for v in desk.told("versions", "flights")] == ["staged"]
    said = desk.run("versions", "flights")
    assert f"Version 1: it is being imported on {platform.node()} (process {killed.pid})" in said
    assert "is staged, not ready" in desk.run("promote", "flights", "1", code=2)
    assert "version 2 is live" in desk.add("flights")


def test_an_import_that_was_given_up_clears_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was paused for longer than imports are waited for."""
    from trueup import registration
    from trueup.store.artifacts import publish

    def paused(blobs: Any, *arguments: Any) -> Any:
        found = publish(blobs, *arguments)
        engine = open_engine(f"sqlite:///{desk.folder}/.trueup/store.db")
        with writing(engine) as connection:
            assert mark_failed(connection, "flights", 1)
        engine.dispose()
        return found

    monkeypatch.setattr(registration, "publish", paused)
    assert "another process changed it first" in desk.add("flights", code=1)
    assert desk.files() == []
    assert "Version 1: its import came to nothing" in desk.run("versions", "flights")


def test_tensorflow_is_not_imported(desk: Desk) -> None:
    program = (
        "import sys\nfrom trueup.cli.main import main\n"
        f"code = main(['import', 'flights', '--saved-model', {str(desk.exported / 'flights')!r}, "
        "'--training-data', 'training.csv'])\n"
        "assert code == 0\nassert not {'tensorflow', 'apache_beam'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=desk.folder, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"version 1 is live", done.stdout)
