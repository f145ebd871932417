"""Decisions of gate and policy, kept with their reasons: rows of ``decisions``, never changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from trueup.records.gate import GateReport
from trueup.records.input_spec import Record
from trueup.records.policy import RetrainingDecision
from trueup.store.tables import decisions

GATE, RETRAINING = "gate", "retraining"
START, HOLD = "start", "hold"
POLICY_AUTHOR, GATE_AUTHOR = "policy", "gate"


@dataclass(frozen=True, slots=True)
class _Decision:
    model: str
    kind: str
    subject: str
    made_at: datetime
    made_by: str
    reason: str


def record_gate(connection: Connection, report: GateReport, *, by: str = GATE_AUTHOR) -> int:
    """Keep what the gate said; ``subject`` is the candidate's number. The row's id."""
    subject = "" if report.candidate is None else str(report.candidate)
    words = f"{report.verdict.value}: {'; '.join(report.reasons)}"
    decision = _Decision(report.model, GATE, subject, report.made_at, by, words)
    return _record(connection, decision, report)


def record_retraining(
    connection: Connection, decision: RetrainingDecision, *, by: str = POLICY_AUTHOR
) -> int:
    """Keep what the policy decided, also "no"; ``subject`` is ``start`` or ``hold``. The row's
    id."""
    subject = START if decision.start else HOLD
    words = f"{subject}: {'; '.join(decision.reasons)}"
    return _record(
        connection,
        _Decision(decision.model, RETRAINING, subject, decision.decided_at, by, words),
        decision,
    )


def gate_reports(
    connection: Connection, model: str, candidates: Sequence[int] | None = None
) -> list[GateReport]:
    """Reports of a model, the oldest first.

    :param candidates: only those of these versions.
    """
    query = select(decisions.c.details).where(decisions.c.model == model, decisions.c.kind == GATE)
    if candidates is not None:
        query = query.where(decisions.c.subject.in_([str(version) for version in candidates]))
    found = connection.execute(query.order_by(decisions.c.id)).scalars()
    return [GateReport.model_validate(details) for details in found]


def retraining_decisions(
    connection: Connection, model: str, most: int = 100
) -> list[RetrainingDecision]:
    """The newest decisions of the policy, the newest first."""
    found = connection.execute(
        select(decisions.c.details)
        .where(decisions.c.model == model, decisions.c.kind == RETRAINING)
        .order_by(decisions.c.id.desc())
        .limit(most)
    ).scalars()
    return [RetrainingDecision.model_validate(details) for details in found]


def _record(connection: Connection, decision: _Decision, details: Record) -> int:
    row = connection.execute(
        decisions.insert().values(
            model=decision.model,
            kind=decision.kind,
            subject=decision.subject,
            made_at=decision.made_at,
            made_by=decision.made_by,
            reason=decision.reason,
            # Through JSON text, which has words for infinity.
            details=json.loads(details.model_dump_json()),
        )
    )
    key = row.inserted_primary_key
    assert key is not None
    return int(key[0])
