"""What the policy is told, from rows of a real store and files of a real data set."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import SecretStr
from sqlalchemy import insert, select, update

from trueup.config.settings import ModelSettings, Settings, StoreSettings
from trueup.records.gate import GateReport, Outcome
from trueup.records.policy import Guard, RetrainingDecision, Trigger
from trueup.retraining import decide, retrain
from trueup.store.blobs import BlobRoot
from trueup.store.engine import writing
from trueup.store.promotion import promote
from trueup.store.registry import Author, ensure_model, mark_ready, register_version
from trueup.store.schema import open_store
from trueup.store.tables import baselines, checks, decisions, jobs
from trueup.trainer.decisions import record_gate
from trueup.trainer.launchers.local import LocalLauncher
from trueup.training import Trainer

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
DAYS, PER_DAY = 40, 100
FIRST = NOW - timedelta(days=DAYS)
AUTHOR = Author("ada", "a test", NOW)


class Shop:
    """A model with a live version that has seen all but the newest ten days."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        at = pd.Timestamp(FIRST) + pd.to_timedelta(
            np.arange(DAYS * PER_DAY) * (86_400 / PER_DAY), "s"
        )
        pd.DataFrame({
            "at": at, "x": np.arange(len(at), dtype=float), "y": np.arange(len(at)) % 2,
        }).to_parquet(folder / "rows.parquet")  # fmt: skip
        self.store = StoreSettings(url=SecretStr(f"sqlite:///{folder / 'store.db'}"))
        self.engine = open_store(self.store)
        self.retraining: dict[str, Any] = {"min_rows": 500, "on_drift": False, "cooldown": "1d"}

    def live(self, *, created: datetime = FIRST) -> None:
        author = Author("ada", "first", created)
        split = {"rows": 1, "last_event_at": (NOW - timedelta(days=10)).isoformat()}
        told = {
            "model": "shop", "target": {"label": "y", "task": "binary"}, "sources": [],
            "splits": {"train": split}, "made_at": created.isoformat(),
        }  # fmt: skip
        with writing(self.engine) as connection:
            ensure_model(connection, "shop", author)
            number = register_version(connection, "shop", author)
            mark_ready(
                connection, "shop", number, artifact_uri="x", manifest_sha256="0" * 64,
                details={"training_data": told},
            )  # fmt: skip
            promote(connection, "shop", number, author)
            connection.execute(
                insert(baselines).values(
                    id="b",
                    model="shop",
                    version=number,
                    created_at=created,
                    created_by="ada",
                    reason="",
                    edges_id="e",
                    profile_uri="p",
                    profile_sha256="0" * 64,
                    input_spec={},
                    details={},
                )
            )

    def check(self, verdict: str, level: str) -> None:
        with writing(self.engine) as connection:
            connection.execute(
                insert(checks).values(
                    id=f"c-{verdict}",
                    model="shop",
                    window_start=NOW - timedelta(days=1),
                    window_seconds=86_400,
                    revision=0,
                    baseline_id="b",
                    policy_hash="h",
                    verdict=verdict,
                    stale=False,
                    created_at=NOW,
                    report={"findings": [{"level": "ok"}, {"level": level}]},
                )
            )

    def job(self, state: str, created: datetime, cost: float = 0.0) -> None:
        with writing(self.engine) as connection:
            connection.execute(
                insert(jobs).values(
                    id=f"j-{state}-{created:%d%H}",
                    model="shop",
                    kind="train",
                    state=state,
                    created_at=created,
                    created_by="ada",
                    reason="",
                    spec={},
                    folder="f",
                    message="",
                    machine_seconds=0.0,
                    cost=cost,
                )
            )

    def gate(self, verdict: Outcome) -> None:
        report = GateReport(
            model="shop", candidate=2, live=1, metric="log_loss", metric_value=0.5, rows=10,
            verdict=verdict, reasons=("because",), rules=(), made_at=NOW,
        )  # fmt: skip
        with writing(self.engine) as connection:
            record_gate(connection, report)

    def trainer(self) -> Trainer:
        given = {
            "training": {
                "label": "y",
                "data": {"sources": [str(self.folder / "rows.parquet")], "time": "at"},
            },
            "retraining": self.retraining,
        }
        settings = Settings(
            blob_root=str(self.folder / "blobs"), spool_dir=self.folder / "spool",
            store=self.store, models={"shop": ModelSettings.model_validate(given)},
        )  # fmt: skip
        return Trainer(
            settings, self.engine, BlobRoot(settings.blob_root), LocalLauncher(),
            self.folder / "jobs",
        )  # fmt: skip

    def decide(self, *, by_hand: bool = False) -> RetrainingDecision:
        return decide(self.trainer(), "shop", AUTHOR, by_hand=by_hand)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_first_version_may_learn_from_all_rows(shop: Shop) -> None:
    decision = shop.decide(by_hand=True)
    assert (decision.start, decision.trigger) == (True, Trigger.MANUAL)
    assert "ada asked for it" in decision.reasons


def test_nothing_asks(shop: Shop) -> None:
    shop.live()
    decision = shop.decide()
    assert (decision.start, decision.triggers, decision.held_by) == (False, (), ())
    assert "no check of the live version has been made" in decision.reasons


def test_fresh_rows_are_those_that_the_live_version_has_not_seen(shop: Shop) -> None:
    shop.live()
    shop.retraining["fresh_rows"] = 999
    decision = shop.decide()
    assert decision.trigger is Trigger.FRESH_ROWS
    assert "999 fresh labelled rows; a job is due at 999" in decision.reasons
    shop.retraining["min_rows"] = 1000
    decision = shop.decide(by_hand=True)
    assert (decision.start, decision.held_by) == (False, (Guard.TOO_FEW_ROWS,))


@pytest.mark.parametrize(
    ("settings", "trigger"),
    [({"max_age": "9d"}, Trigger.AGE), ({"every": "30d"}, Trigger.SCHEDULE)],
)
def test_time_asks(shop: Shop, settings: dict[str, str], trigger: Trigger) -> None:
    shop.live()
    shop.retraining |= settings
    assert shop.decide().trigger is trigger
    shop.retraining |= dict.fromkeys(settings, "100d")
    assert not shop.decide().start


def test_drift_asks_and_fault_holds(shop: Shop) -> None:
    shop.live()
    shop.retraining["on_drift"] = True
    shop.check("drift", "watch")
    assert shop.decide().triggers == ()
    with writing(shop.engine) as connection:
        connection.execute(update(checks).values(report={"findings": [{"level": "alert"}]}))
    decision = shop.decide()
    assert (decision.start, decision.trigger) == (True, Trigger.DRIFT)
    assert any("c-drift" in reason for reason in decision.reasons)
    with writing(shop.engine) as connection:
        connection.execute(update(checks).values(verdict="fault"))
    decision = shop.decide(by_hand=True)
    assert (decision.start, decision.held_by) == (False, (Guard.FAULT,))


def test_jobs_hold(shop: Shop) -> None:
    shop.live()
    shop.retraining |= {"fresh_rows": 1, "max_cost": 10.0}
    shop.job("succeeded", NOW - timedelta(hours=30), cost=5.0)
    assert shop.decide().start
    shop.job("failed", NOW - timedelta(hours=3), cost=1.0)
    assert shop.decide().held_by == (Guard.COOLDOWN, Guard.COST)
    assert shop.decide(by_hand=True).held_by == (Guard.COST,)
    shop.job("running", NOW - timedelta(hours=2))
    decision = shop.decide(by_hand=True)
    assert decision.held_by == (Guard.RUNNING, Guard.COST)
    assert any("job j-running" in reason for reason in decision.reasons)


def test_refused_candidates_freeze_and_tell(shop: Shop) -> None:
    shop.live()
    shop.retraining |= {"fresh_rows": 1, "freeze_after": 2}
    for verdict in (Outcome.FAIL, Outcome.FAIL, Outcome.PASS, Outcome.FAIL):
        shop.gate(verdict)
    assert shop.decide().start
    shop.gate(Outcome.NOT_ENOUGH_DATA)
    decision = shop.decide()
    assert (decision.held_by, decision.alert) == ((Guard.FROZEN,), True)
    assert shop.decide(by_hand=True).start


def test_no_is_kept_with_its_reasons(shop: Shop) -> None:
    shop.live()
    done = retrain(shop.trainer(), "shop", AUTHOR, by_hand=False)
    assert done.trained is None
    with writing(shop.engine) as connection:
        (row,) = connection.execute(select(decisions).where(decisions.c.kind == "retraining")).all()
    assert (row.subject, row.made_by, row.made_at) == ("hold", "policy", NOW)
    assert row.reason.startswith("hold: no check of the live version")
    assert RetrainingDecision.model_validate(row.details) == done.decision
