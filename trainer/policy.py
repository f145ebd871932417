"""When to train a model anew: a pure function of what is known, with a reason for every "no".

Drift tests alone ask too often and know no cost (arXiv:2310.04216), so guards hold jobs back.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from trueup.config.duration import write_duration
from trueup.config.training import RetrainingSettings
from trueup.records.policy import Guard, RetrainingDecision, Situation, Trigger
from trueup.records.report import Level, Verdict

Reasoned = tuple[Trigger, str]
Held = tuple[Guard, str]

#: What a person may overrule by asking for a job. Faults are mended, or overruled as a verdict.
_OVERRULED_BY_HAND = frozenset({Guard.FROZEN, Guard.COOLDOWN})


def decide_retraining(
    situation: Situation, settings: RetrainingSettings, now: datetime
) -> RetrainingDecision:
    """Whether a job is started now: something asks for it, and nothing holds it back.

    Triggers: performance, drift, age, schedule, fresh rows, and a person. Guards: a fault, a job
    that runs, frozen after refused candidates, cooldown, too few rows, cost. A person overrules the
    freeze and the cooldown, nothing else.
    """
    triggers = sorted(_triggers(situation, settings, now), key=lambda t: list(Trigger).index(t[0]))
    by_hand = situation.requested_by is not None
    guards = [
        (guard, why)
        for guard, why in _guards(situation, settings, now)
        if not (by_hand and guard in _OVERRULED_BY_HAND)
    ]
    start = bool(triggers) and not guards
    asked = [why for _, why in triggers] or _nothing_asks(situation, settings, now)
    return RetrainingDecision(
        model=situation.model,
        start=start,
        trigger=triggers[0][0] if triggers else None,
        triggers=tuple(trigger for trigger, _ in triggers),
        held_by=tuple(guard for guard, _ in guards),
        alert=bool(triggers) and any(guard is Guard.FROZEN for guard, _ in guards),
        warm_start=start and settings.warm_start and situation.live_version is not None,
        reasons=(*asked, *(why for _, why in guards)),
        decided_at=now,
    )


def _triggers(
    situation: Situation, settings: RetrainingSettings, now: datetime
) -> Iterator[Reasoned]:
    if situation.requested_by is not None:
        yield Trigger.MANUAL, f"{situation.requested_by} asked for it"
    if _metric_dropped(situation, settings):
        yield Trigger.PERFORMANCE, f"{_drop_words(situation)} {settings.metric_drop:.1%} is allowed"
    if _drifts(situation) and settings.on_drift:
        check = f" (check {situation.check_id})" if situation.check_id else ""
        yield Trigger.DRIFT, f"the verdict is drift at level alert{check}"
    age = _since(situation.newest_row_at, now)
    if settings.max_age is not None and age is not None and age > settings.max_age:
        yield (
            Trigger.AGE,
            f"the live version's newest row is {_span(age)} old; max_age is "
            f"{write_duration(settings.max_age)}",
        )
    waited = _since(situation.last_scheduled_at, now)
    if settings.every is not None and (waited is None or waited >= settings.every):
        ago = "no job was ever scheduled" if waited is None else f"the last was {_span(waited)} ago"
        yield (
            Trigger.SCHEDULE,
            f"a job is due every {write_duration(settings.every)}, and {ago}",
        )
    fresh = situation.fresh_labelled_rows
    if settings.fresh_rows and fresh >= settings.fresh_rows:
        yield (
            Trigger.FRESH_ROWS,
            f"{fresh:,} fresh labelled rows; a job is due at {settings.fresh_rows:,}",
        )


def _guards(situation: Situation, settings: RetrainingSettings, now: datetime) -> Iterator[Held]:
    if situation.verdict is Verdict.FAULT or situation.open_fault:
        last = situation.verdict is Verdict.FAULT
        which = "the verdict is fault" if last else "a fault is not resolved"
        yield Guard.FAULT, f"{which}: what is broken is mended, and not learnt"
    if situation.running_job is not None:
        yield Guard.RUNNING, f"job {situation.running_job} has not ended; one runs at a time"
    if situation.failed_gates >= settings.freeze_after:
        yield (
            Guard.FROZEN,
            f"{situation.failed_gates} candidates in a row were refused; after "
            f"{settings.freeze_after} only people start jobs",
        )
    waited = _since(situation.last_job_at, now)
    if waited is not None and waited < settings.cooldown:
        yield (
            Guard.COOLDOWN,
            f"the last job was started {_span(waited)} ago; "
            f"{write_duration(settings.cooldown)} lie between two",
        )
    if situation.fresh_labelled_rows < settings.min_rows:
        yield (
            Guard.TOO_FEW_ROWS,
            f"{situation.fresh_labelled_rows:,} fresh labelled rows; {settings.min_rows:,} are "
            "needed (retraining.min_rows)",
        )
    cost = situation.cost_30d + situation.expected_cost
    if settings.max_cost and cost > settings.max_cost:
        yield (
            Guard.COST,
            f"jobs of 30 days would cost {cost:,.2f} with this one; {settings.max_cost:,.2f} are "
            "allowed (retraining.max_cost)",
        )


def _nothing_asks(
    situation: Situation, settings: RetrainingSettings, now: datetime
) -> tuple[str, ...]:
    """Why no trigger fired, each with its numbers."""
    reasons = []
    if situation.verdict is None:
        reasons.append("no check of the live version has been made")
    elif _drifts(situation):
        reasons.append("the verdict is drift at level alert, and retraining.on_drift is off")
    else:
        level = f" at level {situation.level.value}" if situation.level else ""
        reasons.append(f"the verdict is {situation.verdict.value}{level}, and no drift to train on")
    if settings.metric_drop and situation.metric_drop is not None:
        reasons.append(f"{_drop_words(situation)} {settings.metric_drop:.1%} is allowed")
    age = _since(situation.newest_row_at, now)
    if settings.max_age is not None and age is not None:
        reasons.append(
            f"the live version's newest row is {_span(age)} old, and max_age is "
            f"{write_duration(settings.max_age)}"
        )
    waited = _since(situation.last_scheduled_at, now)
    if settings.every is not None and waited is not None:
        left = settings.every - waited
        reasons.append(f"the next scheduled job is due in {_span(left)}")
    if settings.fresh_rows:
        reasons.append(
            f"{situation.fresh_labelled_rows:,} fresh labelled rows, and a job is due at "
            f"{settings.fresh_rows:,}"
        )
    return tuple(reasons)


def _drifts(situation: Situation) -> bool:
    return situation.verdict is Verdict.DRIFT and situation.level is Level.ALERT


def _metric_dropped(situation: Situation, settings: RetrainingSettings) -> bool:
    """By the lower limit of the drop, as chance is no reason; without one, by the drop."""
    low = situation.metric_drop_low
    drop = situation.metric_drop if low is None else low
    return bool(settings.metric_drop) and drop is not None and drop > settings.metric_drop


def _drop_words(situation: Situation) -> str:
    metric = situation.metric_name or "the metric"
    drop, low = situation.metric_drop or 0.0, situation.metric_drop_low
    surely = "" if low is None else f", surely by {low:.1%}"
    return f"{metric} on labelled rows is worse by {drop:.1%} than at the gate{surely};"


def _since(then: datetime | None, now: datetime) -> timedelta | None:
    """Clocks of two machines may disagree: never below 0."""
    return None if then is None else max(now - then, timedelta(0))


def _span(duration: timedelta) -> str:
    """
    >>> _span(timedelta(days=2, hours=3, minutes=1)), _span(timedelta(minutes=90))
    ('2.1 d', '1.5 h')
    """
    seconds = duration.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
