"""What the HTML page shows, section by section: a report's view with charts and table rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from markupsafe import Markup

from trueup.records.report import FeatureSummary, Finding, Level, Quantity, Report, SideSummary
from trueup.web import charts, words
from trueup.web.numbers import number, pair, percent, with_unit
from trueup.web.svg import to_svg
from trueup.web.text import visible
from trueup.web.view import Arranged, Line, Moved, arrange, name, new_values, with_quantity

CARDS = 12
"""Features that moved get a card each, up to so many."""

CHART_ROWS = 24
FINDING_ROWS = 2000
NEW_VALUE_ROWS = 200


@dataclass(frozen=True)
class Figure:
    """One chart with what is said below it."""

    svg: Markup
    note: str = ""


@dataclass(frozen=True)
class Drawn:
    """The charts of a report: distributions by column, then those over many features."""

    arranged: Arranged
    distributions: dict[str, Figure]
    means: Figure | None
    variances: Figure | None
    missing: Figure | None


@dataclass(frozen=True)
class Cell:
    """A table's cell: its text, and the number that it is sorted by (None sorts last)."""

    text: str
    sort: float | None = None


@dataclass(frozen=True)
class Row:
    """A feature's line in the table of all numbers."""

    feature: str
    level: Level
    kind: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Small:
    """A feature among the small charts."""

    feature: str
    level: Level
    figure: Figure


@dataclass(frozen=True)
class Detectable:
    """What could have been seen: the smallest change of one quantity that would count."""

    quantity: str
    typical: str
    worst: str
    feature: str


@dataclass(frozen=True)
class Page:
    """Everything that the template reads besides the report itself."""

    cards: tuple[tuple[Moved, Figure | None], ...]
    more_moved: tuple[Moved, ...]
    small: tuple[Small, ...]
    undrawn: int
    means: Figure | None
    variances: Figure | None
    missing: Figure | None
    new_values: tuple[tuple[str, str, str, str], ...]
    new_values_left: int
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    lines: tuple[Line, ...]
    lines_left: int
    ignored: tuple[tuple[str, str, str], ...]
    detectable: tuple[Detectable, ...]
    counts: dict[str, int]
    compared: int


COLUMNS = (
    "Mean, training", "Mean, serving", "SD, training", "SD, serving",
    "Missing, training", "Missing, serving", "Minimum, training", "Minimum, serving",
    "Maximum, training", "Maximum, serving", "Distinct, training", "Distinct, serving",
    "PSI", "Jensen–Shannon", "Wasserstein",
)  # fmt: skip


def draw(report: Report, *, limit: int) -> Drawn:
    """Draw the distributions of the first ``limit`` features and the charts over many."""
    arranged = arrange(report)
    distributions = {}
    for summary in arranged.compared[:limit]:
        chart = charts.distribution(summary)
        if chart is not None:
            distributions[summary.feature] = Figure(
                _svg(chart, charts.described(summary)), charts.caption(summary)
            )
    missing = tuple(
        finding
        for finding in with_quantity(report, Quantity.MISSING)
        if finding.training or finding.serving
    )
    return Drawn(
        arranged,
        distributions,
        _effects(report, Quantity.MEAN, "change of the mean, in training sd"),
        _effects(report, Quantity.VARIANCE, "change of ln(variance)"),
        _figure_of_rates(missing),
    )


def page(report: Report, drawn: Drawn) -> Page:
    """Arrange everything for the template."""
    arranged = drawn.arranged
    cards = arranged.moved[:CARDS]
    on_cards = {item.column for item in cards}
    small = tuple(
        Small(name(summary.feature), summary.level, drawn.distributions[summary.feature])
        for summary in arranged.compared
        if summary.feature in drawn.distributions and summary.feature not in on_cards
    )
    new = new_values(report)
    return Page(
        cards=tuple((item, drawn.distributions.get(item.column)) for item in cards),
        more_moved=arranged.moved[CARDS:],
        small=small,
        undrawn=len(arranged.compared) - len(drawn.distributions),
        means=drawn.means,
        variances=drawn.variances,
        missing=drawn.missing,
        new_values=tuple(
            (feature, value, number(count), percent(count, rows))
            for feature, value, count, rows in new[:NEW_VALUE_ROWS]
        ),
        new_values_left=max(0, len(new) - NEW_VALUE_ROWS),
        columns=COLUMNS,
        rows=tuple(map(_row, arranged.compared)),
        lines=arranged.lines[:FINDING_ROWS],
        lines_left=max(0, len(arranged.lines) - FINDING_ROWS),
        ignored=tuple(
            (name(s.feature), s.role.value, visible(s.role_reason or "not compared", 200))
            for s in arranged.ignored
        ),
        detectable=_detectable(arranged.compared),
        counts={level.value: count for level, count in arranged.counts.items()},
        compared=len(arranged.compared),
    )


def _svg(chart: object, label: str) -> Markup:
    # Safe: `to_svg` copies known elements only and escapes all text (tested with hostile names).
    return Markup(to_svg(chart, label))


def _effects(report: Report, quantity: Quantity, title: str) -> Figure | None:
    findings = with_quantity(report, quantity)
    shown = findings[:CHART_ROWS]
    if not shown:
        return None
    thresholds = {finding.threshold for finding in shown if finding.threshold is not None}
    threshold = thresholds.pop() if len(thresholds) == 1 else None
    label = f"{title}: " + "; ".join(
        f"{name(finding.feature)} {finding.effect:+.3g}" for finding in shown
    )
    return Figure(_svg(charts.effects(shown, title, threshold), label), _left(findings))


def _figure_of_rates(findings: Sequence[Finding]) -> Figure | None:
    shown = findings[:CHART_ROWS]
    if not shown:
        return None
    label = "Missing in % of rows, training to serving: " + "; ".join(
        f"{name(finding.feature)} {' to '.join(words.value_words(finding) or ())}"
        for finding in shown
    )
    return Figure(_svg(charts.rates(shown, "% of rows missing"), label), _left(findings))


def _left(findings: Sequence[Finding]) -> str:
    if len(findings) <= CHART_ROWS:
        return ""
    return f"The {CHART_ROWS} largest of {number(len(findings))}; all are in the table."


def _row(summary: FeatureSummary) -> Row:
    before, after = summary.training, summary.serving
    cells: list[Cell] = []
    for field in ("mean", "sd"):
        cells += _cells(_value(before, field), _value(after, field))
    for side in (before, after):
        rate = side.missing / side.rows if side is not None and side.rows else None
        text = percent(side.missing, side.rows) if side is not None else number(None)
        cells.append(Cell(text, rate))
    for field in ("minimum", "maximum"):
        cells += _cells(_value(before, field), _value(after, field))
    for side in (before, after):
        distinct = _value(side, "distinct")
        rounded = round(distinct) if distinct is not None else None
        cells.append(Cell(number(rounded), rounded))
    distances = {_plain(key): value for key, value in summary.distances.items()}
    for key in ("psi", "jensenshannon", "wasserstein"):
        value = next((v for k, v in distances.items() if k.startswith(key)), None)
        cells.append(Cell(number(value, 3), value))
    kind = summary.kind.value if summary.kind is not None else ""
    label = f"{kind}, {visible(summary.unit, 20)}" if summary.unit else kind
    return Row(name(summary.feature), summary.level, label, tuple(cells))


def _cells(before: float | None, after: float | None) -> tuple[Cell, Cell]:
    texts = pair(before, after)
    return Cell(texts[0], before), Cell(texts[1], after)


def _value(side: SideSummary | None, field: str) -> float | None:
    value: float | None = getattr(side, field) if side is not None else None
    return value


def _plain(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "").replace("–", "").replace(" ", "")


def _detectable(compared: Sequence[FeatureSummary]) -> tuple[Detectable, ...]:
    """Per quantity (``"mean (sd)"``) the median over features and the feature that is worst off.

    Keys without a unit are in each feature's own unit and cannot be set against each other.
    """
    by_quantity: dict[str, list[tuple[float, str]]] = {}
    for summary in compared:
        for key, size in summary.minimum_detectable.items():
            if key.endswith(")"):
                by_quantity.setdefault(key, []).append((size, summary.feature))
    found = []
    for key, sizes in by_quantity.items():
        quantity, unit = key[:-1].rsplit(" (", 1)
        worst, feature = max(sizes)
        typical = number(median(size for size, _ in sizes), 2)
        found.append(
            Detectable(
                visible(quantity),
                with_unit(typical, visible(unit)),
                with_unit(number(worst, 2), visible(unit)),
                name(feature),
            )
        )
    return tuple(found)
