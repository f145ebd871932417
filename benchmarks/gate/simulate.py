"""Size and power of the gate, by simulation with fixed seeds.

    python benchmarks/gate/simulate.py [--seeds 200] [--check]

Each case draws labelled rows of a week and the answers of two versions, and asks the gate. "equal":
both versions are equally good on the population (they err by independent noise of one size);
"worse": the candidate is worse by twice the margin. Printed is the share of seeds of each verdict.
The margin of a case is a number of standard errors of the comparison, 2.5 unless it says otherwise:
so few data that an equal model is not always passed, and the size shows. With more data an equal
model fails less often. `--check` ends with 1 where a bar does not hold: equal models fail in at
most 8 %, worse ones in 95 % or more.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trueup.config.training import GateSettings
from trueup.records.gate import Outcome
from trueup.records.training import Target
from trueup.trainer.gate.decide import decide_gate
from trueup.trainer.gate.evidence import GateEvidence, Scores

Array = NDArray[Any]
NOW = datetime(2024, 1, 1, tzinfo=timezone.utc)
HOUR_S = 3600.0


@dataclass(frozen=True)
class Case:
    """What is simulated.

    :param errors: of the answers' noise: ``normal`` or ``t3`` (heavy tails).
    :param within, between: how far rows of an hour depend on each other: sd of the hour's common
        part of the answers' error (of 1), and its correlation with the next hour's.
    :param rare: share of positive rows of binary cases.
    :param slices: equally large values of a variable to slice by.
    """

    name: str
    task: Literal["regression", "binary"] = "regression"
    metric: str = "mae"
    hours: int = 168
    per_hour: float = 20.0
    errors: Literal["normal", "t3"] = "normal"
    within: float = 0.0
    between: float = 0.0
    rare: float = 0.3
    slices: int = 0
    margin_in_errors: float = 2.5


CASES = (
    Case("independent rows, mae"),
    Case("rows depend within hours, mae", within=0.6),
    Case("hours depend on each other (.6), mae", within=0.6, between=0.6),
    Case("hours depend on each other (.9), mae", within=0.6, between=0.9, hours=504),
    Case("heavy tails, rmse", metric="rmse", errors="t3"),
    Case("heavy tails within hours, mae", errors="t3", within=0.6),
    Case(
        "few blocks (12; 4 errors), mae",
        hours=12,
        per_hour=100.0,
        within=0.6,
        margin_in_errors=4.0,
    ),
    Case("independent rows, log_loss", task="binary", metric="log_loss"),
    Case("rows depend within hours, log_loss", task="binary", metric="log_loss", within=0.6),
    Case("2 % positive, log_loss", "binary", "log_loss", within=0.3, rare=0.02, per_hour=60.0),
    Case("2 % positive, auc", "binary", "auc", within=0.3, rare=0.02, per_hour=60.0),
    Case("rows depend within hours, auc", task="binary", metric="auc", within=0.6),
    Case("ten slices, within hours, mae", slices=10, within=0.6, per_hour=40.0),
    Case("more rows (6 errors), mae", within=0.6, margin_in_errors=6.0),
)


@dataclass(frozen=True)
class Sample:
    """Rows of one seed. ``noise``: of each version, independent, of one distribution."""

    hours: Array
    truth: Array
    noise: tuple[Array, Array]
    labels: Array


def draw(case: Case, rng: np.random.Generator) -> Sample:
    """Rows over ``case.hours`` hours; more of them by day than by night."""
    hours = np.arange(case.hours)
    rate = case.per_hour * np.exp(0.5 * np.sin(2 * np.pi * hours / 24))
    counts = np.maximum(rng.poisson(rate), 1)
    of_row = np.repeat(hours, counts)
    n = len(of_row)
    truth = rng.standard_normal(n)
    if case.task == "binary":
        intercept = _intercept(case.rare)
        truth = truth * 1.5 + intercept
        labels = (rng.random(n) < _sigmoid(truth)).astype(np.float64)
    else:
        labels = truth + _errors(case, rng, n)
    noise = tuple(
        case.within * _series(case, rng)[of_row]
        + np.sqrt(1 - case.within**2) * rng.standard_normal(n)
        for _ in range(2)
    )
    return Sample(of_row, truth, (noise[0], noise[1]), labels)


def _errors(case: Case, rng: np.random.Generator, n: int) -> Array:
    if case.errors == "t3":
        return rng.standard_t(3, n) / np.sqrt(3.0)
    return rng.standard_normal(n)


def _series(case: Case, rng: np.random.Generator) -> Array:
    """Hours' common parts: a stationary AR(1) of variance 1."""
    shocks = rng.standard_normal(case.hours)
    series = np.empty(case.hours)
    series[0] = shocks[0]
    for hour in range(1, case.hours):
        kept = case.between * series[hour - 1]
        series[hour] = kept + np.sqrt(1 - case.between**2) * shocks[hour]
    return series


def _sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


@cache
def _intercept(rare: float) -> float:
    """Of ``sigmoid(1.5 z + intercept)`` with mean ``rare``, by bisection over quantiles of z."""
    z = np.random.default_rng(0).standard_normal(200_000) * 1.5
    low, high = -12.0, 12.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _sigmoid(z + middle).mean() < rare else (low, middle)
    return low


LIVE_NOISE = 0.5


def evidence(case: Case, sample: Sample, candidate_noise: float) -> GateEvidence:
    """What the gate gets: answers are the truth with noise; the candidate's may be larger."""
    answers = [
        sample.truth + size * noise
        for size, noise in zip((candidate_noise, LIVE_NOISE), sample.noise, strict=True)
    ]
    if case.task == "binary":
        answers = [_sigmoid(answer) for answer in answers]
    columns = {}
    if case.slices:
        columns["group"] = pa.array((np.arange(len(sample.hours)) % case.slices).astype(str))
    return GateEvidence(
        model="simulated",
        target=Target(
            label="y", task=case.task, positive_above=0.5 if case.task == "binary" else None
        ),
        labels=sample.labels,
        candidate=Scores(2, answers[0]),
        live=Scores(1, answers[1]),
        event_seconds=sample.hours * HOUR_S,
        columns=columns,
    )


def settings(case: Case, margin: float) -> GateSettings:
    return GateSettings(
        metric=case.metric,  # type: ignore[arg-type]
        margin=margin,
        block=timedelta(hours=1),
        min_rows=100,
        slices=("group",) if case.slices else (),
        replay_rows=0,
    )


@dataclass(frozen=True)
class Calibrated:
    """What a case means: the margin as a share, and the noise that is worse by twice of it."""

    margin: float
    worse_noise: float


def calibrate(case: Case, seeds: int = 60) -> Calibrated:
    """By seeds that the simulation does not use: the standard deviation of the improvement between
    equal versions gives the margin, and the noise of a candidate worse by twice the margin is found
    by bisection on one large population."""
    improvements, metrics = [], []
    plain = replace(case, slices=0)
    for seed in range(seeds):
        sample = draw(plain, np.random.default_rng([7, seed]))
        report = decide_gate(evidence(plain, sample, LIVE_NOISE), settings(plain, 0.01), NOW)
        if report.against_live is not None:
            improvements.append(report.against_live.improvement)
            metrics.append(report.against_live.other)
    margin = case.margin_in_errors * float(np.std(improvements)) / float(np.mean(metrics))
    population = draw(replace(plain, hours=2400), np.random.default_rng([8]))
    shared = replace(population, noise=(population.noise[0], population.noise[0]))

    def loss(noise: float) -> float:
        given = evidence(plain, shared, noise)
        return -_improvement(case.metric, given) / float(np.mean(metrics))

    low, high = LIVE_NOISE, 20.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if loss(middle) < 2 * margin else (low, middle)
    return Calibrated(margin, high)


def _improvement(metric: str, given: GateEvidence) -> float:
    from trueup.trainer.gate.metrics import HIGHER_IS_BETTER, metric_value

    assert given.live is not None
    new = metric_value(metric, given.labels, given.candidate.predictions)
    old = metric_value(metric, given.labels, given.live.predictions)
    return new - old if metric in HIGHER_IS_BETTER else old - new


@dataclass(frozen=True)
class Shares:
    """Of the verdicts over the seeds, and the margin that they are about."""

    passed: float
    failed: float
    open: float


def simulate(case: Case, noise: float, margin: float, seeds: int) -> Shares:
    verdicts = []
    for seed in range(seeds):
        sample = draw(case, np.random.default_rng([9, seed]))
        verdicts.append(
            decide_gate(evidence(case, sample, noise), settings(case, margin), NOW).verdict
        )
    return Shares(
        *(
            float(np.mean([v is outcome for v in verdicts]))
            for outcome in (Outcome.PASS, Outcome.FAIL, Outcome.NOT_ENOUGH_DATA)
        )
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--only", default="", help="cases whose name has this text")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    print(
        "| case | margin | equal: pass / fail / open "
        "| worse by twice the margin: pass / fail / open |"
    )
    print("| --- | ---: | ---: | ---: |")
    wrong = []
    for case in CASES:
        if arguments.only not in case.name:
            continue
        what = calibrate(case)
        equal = simulate(case, LIVE_NOISE, what.margin, arguments.seeds)
        worse = simulate(case, what.worse_noise, what.margin, arguments.seeds)
        cells = [
            " / ".join(f"{100 * share:.1f}" for share in (s.passed, s.failed, s.open))
            for s in (equal, worse)
        ]
        print(f"| {case.name} | {100 * what.margin:.1f} % | {cells[0]} | {cells[1]} |", flush=True)
        if equal.failed > 0.08 or worse.failed < 0.95:
            wrong.append(case.name)
    if arguments.check and wrong:
        print(f"does not hold: {', '.join(wrong)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
