"""Rules of the replay: what a real server makes of the artifact."""

from __future__ import annotations

from trueup.config.training import GateSettings
from trueup.records.gate import Outcome, ReplayEvidence, Rule, RuleResult
from trueup.trainer.gate.words import count, number

LEAST_LATENCIES = 100
"""Requests below which there is no 99th percentile."""


def replay(evidence: ReplayEvidence | None, settings: GateSettings) -> tuple[RuleResult, ...]:
    """The artifact gives the trainer's numbers in a real server, and soon enough."""
    if settings.replay_rows == 0:
        return ()
    if evidence is None or evidence.requests + evidence.failed == 0:
        return (
            RuleResult(
                rule=Rule.REPLAY_EQUALITY,
                rows=0,
                bound=settings.tolerance,
                outcome=Outcome.NOT_ENOUGH_DATA,
                reason="no request was replayed in a server; gate.replay_rows = 0 does without",
            ),
        )
    results = [_equality(evidence, settings)]
    if settings.max_latency_ms is not None:
        results.append(_latency(evidence, settings.max_latency_ms))
    if evidence.latency_p50_ms is not None and evidence.live_latency_p50_ms:
        results.append(
            _against_live(
                Rule.REPLAY_SLOWDOWN, evidence, settings.max_slowdown,
                evidence.latency_p50_ms, evidence.live_latency_p50_ms, "ms",
                "half of the requests are answered within",
            )
        )  # fmt: skip
    if evidence.peak_memory_bytes is not None and evidence.live_peak_memory_bytes:
        results.append(
            _against_live(
                Rule.REPLAY_MEMORY, evidence, settings.max_memory,
                evidence.peak_memory_bytes / 2**20, evidence.live_peak_memory_bytes / 2**20, "MiB",
                "the server's memory is",
            )
        )  # fmt: skip
    return tuple(results)


def _against_live(
    rule: Rule, evidence: ReplayEvidence, most: float, mine: float, live: float, unit: str,
    words: str,
) -> RuleResult:  # fmt: skip
    """By point values: both servers were up at the same time and asked in turn."""
    times = mine / live
    return RuleResult(
        rule=rule,
        rows=evidence.requests,
        estimate=times,
        bound=most,
        outcome=Outcome.PASS if times <= most else Outcome.FAIL,
        reason=f"{words} {number(mine, unit)}, with the live version {number(live, unit)}: "
        f"{times:.2f} times as much; {most:g} is allowed",
    )


def _equality(evidence: ReplayEvidence, settings: GateSettings) -> RuleResult:
    largest, total = evidence.max_relative_difference, evidence.requests + evidence.failed
    if evidence.failed:
        outcome = Outcome.FAIL
        reason = f"{evidence.failed:,} of {count(total, 'replayed request')} failed"
        reason += f", the first with: {evidence.first_failure}" if evidence.first_failure else ""
    elif largest is None:
        outcome = Outcome.NOT_ENOUGH_DATA
        reason = f"{count(total, 'request')} were replayed, and no answer could be compared"
    else:
        # A difference that is no number is a difference.
        outcome = Outcome.PASS if largest <= settings.tolerance else Outcome.FAIL
        worst = f" ({evidence.worst})" if evidence.worst and outcome is Outcome.FAIL else ""
        reason = (
            f"in {count(total, 'replayed request')} the server's answers differ from the trainer's "
            f"by at most {largest:.3g} of their size{worst}; {settings.tolerance:.3g} is allowed"
        )
    return RuleResult(
        rule=Rule.REPLAY_EQUALITY,
        rows=total,
        estimate=largest,
        bound=settings.tolerance,
        outcome=outcome,
        reason=reason,
    )


def _latency(evidence: ReplayEvidence, most_ms: float) -> RuleResult:
    """By its point value: it describes this machine under this load, and no population of rows."""
    slow, n = evidence.latency_p99_ms, evidence.requests
    if slow is None or n < LEAST_LATENCIES:
        outcome = Outcome.NOT_ENOUGH_DATA
        reason = (
            f"{count(n, 'replayed request')} have no 99th percentile; {LEAST_LATENCIES} are needed"
        )
    else:
        outcome = Outcome.PASS if slow <= most_ms else Outcome.FAIL
        reason = (
            f"99 % of {count(n, 'replayed request')} are answered within {number(slow, 'ms')}; "
            f"{number(most_ms, 'ms')} are allowed"
        )
    return RuleResult(
        rule=Rule.REPLAY_LATENCY,
        rows=n,
        estimate=slow,
        bound=most_ms,
        unit="ms",
        outcome=outcome,
        reason=reason,
    )
