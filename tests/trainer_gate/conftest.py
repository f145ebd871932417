"""Gates with known answers: rows of a week, a live version, candidates made from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trueup.records.gate import ReplayEvidence
from trueup.records.training import Target
from trueup.trainer.gate.evidence import GateEvidence, Scores

NOW = datetime(2013, 7, 31, tzinfo=timezone.utc)
HOUR_S = 3600.0
ROWS = 16_000
HOURS = 168
GOOD_REPLAY = ReplayEvidence(
    requests=1000, rows=1000, max_relative_difference=2e-7, latency_p50_ms=1.0, latency_p99_ms=4.0
)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


class Rows:
    """Binary rows: ``logit`` is the truth, ``answers(noise)`` a version's with such an error."""

    def __init__(self, seed: int = 1, rows: int = ROWS, hours: int = HOURS) -> None:
        self.rng = np.random.default_rng(seed)
        self.hour = np.sort(self.rng.integers(0, hours, rows))
        self.logit = 1.5 * self.rng.standard_normal(rows) - 1.0
        self.labels = (self.rng.random(rows) < sigmoid(self.logit)).astype(np.float64)
        self.carrier = np.array(["AA", "B6", "DL", "UA"])[self.rng.integers(0, 4, rows)]
        self.live = self.answers(0.3)

    def answers(self, noise: float) -> np.ndarray:
        return sigmoid(self.logit + noise * self.rng.standard_normal(len(self.logit)))

    def evidence(self, predictions: np.ndarray, **changes: Any) -> GateEvidence:
        given = GateEvidence(
            model="flights",
            target=Target(label="late", task="binary", positive_above=15.0),
            labels=self.labels,
            candidate=Scores(2, predictions),
            live=Scores(1, self.live),
            best_version=1,
            event_seconds=self.hour * HOUR_S,
            columns={"carrier": pa.array(self.carrier)},
            replay=GOOD_REPLAY,
        )
        return replace(given, **changes)


@pytest.fixture(scope="session")
def rows() -> Rows:
    return Rows()
