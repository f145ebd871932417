"""The child process when it is absent, refuses, crashes or hangs; the children here are real."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from trueup.cli.main import main
from trueup.errors import ChildTaskError, DataError, UnsupportedError
from trueup.tfdv.files import write_message
from trueup.tfdv.process import TfdvProcess
from trueup.tfdv.protos import protos


@pytest.fixture
def statistics() -> Any:
    message = protos().statistics.DatasetFeatureStatisticsList()
    dataset = message.datasets.add(num_examples=4)
    feature = dataset.features.add(type=protos().statistics.FeatureNameStatistics.INT)
    feature.path.step.append("x")
    common = feature.num_stats.common_stats
    common.num_non_missing = common.tot_num_values = 4
    common.min_num_values = common.max_num_values = 1
    return message


def child(program: str) -> tuple[str, str, str]:
    return (sys.executable, "-c", program)


@pytest.fixture
def without_tfdv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes find a package of that name that cannot be imported, as where one of its
    own dependencies is missing."""
    folder = tmp_path / "absent"
    folder.mkdir()
    (folder / "tensorflow_data_validation.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'tensorflow_data_validation'\")\n"
    )
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    )


def test_a_child_that_crashes_is_told_with_its_last_words_and_replaced(statistics: Any) -> None:
    crash = (
        "import sys; sys.stdin.readline(); print('disk is on fire', file=sys.stderr); sys.exit(7)"
    )
    with TfdvProcess(command=child(crash)) as process:
        for _ in range(2):
            with pytest.raises(ChildTaskError, match=r"exit status 7: disk is on fire") as failure:
                process.infer_schema(statistics)
            assert failure.value.exit_code == 1


def test_a_child_that_is_killed_says_by_which_signal(statistics: Any) -> None:
    killed = "import os, signal, sys; sys.stdin.readline(); os.kill(os.getpid(), signal.SIGKILL)"
    with (
        TfdvProcess(command=child(killed)) as process,
        pytest.raises(ChildTaskError, match=r"crashed in infer_schema \(signal 9"),
    ):
        process.infer_schema(statistics)


def test_a_child_that_hangs_is_ended_in_time(statistics: Any) -> None:
    hangs = "import sys, signal; sys.stdin.readline(); signal.pause()"
    with (
        TfdvProcess(command=child(hangs), timeout_s=0.2) as process,
        pytest.raises(ChildTaskError, match=r"within 0\.2 s") as failure,
    ):
        process.infer_schema(statistics)
    assert failure.value.retry


@pytest.mark.usefixtures("without_tfdv")
def test_without_tfdv_one_sentence_says_what_to_install(
    statistics: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with TfdvProcess() as process, pytest.raises(UnsupportedError, match=r"trueup\[tfdv\]"):
        process.infer_schema(statistics)
    path = tmp_path / "stats.pb"
    write_message(statistics, path)
    assert main(["tfdv", "infer-schema", str(path)]) == 2
    said = capsys.readouterr().err
    assert "No module named 'tensorflow_data_validation'" in said
    assert 'pip install "trueup[tfdv]"' in said
    assert said.count("\n") == 1


@pytest.mark.heavy
def test_what_tfdv_refuses_is_bad_input(tfdv: TfdvProcess, statistics: Any) -> None:
    schema = protos().schema.Schema()
    schema.feature.add(name="x", type=protos().schema.INT)
    with pytest.raises(DataError, match=r"TFDV refused validate: .*STAGING") as failure:
        tfdv.validate(statistics, schema, environment="STAGING")
    assert failure.value.exit_code == 2
    assert tfdv.validate(statistics, schema).anomalies == ()  # it is there still
