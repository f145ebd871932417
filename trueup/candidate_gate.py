"""The gate of a candidate: its scores, those of the versions it is held against, and what a real
server makes of its artifact, into one decision."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from sqlalchemy import Engine

from trueup.config.settings import Settings
from trueup.errors import TrueupError
from trueup.records.features import FeaturePlan
from trueup.records.gate import GateReport, Outcome, ReplayEvidence
from trueup.records.input_spec import InputSpec
from trueup.records.registry import STABLE, VersionRecord
from trueup.records.training import Split, TrainingData
from trueup.replay.replay import Artifact, replay
from trueup.replay.requests import Requests, captured_requests, gate_requests
from trueup.store.artifact_cache import fetch_verified
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading
from trueup.store.registry import VersionRow, input_spec_of, list_versions
from trueup.store.tables import VersionState
from trueup.trainer.decisions import gate_reports
from trueup.trainer.gate.best import best_version
from trueup.trainer.gate.decide import decide_gate
from trueup.trainer.gate.read import GateFiles, ScoreFile, read_evidence
from trueup.trainer.scoring_process import score_in_process

Say = Callable[[str], None]


@dataclass(frozen=True)
class Candidate:
    """What is to be judged.

    :param folder: of its job: with ``export/`` and the gate's rows in ``data/``.
    """

    model: str
    version: int
    folder: Path
    plan: FeaturePlan
    data: TrainingData

    @property
    def spec(self) -> InputSpec:
        return InputSpec(variables=self.plan.signature)

    @property
    def rows(self) -> tuple[Path, ...]:
        shards = self.data.splits[Split.GATE].shards
        return tuple(self.folder / "data" / shard.path for shard in shards)


@dataclass(frozen=True)
class CandidateGate:
    """Judges candidates against what is live."""

    settings: Settings
    engine: Engine
    blobs: BlobRoot
    say: Say = lambda text: None

    def decide(self, candidate: Candidate) -> GateReport:
        """What the gate says; nothing is promoted, and nothing recorded.

        :raises TrueupError: a version cannot be loaded or score the rows.
        """
        model = candidate.model
        gate = self.settings.model(model).gate
        mine = self.settings.model(model).training.data
        live, best, best_number = self._others(model)
        folder = candidate.folder
        with ExitStack() as stack:
            artifacts = {
                row.version: stack.enter_context(
                    fetch_verified(self.blobs, _record(row), folder / "artifacts")
                )
                for row in (live, best)
                if row is not None
            }
            self.say("scoring the gate's rows")
            scores = {candidate.version: self._scores(candidate, folder / "export")}
            for number, saved_model in artifacts.items():
                scores[number] = self._scores(candidate, saved_model, number)
            replayed = None
            if gate.replay_rows:
                served = None if live is None else artifacts[live.version]
                replayed = self._replay(candidate, live, served)
        files = GateFiles(
            model=model, target=candidate.plan.target, rows=candidate.rows,
            candidate=scores[candidate.version],
            live=None if live is None else scores[live.version],
            best=None if best is None else scores[best.version],
            best_version=best_number,
            spec=candidate.data.spec, time=mine.time, keys=mine.keys, slices=gate.slices,
            replay=replayed,
        )  # fmt: skip
        return decide_gate(read_evidence(files), gate, _now())

    def _others(self, model: str) -> tuple[VersionRow | None, VersionRow | None, int | None]:
        """The live version; the best one ever, where it is another and still there; its number."""
        with reading(self.engine) as connection:
            rows = list_versions(connection, model)
            reports = gate_reports(connection, model)
        number = best_version(r for r in reports if r.verdict is Outcome.PASS)
        live = next((row for row in rows if STABLE in row.aliases), None)
        best = next(
            (row for row in rows if row.version == number and row.state is VersionState.READY), None
        )
        if live is None or (best is not None and best.version == live.version):
            best = None
        return live, best, number

    def _scores(
        self, candidate: Candidate, saved_model: Path, number: int | None = None
    ) -> ScoreFile:
        number = candidate.version if number is None else number
        out = candidate.folder / f"scores-{number}.parquet"
        return score_in_process(number, saved_model, candidate.rows, out, "the gate's rows")

    def _replay(
        self, candidate: Candidate, live: VersionRow | None, served: Path | None
    ) -> ReplayEvidence:
        requests = self._requests(candidate, live)
        self.say(f"replaying {requests.words} in a server")
        folder = candidate.folder / "replay"
        known = None if live is None else input_spec_of(live)
        other = None
        if live is not None and served is not None and known is not None:
            other = Artifact(live.version, known, served)
        try:
            return replay(
                self.settings, candidate.model,
                Artifact(candidate.version, candidate.spec, candidate.folder / "export"),
                other, requests, folder,
            )  # fmt: skip
        except TrueupError as error:
            return ReplayEvidence(
                requests=0, failed=1, first_failure=error.message, source=requests.words
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _requests(self, candidate: Candidate, live: VersionRow | None) -> Requests:
        """Captured ones; where there are none, rows of the gate, and the reason."""
        model = candidate.model
        most = self.settings.model(model).gate.replay_rows
        known = (None if live is None else input_spec_of(live)) or candidate.spec
        found = captured_requests(self.settings, self.engine, self.blobs, model, known, most)
        if isinstance(found, Requests):
            return found
        made = gate_requests(candidate.rows, candidate.spec, most)
        return Requests(made.requests, made.rows, f"{made.words}, since {found}")


def _record(row: VersionRow) -> VersionRecord:
    return VersionRecord(
        model=row.model, version=row.version, artifact_uri=row.artifact_uri,
        manifest_sha256=row.manifest_sha256 or "",
    )  # fmt: skip


def _now() -> datetime:
    return datetime.now(timezone.utc)
