"""The whole in one word: ok, watch, drift or fault (docs/statistics.md, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

from trueup.records.report import CauseKind, Finding, Level, Quantity, Verdict

MAX_REASONS = 8
"""Reasons that are given with the verdict; the findings have all of them."""

HARMLESS = frozenset({CauseKind.COLUMN_NEW})
"""Causes that name a change and break nothing by themselves."""


def verdict_of(findings: Sequence[Finding]) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict and its reasons, from findings in the order of their rank.

    ``fault``: an alert with a named cause, or joined rows that differ;
    ``drift``: an alert without any; ``watch``: something that is worth a look, also that nothing
    could be compared.
    """
    alerts = [finding for finding in findings if finding.level is Level.ALERT]
    faults = [
        finding for finding in alerts
        if _broken(finding)
    ]  # fmt: skip
    watched = [finding for finding in findings if finding.level is Level.WATCH]
    if faults:
        return Verdict.FAULT, _reasons(faults, alerts)
    if alerts:
        return Verdict.DRIFT, _reasons(alerts, alerts)
    if watched:
        return Verdict.WATCH, _reasons(watched, watched)
    tested = sum(finding.evidence.p_value is not None for finding in findings)
    if not tested:
        return Verdict.WATCH, ("nothing could be compared: see the reasons of the findings",)
    return Verdict.OK, (
        f"none of {tested:,} compared quantities moved by more than chance and its dead band",
    )


def _broken(finding: Finding) -> bool:
    """A named cause, or joined rows that differ, which they never may."""
    if finding.quantity is Quantity.ROW_SKEW:
        return True
    return finding.cause is not None and finding.cause.kind not in HARMLESS


def _reasons(shown: Sequence[Finding], alerts: Sequence[Finding]) -> tuple[str, ...]:
    """One reason per feature, the first-ranked; then how many more features there are."""
    first: dict[str, str] = {}
    for finding in shown:
        statement = finding.cause.statement if finding.cause is not None else finding.reason
        first.setdefault(finding.feature, statement)
    reasons = list(first.values())[:MAX_REASONS]
    named = list(first)[:MAX_REASONS]
    others = list(dict.fromkeys(f.feature for f in alerts if f.feature not in named))
    if others:
        listed = ", ".join(others[:4]) + (", …" if len(others) > 4 else "")
        reasons.append(f"and {len(others)} more changed: {listed}")
    return tuple(reasons)
