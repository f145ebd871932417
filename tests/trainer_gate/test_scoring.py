"""Scores of real SavedModels over Parquet rows: values, missing ones, other inputs, errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainer_gate.conftest import GOOD_REPLAY, NOW
from trueup.config.training import GateSettings
from trueup.errors import BadInputError, DataError, TrueupError
from trueup.records.gate import Outcome
from trueup.records.input_spec import InputSpec, Missing, Variable
from trueup.records.training import Target
from trueup.trainer.gate.decide import decide_gate
from trueup.trainer.gate.read import GateFiles, ScoreFile, read_evidence
from trueup.trainer.scoring import PLAN_FILE, ScoringRequest, score
from trueup.trainer.scoring_columns import Input, tensor

HERE = Path(__file__).parent
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

Write = Callable[..., tuple[Path, ...]]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("scored")
    made = subprocess.run(
        [sys.executable, str(HERE / "scored_models.py"), str(folder)],
        env={**os.environ, **QUIET}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> tuple[Path, Path]:
    """Two files: 700 rows and 300 rows."""
    rng = np.random.default_rng(1)
    x = rng.random(1000)
    table = pa.table(
        {
            "x": pa.array(np.where(np.arange(1000) % 10 == 0, np.nan, x), pa.float64()),
            "name": pa.array([None if i % 7 == 0 else "n" * (i % 4) for i in range(1000)]),
            "stops": pa.array([[1.5] * (i % 4) if i % 5 else None for i in range(1000)]),
            "count": pa.array([None if i % 9 == 0 else i for i in range(1000)], pa.int64()),
            "at": pa.array(
                [datetime.fromtimestamp(i * 600, timezone.utc) for i in range(1000)],
                pa.timestamp("us", "UTC"),
            ),
            "late": pa.array((rng.random(1000) < x).astype(float)),
            "unused": pa.array([{"a": 1}] * 1000),
        }
    )
    paths = tmp_path / "gate-00000.parquet", tmp_path / "gate-00001.parquet"
    pq.write_table(table.slice(0, 700), paths[0], row_group_size=100)
    pq.write_table(table.slice(700), paths[1])
    return paths


def spec(**missing: int) -> InputSpec:
    return InputSpec(
        variables=tuple(
            Variable(name=name, dtype="int64", kind="numeric", missing=Missing(graph=value))
            for name, value in missing.items()
        )
    )


@pytest.mark.heavy
def test_versions_with_other_inputs_score_the_same_rows(
    models: Path, rows: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "one.parquet"
    assert score(ScoringRequest(models / "one", rows, out, keys=("at",), batch_rows=64)) == 1000
    one = pq.read_table(out)
    assert one.column_names == ["row", "prediction", "at"]
    assert one["row"].to_pylist() == list(range(1000))
    x = np.concatenate([pq.read_table(path, columns=["x"])["x"].to_numpy() for path in rows])
    expected = np.where(np.isnan(x), 0.25, x)
    assert one["prediction"].to_numpy() == pytest.approx(expected, rel=1e-6)

    other = tmp_path / "other.parquet"
    score(ScoringRequest(models / "other", rows, other, spec=spec(count=-1), batch_rows=300))
    found = np.array(pq.read_table(other)["prediction"].to_pylist())
    place = np.arange(1000)
    assert found[:, 0].tolist() == [0 if i % 7 == 0 else i % 4 for i in range(1000)]
    assert found[:, 1] == pytest.approx(np.where(place % 5 == 0, 0, 1.5 * (place % 4)))
    assert found[:, 2].tolist() == [-1 if i % 9 == 0 else i for i in range(1000)]
    assert not list(tmp_path.glob(".*")), "nothing unfinished is left"


@pytest.mark.heavy
def test_scores_and_rows_make_an_evidence(
    models: Path, rows: tuple[Path, Path], tmp_path: Path
) -> None:
    paths = tmp_path / "new.parquet", tmp_path / "live.parquet"
    for path in paths:
        score(ScoringRequest(models / "one", rows, path))
    files = GateFiles(
        model="flights",
        target=Target(label="late", task="binary", positive_above=0.5),
        rows=rows,
        candidate=ScoreFile(2, paths[0]),
        live=ScoreFile(1, paths[1]),
        best_version=1,
        time="at",
        keys=("name",),
        slices=("name", "count", "gone"),
        replay=GOOD_REPLAY,
    )
    evidence = read_evidence(files)
    assert evidence.event_seconds is not None and evidence.event_seconds[3] == 1800.0
    assert evidence.entities is not None and len(np.unique(evidence.entities)) == 5
    settings = GateSettings(slices=("name", "count", "gone"), min_slice_rows=50)
    report = decide_gate(evidence, settings, NOW)
    assert "the gate's rows have no variable gone: no slices by it" in report.notes
    assert {r.slice.variable for r in report.rules if r.slice} == {"name", "count"}
    assert report.verdict is Outcome.PASS, "it is the same version twice"
    assert report.grouped.endswith("blocks of 1h")
    with pytest.raises(DataError, match="has scores of 1,000 rows, and the gate has 700"):
        read_evidence(GateFiles("m", files.target, rows[:1], files.candidate))
    with pytest.raises(DataError, match="has no column 'gone'"):
        read_evidence(GateFiles("m", files.target, rows, files.candidate, keys=("gone",)))


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("model", "changes", "error", "words"),
    [
        ("none", {}, BadInputError, "there is no SavedModel in"),
        ("other", {}, DataError, r"'count' is missing 0 rows on, and nothing stands for"),
        ("fails", {}, DataError, r"failed on .*gate-00000.parquet, from row 0: .*not finite"),
        ("two", {}, BadInputError, r"not clear; name one with --output; it has left, right"),
        ("two", {"output": "up"}, BadInputError, "has no output 'up' of numbers"),
        ("one", {"keys": ("gone",)}, DataError, "has no column 'gone' for a key"),
        ("one", {"rows": (Path("gone.parquet"),)}, DataError, "gone.parquet cannot be read as"),
        ("one", {"out": Path("/nowhere/s.parquet")}, TrueupError, "scores cannot be written to"),
    ],
)
def test_what_cannot_be_scored_is_one_sentence(
    models: Path,
    rows: tuple[Path, Path],
    tmp_path: Path,
    model: str,
    changes: dict,
    error: type[TrueupError],
    words: str,
) -> None:
    given = {"saved_model": models / model, "rows": rows, "out": tmp_path / "s.parquet", **changes}
    with pytest.raises(error, match=words) as caught:
        score(ScoringRequest(**given))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*s.parquet*")) and not list(tmp_path.glob(".*"))


@pytest.mark.heavy
def test_damaged_rows_and_models_without_rows(
    models: Path, rows: tuple[Path, Path], tmp_path: Path
) -> None:
    damaged, out = tmp_path / "damaged.parquet", tmp_path / "s.parquet"
    damaged.write_bytes(rows[0].read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"damaged\.parquet cannot be read as Parquet"):
        score(ScoringRequest(models / "one", (rows[0], damaged), out))
    assert not out.exists()
    empty = tmp_path / "empty.parquet"
    pq.write_table(pq.read_table(rows[0]).slice(0, 0), empty)
    with pytest.raises(DataError, match="there is no row in"):
        score(ScoringRequest(models / "one", (empty,), out))
    lacking = tmp_path / "lacking.parquet"
    pq.write_table(pa.table({"name": ["a", "b"]}), lacking)
    score(ScoringRequest(models / "one", (lacking,), out))
    assert pq.read_table(out)["prediction"].to_pylist() == [0.25, 0.25], "missing in all rows"
    with pytest.raises(DataError, match="has no column 'count', which the model takes as int64"):
        score(ScoringRequest(models / "other", (lacking,), out))


@pytest.mark.heavy
def test_an_export_of_ours_says_itself_how_values_are_missing(
    models: Path, rows: tuple[Path, Path], tmp_path: Path
) -> None:
    copy, out = tmp_path / "export", tmp_path / "s.parquet"
    shutil.copytree(models / "other", copy)
    (copy / PLAN_FILE).parent.mkdir(exist_ok=True)
    inputs = spec(count=-7).model_dump(mode="json")["variables"]
    (copy / PLAN_FILE).write_text(json.dumps({"inputs": inputs, "features": []}))
    score(ScoringRequest(copy, rows, out))
    assert pq.read_table(out)["prediction"][0].as_py()[2] == -7.0
    (copy / PLAN_FILE).write_text("{")
    with pytest.raises(BadInputError, match="is no plan of features; export anew"):
        score(ScoringRequest(copy, rows, out))


@pytest.mark.heavy
def test_the_child_process_says_one_sentence(
    models: Path, rows: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "s.parquet"

    def child(model: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trueup.trainer.scoring", "--saved-model", models / model]
        return subprocess.run(
            [*map(str, command), "--rows", *map(str, rows), "--out", str(out), "--key", "at"],
            env={**os.environ, **QUIET}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    done = child("one")
    assert done.returncode == 0, done.stderr
    assert pq.read_table(out).column_names == ["row", "prediction", "at"]
    failed = child("none")
    assert failed.returncode == 2
    assert failed.stderr.startswith("there is no SavedModel in") and failed.stderr.count("\n") == 1


def column(dtype: str, shape: tuple[int, ...], values: list, missing: object = None) -> np.ndarray:
    return tensor(Input("x", dtype, shape, missing), pa.array(values), len(values), "here")


def test_columns_become_tensors_of_the_signature() -> None:
    assert column("float32", (), [1, None, 3], np.nan).tolist()[::2] == [1.0, 3.0]
    assert column("bool", (), [True, None], False).tolist() == [True, False]
    assert column("int32", (), [1.0, 2.0]).tolist() == [1, 2]
    assert column("string", (), ["é", None], b"").tolist() == ["é".encode(), b""]
    at = [datetime(2013, 1, 1, 5, tzinfo=timezone.utc)]
    assert column("string", (), at, b"").tolist() == [b"2013-01-01T05:00:00Z"]
    assert column("int64", (-1,), [[1, 2], [], None], -9).tolist() == [[1, 2], [-9, -9], [-9, -9]]
    assert column("int64", (2,), [[1, 2], None], 0).tolist() == [[1, 2], [0, 0]]
    assert column("float32", (2, 2), [[[1, 2], [3, 4]]]).tolist() == [[[1, 2], [3, 4]]]
    assert column("float32", (-1, 2), [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0]], 0.0).shape == (2, 2, 2)
    assert column("float32", (1,), [4.0, None], 7.0).tolist() == [[4.0], [7.0]]
    assert column("float32", (), [None, None], 7.0).tolist() == [7.0, 7.0]
    for dtype, shape, values, words in (
        ("int32", (), [2**40], "do not fit the model's int32"),
        ("int32", (), [0.5], "do not fit the model's int32"),
        ("float32", (), ["soon"], "do not fit the model's float32"),
        ("float32", (), [[1.0]], "do not fit the model's float32"),
        ("float32", (2,), [[1.0]], "has 1 values in a row, and the model takes 2"),
    ):
        with pytest.raises(DataError, match=words):
            column(dtype, shape, values)
