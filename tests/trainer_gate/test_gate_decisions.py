"""Decisions are kept with their reasons and read back as they were; the best version by them."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine, select

from tests.spine.conftest import (  # noqa: F401  fixtures
    database_names,
    engine,
    postgresql_server,
    store_url,
)
from tests.trainer_gate.conftest import GOOD_REPLAY, NOW, Rows
from trueup.config.training import GateSettings, RetrainingSettings
from trueup.records.policy import Situation
from trueup.store.engine import reading, writing
from trueup.store.registry import Author, ensure_model
from trueup.store.tables import decisions
from trueup.trainer.decisions import (
    gate_reports,
    record_gate,
    record_retraining,
    retraining_decisions,
)
from trueup.trainer.gate.best import best_version
from trueup.trainer.gate.decide import decide_gate
from trueup.trainer.gate.evidence import Scores
from trueup.trainer.policy import decide_retraining


def test_decisions_are_kept_with_reasons(engine: Engine, rows: Rows) -> None:  # noqa: F811
    infinite = GOOD_REPLAY.model_copy(update={"max_relative_difference": float("inf")})
    report = decide_gate(rows.evidence(rows.live, replay=infinite), GateSettings(), NOW)
    held = decide_retraining(Situation(model="flights"), RetrainingSettings(), NOW)
    with writing(engine) as connection:
        ensure_model(connection, "flights", Author("ada", "a test", NOW))
        first = record_gate(connection, report)
        second = record_retraining(connection, held, by="ada")
    assert second > first
    with reading(engine) as connection:
        assert gate_reports(connection, "flights") == [report]
        assert gate_reports(connection, "flights", candidates=[7]) == []
        assert retraining_decisions(connection, "flights") == [held]
        kept = connection.execute(select(decisions).order_by(decisions.c.id)).all()
    assert [(row.kind, row.subject, row.made_by) for row in kept] == [
        ("gate", "2", "gate"),
        ("retraining", "hold", "ada"),
    ]
    assert kept[0].reason.startswith("fail: replay_equality: in 1,000 replayed requests")
    assert kept[1].reason.startswith("hold: no check of the live version has been made")


def test_the_best_version_is_found_along_the_chain_of_gates(rows: Rows) -> None:
    """1 → 2 better → 3 a little worse → 4 a little worse again: 2 was the best."""
    noises = {1: 0.6, 2: 0.0, 3: 0.4, 4: 0.5}
    answers = {version: rows.answers(noise) for version, noise in noises.items()}
    reports = [
        decide_gate(
            rows.evidence(
                answers[version],
                candidate=Scores(version, answers[version]),
                live=None if version == 1 else Scores(version - 1, answers[version - 1]),
                best_version=None,
            ),
            GateSettings(),
            NOW + timedelta(days=version),
        )
        for version in noises
    ]
    assert best_version(reports[:1]) == 1
    assert [best_version(reports[:n]) for n in (2, 3, 4)] == [2, 2, 2]
