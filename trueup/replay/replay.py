"""Asks servers with the candidate and with the live version the same, in turn."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq

from trueup.config.settings import Settings
from trueup.errors import BadInputError
from trueup.monitor.capture.row_json import json_of
from trueup.records.gate import ReplayEvidence
from trueup.records.input_spec import InputSpec
from trueup.replay.requests import Requests, placed
from trueup.replay.server import ReplayServer, replay_server
from trueup.trainer.gate.replay import relative_difference
from trueup.trainer.scoring import PREDICTION, PREFERRED_OUTPUTS
from trueup.trainer.scoring_process import score_in_process

WARM_REQUESTS = 20
"""Asked before, and not counted: the first calls of a model take longer."""


@dataclass(frozen=True)
class Artifact:
    """One version as it is served. :param spec: of its raw inputs."""

    version: int
    spec: InputSpec
    saved_model: Path


@dataclass
class _Seen:
    """What one server answered; ``answers`` by place of the request's first row."""

    latencies_ms: list[float] = field(default_factory=list)
    answers: dict[int, list[Any]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    peak: int | None = None


def replay(
    settings: Settings,
    model: str,
    candidate: Artifact,
    live: Artifact | None,
    requests: Requests,
    folder: Path,
) -> ReplayEvidence:
    """What a server with the candidate answers, against what the trainer computes for the same rows
    and how a server with the live version does.

    :param folder: for servers and files; must not be there.
    :raises BadInputError: the candidate's server does not come up, or it cannot score the rows.
    """
    folder.mkdir(parents=True)
    pq.write_table(requests.rows, folder / "rows.parquet")
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                replay_server(settings, model, each.version, each.spec, each.saved_model,
                              folder / f"server-{name}")
            )
            for name, each in (("candidate", candidate), ("live", live))
            if each is not None
        ]  # fmt: skip
        expected = _expected(candidate, folder)
        servers[0].wait_ready()
        try:
            for other in servers[1:]:
                other.wait_ready()
        except BadInputError:  # what is live is not on trial here
            servers = servers[:1]
        seen = _ask_in_turn(servers, requests)
    mine, other_seen = seen[0], seen[1] if len(seen) > 1 else None
    largest, worst = _compare(mine, requests, expected)
    return ReplayEvidence(
        requests=len(mine.latencies_ms),
        failed=len(mine.failures),
        rows=requests.rows.num_rows,
        max_relative_difference=largest,
        worst=worst,
        latency_p50_ms=_quantile(mine, 0.5),
        latency_p99_ms=_quantile(mine, 0.99),
        peak_memory_bytes=mine.peak,
        live_latency_p50_ms=None if other_seen is None else _quantile(other_seen, 0.5),
        live_peak_memory_bytes=None if other_seen is None else other_seen.peak,
        first_failure=mine.failures[0] if mine.failures else "",
        source=requests.words,
    )


def _expected(candidate: Artifact, folder: Path) -> np.ndarray:
    """The trainer's answers, ``(rows,)`` or ``(rows, k)``."""
    scored = score_in_process(
        candidate.version, candidate.saved_model, [folder / "rows.parquet"],
        folder / "expected.parquet", "the replayed rows",
    )  # fmt: skip
    column = pq.read_table(scored.path, columns=[PREDICTION])[PREDICTION]
    return np.array(column.to_pylist(), dtype=np.float64)


def _ask_in_turn(servers: Sequence[ReplayServer], requests: Requests) -> list[_Seen]:
    bodies = [
        (first, request, json_of({"instances": list(request.instances)}))
        for request, first in placed(requests)
    ]
    for server in servers:
        for _, _, body in bodies[:WARM_REQUESTS]:
            _answer(server, body)
    seen = [_Seen() for _ in servers]
    for first, request, body in bodies:
        for server, mine in zip(servers, seen, strict=True):
            began = perf_counter()
            status, answer = _answer(server, body)
            took_ms = (perf_counter() - began) * 1e3
            found = answer.get("predictions") if status == 200 else None
            if not isinstance(found, list) or len(found) != len(request.instances):
                words = answer.get("error", f"{status}, and no predictions")
                mine.failures.append(f"{request.name}: {words}")
                continue
            mine.latencies_ms.append(took_ms)
            mine.answers[first] = found
    for server, mine in zip(servers, seen, strict=True):
        mine.peak = server.peak_memory_bytes()
    return seen


def _answer(server: ReplayServer, body: bytes) -> tuple[int, dict[str, Any]]:
    try:
        status, answer = server.predict(body)
    except (OSError, http.client.HTTPException, orjson.JSONDecodeError) as error:
        return 0, {"error": f"no answer ({type(error).__name__}: {error})"}
    return status, answer if isinstance(answer, dict) else {}


def _compare(seen: _Seen, requests: Requests, expected: np.ndarray) -> tuple[float | None, str]:
    """The largest difference to the trainer, and where; ``None`` where nothing can be compared."""
    rows: list[int] = []
    values: list[Any] = []
    for _, first in placed(requests):
        for place, answer in enumerate(seen.answers.get(first, ()), start=first):
            rows.append(place)
            values.append(_score_of(answer))
    if not rows:
        return None, ""
    try:
        served = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):  # texts, or answers of different length
        return None, "the server's answers are no numbers"
    wanted = expected[rows]
    if served.size == wanted.size:  # one number a row may come as a list of one
        served = served.reshape(wanted.shape)
    found = relative_difference(served, wanted)
    return found.largest, str(found)


def _score_of(answer: Any) -> Any:
    """The output that scoring takes, too."""
    if not isinstance(answer, dict):
        return answer
    for name in PREFERRED_OUTPUTS:
        if name in answer:
            return answer[name]
    return next(iter(answer.values()))


def _quantile(seen: _Seen, share: float) -> float | None:
    return float(np.quantile(seen.latencies_ms, share)) if seen.latencies_ms else None
