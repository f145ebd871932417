"""A report arranged for reading: what the page and the terminal show, already in words.

Pure: a :class:`~trueup.records.report.Report` in, frozen view records out. All text that came
from clients has passed :func:`trueup.web.text.visible`; escaping for HTML is left to the templates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from trueup.records.input_spec import Role
from trueup.records.report import FeatureSummary, Finding, Level, Quantity, Report
from trueup.web import words
from trueup.web.text import visible

NAME_LIMIT = 60
SENTENCE_LIMIT = 600


@dataclass(frozen=True)
class Line:
    """One finding in words.

    :param before, after: the quantity in training and serving with unit; None without values.
    """

    feature: str
    quantity: str
    level: Level
    rank: int
    reason: str
    before: str | None
    after: str | None
    effect: str
    interval: str
    evidence: str
    cause: str = ""
    statement: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Moved:
    """A feature that moved: its first finding, and the others that count.

    :param column: its name as it is in the data; ``feature`` is fit to be shown.
    :param summary: what can be drawn of it; None for findings that are not about one column.
    """

    column: str
    feature: str
    level: Level
    head: Line
    more: tuple[Line, ...]
    summary: FeatureSummary | None

    @property
    def cause(self) -> Line | None:
        """The first line that names a cause."""
        return next((line for line in (self.head, *self.more) if line.cause), None)


@dataclass(frozen=True)
class Arranged:
    """A report's findings and features in the order in which they are read."""

    moved: tuple[Moved, ...]
    lines: tuple[Line, ...]
    compared: tuple[FeatureSummary, ...]
    ignored: tuple[FeatureSummary, ...]
    counts: dict[Level, int]


def arrange(report: Report) -> Arranged:
    """The report's content in reading order.

    ``moved`` holds features with a finding at *watch* or above, by level and then by rank;
    ``compared`` every feature and label, moved ones first, then by rank and name; ``ignored``
    the columns that were not compared.
    """
    summaries = {summary.feature: summary for summary in report.features}
    ordered = sorted(report.findings, key=lambda finding: finding.rank)
    moved = _moved(ordered, summaries)
    place = {item.column: index for index, item in enumerate(moved)}
    compared = sorted(
        (s for s in report.features if s.role in (Role.FEATURE, Role.LABEL)),
        key=lambda s: (place.get(s.feature, len(place)), s.rank or len(place) + 1, s.feature),
    )
    levels: dict[str, Level] = {s.feature: s.level for s in compared}
    return Arranged(
        moved=moved,
        lines=tuple(line(finding) for finding in ordered),
        compared=tuple(compared),
        ignored=tuple(s for s in report.features if s.role not in (Role.FEATURE, Role.LABEL)),
        counts={level: list(levels.values()).count(level) for level in Level},
    )


def line(finding: Finding) -> Line:
    """One finding in words."""
    values = words.value_words(finding)
    cause = finding.cause
    return Line(
        feature=name(finding.feature),
        quantity=words.QUANTITIES[finding.quantity],
        level=finding.level,
        rank=finding.rank,
        reason=sentence(finding.reason),
        before=visible(values[0]) if values else None,
        after=visible(values[1]) if values else None,
        effect=visible(words.effect_words(finding)),
        interval=words.interval_words(finding),
        evidence=visible(words.evidence_words(finding), SENTENCE_LIMIT),
        cause=words.CAUSES[cause.kind] if cause else "",
        statement=sentence(cause.statement) if cause else "",
        remedy=sentence(cause.remedy) if cause and cause.remedy else "",
    )


def name(feature: str) -> str:
    """A feature's name, fit to be shown."""
    return visible(feature, NAME_LIMIT)


def sentence(text: str) -> str:
    """Words of a report (which may quote clients' values), fit to be shown."""
    return visible(text, SENTENCE_LIMIT)


def new_values(report: Report) -> tuple[tuple[str, str, int, int], ...]:
    """Categories that training never had: feature, value, count in serving, its rows."""
    return tuple(
        (name(summary.feature), visible(item.value), item.serving, summary.serving.rows)
        for summary in report.features
        if summary.serving is not None
        for item in summary.categories
        if item.new and item.serving
    )


def with_quantity(report: Report, quantity: Quantity) -> tuple[Finding, ...]:
    """All findings of one quantity, the largest effect first."""
    chosen = (finding for finding in report.findings if finding.quantity is quantity)
    return tuple(sorted(chosen, key=lambda finding: (-abs(finding.effect), finding.feature)))


def _moved(ordered: Sequence[Finding], summaries: dict[str, FeatureSummary]) -> tuple[Moved, ...]:
    by_feature: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in ordered:
        if finding.level is not Level.OK:
            by_feature[finding.feature].append(finding)
    moved = []
    for feature, findings in by_feature.items():
        alert = any(finding.level is Level.ALERT for finding in findings)
        lines = [line(finding) for finding in findings]
        moved.append(
            Moved(
                column=feature,
                feature=name(feature),
                level=Level.ALERT if alert else Level.WATCH,
                head=lines[0],
                more=tuple(lines[1:]),
                summary=summaries.get(feature),
            )
        )
    return tuple(sorted(moved, key=lambda item: item.level is not Level.ALERT))
