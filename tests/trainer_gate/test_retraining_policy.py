"""When a job starts: properties over all situations, and reasons with numbers."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.config.training import RetrainingSettings
from trueup.records.policy import Guard, RetrainingDecision, Situation, Trigger
from trueup.records.report import Level, Verdict
from trueup.trainer.policy import decide_retraining

NOW = datetime(2013, 7, 1, tzinfo=timezone.utc)
DRIFT = Situation(
    model="flights",
    live_version=3,
    verdict=Verdict.DRIFT,
    level=Level.ALERT,
    check_id="c7",
    fresh_labelled_rows=50_000,
)


def times() -> st.SearchStrategy[datetime | None]:
    ago = st.integers(-3_600, 400 * 86_400).map(lambda s: NOW - timedelta(seconds=s))
    return st.none() | ago


situations = st.builds(
    Situation,
    model=st.just("flights"),
    live_version=st.none() | st.integers(1, 9),
    verdict=st.none() | st.sampled_from(Verdict),
    level=st.none() | st.sampled_from(Level),
    open_fault=st.booleans(),
    running_job=st.none() | st.just("j1"),
    last_job_at=times(),
    last_scheduled_at=times(),
    newest_row_at=times(),
    fresh_labelled_rows=st.integers(0, 100_000),
    metric_drop=st.none() | st.floats(-0.5, 0.5),
    metric_drop_low=st.none() | st.floats(-0.5, 0.5),
    cost_30d=st.floats(0, 200),
    expected_cost=st.floats(0, 50),
    failed_gates=st.integers(0, 6),
    requested_by=st.none() | st.just("ada"),
)
policies = st.builds(
    RetrainingSettings,
    on_drift=st.booleans(),
    every=st.none() | st.just(timedelta(days=30)),
    max_age=st.none() | st.just(timedelta(days=90)),
    fresh_rows=st.sampled_from([0, 20_000]),
    metric_drop=st.sampled_from([0.0, 0.05]),
    cooldown=st.timedeltas(timedelta(0), timedelta(days=10)),
    min_rows=st.integers(1, 50_000),
    max_cost=st.sampled_from([0.0, 100.0]),
    freeze_after=st.integers(1, 5),
    warm_start=st.booleans(),
)


def decide(situation: Situation, settings: RetrainingSettings) -> RetrainingDecision:
    return decide_retraining(situation, settings, NOW)


@given(situations, policies)
def test_no_job_where_it_must_not(situation: Situation, settings: RetrainingSettings) -> None:
    decision = decide(situation, settings)
    assert decision.reasons and all(reason.strip() for reason in decision.reasons)
    assert decision.start == (bool(decision.triggers) and not decision.held_by)
    if not decision.start:
        return
    by_hand = situation.requested_by is not None
    assert situation.verdict is not Verdict.FAULT and not situation.open_fault
    assert situation.running_job is None
    assert situation.fresh_labelled_rows >= settings.min_rows
    cost = situation.cost_30d + situation.expected_cost
    assert not settings.max_cost or cost <= settings.max_cost
    if not by_hand:
        assert situation.failed_gates < settings.freeze_after
        last = situation.last_job_at
        assert last is None or NOW - last >= settings.cooldown


@given(situations, policies)
def test_alarm_exactly_where_a_frozen_model_should_be_trained(
    situation: Situation, settings: RetrainingSettings
) -> None:
    decision = decide(situation, settings)
    frozen = situation.failed_gates >= settings.freeze_after and situation.requested_by is None
    assert decision.alert == (frozen and bool(decision.triggers))
    assert (Guard.FROZEN in decision.held_by) == frozen


@given(situations, policies, st.integers(0, 1_000_000))
def test_more_fresh_rows_never_stop_a_job(
    situation: Situation, settings: RetrainingSettings, more: int
) -> None:
    rows = situation.fresh_labelled_rows + more
    with_more = situation.model_copy(update={"fresh_labelled_rows": rows})
    assert decide(with_more, settings).start >= decide(situation, settings).start


@given(situations, policies, st.timedeltas(timedelta(0), timedelta(days=400)))
def test_waiting_never_stops_a_job(
    situation: Situation, settings: RetrainingSettings, later: timedelta
) -> None:
    now, then = (decide_retraining(situation, settings, at) for at in (NOW, NOW + later))
    assert then.start >= now.start


@given(situations, policies, st.integers(1, 5), st.floats(0, 100))
def test_failures_cost_and_faults_never_start_a_job(
    situation: Situation, settings: RetrainingSettings, more: int, cost: float
) -> None:
    for worse in (
        {"failed_gates": situation.failed_gates + more},
        {"cost_30d": situation.cost_30d + cost},
        {"open_fault": True},
        {"running_job": "j2"},
    ):
        held = decide(situation.model_copy(update=worse), settings)
        assert held.start <= decide(situation, settings).start


@pytest.mark.parametrize(
    ("situation", "settings", "trigger", "words"),
    [
        ({}, {}, Trigger.DRIFT, "the verdict is drift at level alert (check c7)"),
        (
            {"metric_drop": 0.2, "metric_drop_low": 0.12, "metric_name": "log_loss"},
            {"metric_drop": 0.1},
            Trigger.PERFORMANCE,
            "log_loss on labelled rows is worse by 20.0% than at the gate, surely by 12.0%; "
            "10.0% is allowed",
        ),
        (
            {"verdict": Verdict.OK, "newest_row_at": NOW - timedelta(days=100)},
            {"max_age": "90d"},
            Trigger.AGE,
            "the live version's newest row is 100 d old; max_age is 90d",
        ),
        (
            {"verdict": Verdict.OK, "last_scheduled_at": NOW - timedelta(days=31)},
            {"every": "30d"},
            Trigger.SCHEDULE,
            "a job is due every 30d, and the last was 31 d ago",
        ),
        (
            {"verdict": Verdict.OK},
            {"fresh_rows": 40_000},
            Trigger.FRESH_ROWS,
            "50,000 fresh labelled rows; a job is due at 40,000",
        ),
        ({"verdict": None, "requested_by": "ada"}, {}, Trigger.MANUAL, "ada asked for it"),
    ],
)
def test_what_asks_for_a_job(situation: dict, settings: dict, trigger: Trigger, words: str) -> None:
    given = DRIFT.model_copy(update=situation)
    decision = decide(given, RetrainingSettings(**settings))
    assert decision.start and decision.trigger is trigger
    assert decision.reasons[0] == words


@pytest.mark.parametrize(
    ("situation", "settings", "guard", "words"),
    [
        ({"open_fault": True}, {}, Guard.FAULT, "a fault is not resolved"),
        ({"running_job": "j8"}, {}, Guard.RUNNING, "job j8 has not ended"),
        ({"failed_gates": 3}, {}, Guard.FROZEN, "3 candidates in a row were refused; after 3"),
        (
            {"last_job_at": NOW - timedelta(hours=3)},
            {},
            Guard.COOLDOWN,
            "the last job was started 3 h ago; 1d lie between two",
        ),
        (
            {"fresh_labelled_rows": 12},
            {},
            Guard.TOO_FEW_ROWS,
            "12 fresh labelled rows; 1,000 are needed",
        ),
        (
            {"cost_30d": 90.0, "expected_cost": 20.5},
            {"max_cost": 100.0},
            Guard.COST,
            "jobs of 30 days would cost 110.50 with this one; 100.00 are allowed",
        ),
    ],
)
def test_what_holds_a_job_back(situation: dict, settings: dict, guard: Guard, words: str) -> None:
    decision = decide(DRIFT.model_copy(update=situation), RetrainingSettings(**settings))
    assert not decision.start and decision.held_by == (guard,)
    assert words in decision.reasons[-1]


def test_nothing_asks_and_the_reasons_say_so() -> None:
    calm = DRIFT.model_copy(update={"verdict": Verdict.WATCH, "level": Level.WATCH})
    decision = decide(calm, RetrainingSettings())
    assert not decision.start and not decision.held_by and decision.trigger is None
    assert decision.reasons == ("the verdict is watch at level watch, and no drift to train on",)
    off = decide(DRIFT, RetrainingSettings(on_drift=False))
    assert off.reasons == ("the verdict is drift at level alert, and retraining.on_drift is off",)
    chance = DRIFT.model_copy(
        update={"verdict": Verdict.OK, "metric_drop": 0.3, "metric_drop_low": 0.01}
    )
    assert not decide(chance, RetrainingSettings(metric_drop=0.1)).start
