"""Real servers with one artifact each, asked what clients would ask."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.replay.conftest import HERE, processes_in
from tests.trainer_task.conftest import wait_until
from trueup.config.settings import Settings
from trueup.config.training import GateSettings
from trueup.records.gate import Outcome, ReplayEvidence, Rule, RuleResult
from trueup.records.input_spec import InputSpec, Kind, Variable
from trueup.replay.replay import Artifact, replay
from trueup.replay.requests import Request, Requests
from trueup.trainer.gate.replay_rules import replay as judge

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("leaves_nothing")]

SPEC = InputSpec(variables=(Variable(name="x", dtype="float32", kind=Kind.NUMERIC),))


def asked(count: int = 120, **more: object) -> Requests:
    values = np.random.default_rng(1).normal(size=count).astype(np.float32)
    requests = tuple(
        Request(f"request {n}", ({"x": float(value), **more},)) for n, value in enumerate(values)
    )
    return Requests(requests, pa.table({"x": values}), f"{count} requests of a test")


def results(evidence: ReplayEvidence, settings: GateSettings) -> dict[Rule, RuleResult]:
    return {result.rule: result for result in judge(evidence, settings)}


def test_same_artifact_gives_the_trainers_answers(models: Path, tmp_path: Path) -> None:
    plain = Artifact(2, SPEC, models / "plain")
    evidence = replay(Settings(), "m", plain, plain, asked(), tmp_path / "replay")
    assert (evidence.requests, evidence.failed, evidence.rows) == (120, 0, 120)
    found = results(evidence, GateSettings(max_slowdown=50.0))
    assert {rule: result.outcome for rule, result in found.items()} == {
        Rule.REPLAY_EQUALITY: Outcome.PASS,
        Rule.REPLAY_SLOWDOWN: Outcome.PASS,
        Rule.REPLAY_MEMORY: Outcome.PASS,
    }
    assert evidence.max_relative_difference is not None
    assert evidence.max_relative_difference < 1e-6
    assert evidence.peak_memory_bytes is not None and evidence.peak_memory_bytes > 50 << 20
    strict = results(evidence, GateSettings(max_latency_ms=1e-3, max_memory=0.1))
    assert strict[Rule.REPLAY_LATENCY].outcome is Outcome.FAIL
    assert "99 % of 120 replayed requests" in strict[Rule.REPLAY_LATENCY].reason
    assert strict[Rule.REPLAY_MEMORY].outcome is Outcome.FAIL
    assert "times as much; 0.1 is allowed" in strict[Rule.REPLAY_MEMORY].reason


def test_slow_artifact_is_refused_against_the_live_one(models: Path, tmp_path: Path) -> None:
    evidence = replay(
        Settings(), "m", Artifact(2, SPEC, models / "slow"), Artifact(1, SPEC, models / "plain"),
        asked(30), tmp_path / "replay",
    )  # fmt: skip
    found = results(evidence, GateSettings())
    assert found[Rule.REPLAY_EQUALITY].outcome is Outcome.PASS
    assert found[Rule.REPLAY_SLOWDOWN].outcome is Outcome.FAIL
    assert "with the live version" in found[Rule.REPLAY_SLOWDOWN].reason


def test_other_answers_than_the_trainers_are_refused(models: Path, tmp_path: Path) -> None:
    noisy = Artifact(2, SPEC, models / "noisy")
    evidence = replay(Settings(), "m", noisy, None, asked(), tmp_path / "replay")
    found = results(evidence, GateSettings())
    assert set(found) == {Rule.REPLAY_EQUALITY}
    assert found[Rule.REPLAY_EQUALITY].outcome is Outcome.FAIL
    assert "server" in evidence.worst and "trainer" in evidence.worst
    assert evidence.worst in found[Rule.REPLAY_EQUALITY].reason


def test_request_that_the_candidate_refuses_fails_it(models: Path, tmp_path: Path) -> None:
    plain = Artifact(2, SPEC, models / "plain")
    evidence = replay(
        Settings(), "m", plain, None, asked(5, carrier="UA"), tmp_path / "replay"
    )  # fmt: skip
    assert (evidence.requests, evidence.failed) == (0, 5)
    result = results(evidence, GateSettings())[Rule.REPLAY_EQUALITY]
    assert result.outcome is Outcome.FAIL
    assert "5 of 5 replayed requests failed, the first with: request 0: " in result.reason
    assert "carrier" in result.reason


def test_killed_trainer_leaves_no_server(models: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "holds_server.py"), str(models / "plain")]
    with subprocess.Popen(
        [*command, str(tmp_path / "site")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert len(processes_in(tmp_path)) >= 3  # this script, the server, its worker
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: processes_in(tmp_path) == [], 60)
