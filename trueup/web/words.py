"""The words for quantities, levels and verdicts, the same on the page and in the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from trueup.records.report import CauseKind, Finding, Level, Quantity, Verdict
from trueup.web.numbers import NBSP, number, pair, signed, with_unit


@dataclass(frozen=True)
class VerdictWords:
    """A verdict as a word, a sign that does not need colour, and what to do about it."""

    word: str
    sign: str
    advice: str


VERDICTS: dict[Verdict, VerdictWords] = {
    Verdict.OK: VerdictWords("Ok", "✓", "No action is needed."),
    Verdict.WATCH: VerdictWords("Watch", "◔", "Nothing to mend yet: look again with more data."),
    Verdict.DRIFT: VerdictWords(
        "Drift", "▲", "The world has moved. Retraining on recent data should help."
    ),
    Verdict.FAULT: VerdictWords(
        "Fault", "✕", "Something is broken. Mend it, and do not train on this data."
    ),
}

LEVELS: dict[Level, str] = {Level.ALERT: "alert", Level.WATCH: "watch", Level.OK: "ok"}

QUANTITIES: dict[Quantity, str] = {
    Quantity.PRESENCE: "column",
    Quantity.TYPE: "type",
    Quantity.MEAN: "mean",
    Quantity.VARIANCE: "standard deviation",
    Quantity.MISSING: "missing",
    Quantity.TYPE_ERROR: "wrong type",
    Quantity.NON_FINITE: "infinite",
    Quantity.OUT_OF_RANGE: "out of range",
    Quantity.UNSEEN: "new values",
    Quantity.SHARES: "distribution",
    Quantity.LENGTH: "length",
    Quantity.CORRELATION: "correlation",
    Quantity.ROW_SKEW: "rows that differ",
    Quantity.VOLUME: "rows",
    Quantity.UNIQUENESS: "distinct values",
}

CAUSES: dict[CauseKind, str] = {
    CauseKind.COLUMN_GONE: "column gone",
    CauseKind.COLUMN_NEW: "new column",
    CauseKind.TYPE_CHANGED: "type changed",
    CauseKind.UNIT: "unit or scale",
    CauseKind.TIME_SHIFT: "time shift",
    CauseKind.STUCK: "stuck value",
    CauseKind.DEFAULT_FILL: "filled with a default",
    CauseKind.LETTER_CASE: "letter case",
    CauseKind.TRUNCATION: "truncation",
    CauseKind.MISSING_JUMP: "missing values jumped",
    CauseKind.ROUNDING: "rounding",
    CauseKind.TIME_ZONE: "time zone",
    CauseKind.STALE: "stale values",
    CauseKind.DTYPE: "data type",
}

DISTANCES: dict[str, str] = {
    "psi": "PSI",
    "PSI": "PSI",
    "jensen_shannon": "Jensen–Shannon (bits)",
    "wasserstein": "Wasserstein (sd)",
    "ks": "Kolmogorov–Smirnov",
    "kolmogorov_smirnov": "Kolmogorov–Smirnov",
    "l_infinity": "L∞",
}


def effect_words(finding: Finding) -> str:
    """The effect with its unit, such as ``+2.35 sd`` or ``PSI 0.41``."""
    if not finding.unit:
        return f"{finding.effect_name} {number(finding.effect, 3)}"
    return with_unit(signed(finding.effect), finding.unit)


def interval_words(finding: Finding) -> str:
    """The confidence interval, such as ``95 % interval +2.31 to +2.39``; empty without one."""
    interval = finding.interval
    if interval is None:
        return ""
    low, high = pair(interval.low, interval.high)
    if finding.unit and interval.low > 0:
        low = f"+{low}"
    if finding.unit and interval.high > 0:
        high = f"+{high}"
    return f"{number(100 * interval.confidence, 3)}{NBSP}% interval {low} to {high}"


def value_words(finding: Finding) -> tuple[str, str] | None:
    """The quantity's value in training and in serving with unit; None where it has none."""
    if finding.training is None and finding.serving is None:
        return None
    before, after = pair(finding.training, finding.serving)
    return with_unit(before, finding.value_unit), with_unit(after, finding.value_unit)


def evidence_words(finding: Finding) -> str:
    """The test behind a finding, such as ``Welch z, adjusted p < 0.001``."""
    evidence = finding.evidence
    words = evidence.method
    p = evidence.p_value if evidence.p_adjusted is None else evidence.p_adjusted
    if p is not None:
        name = "p" if evidence.p_adjusted is None else "adjusted p"
        words += f", {name} " + ("< 0.001" if p < 0.001 else f"= {number(p, 2)}")
    return words
