"""Charts as Vega-Lite, built with Altair: distributions over each other, effects, missing rates.

No text from clients becomes a field name, an expression or a sort key here: it only ever is data
of a text mark, so that nothing in a report can be read as a Vega expression.

Colours are names of a kind: the page maps each of them to its theme (see ``report.css``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trueup.records.report import FeatureSummary, Finding
from trueup.web.bins import Bars, bars
from trueup.web.numbers import percent
from trueup.web.text import visible

if TYPE_CHECKING:
    import altair

TRAINING = "#0072b2"
"""Blue and vermilion of Okabe and Ito's palette, safe for colour-blind readers."""
SERVING = "#d55e00"
INK = "#222222"
MUTED = "#666666"
GRID = "#dddddd"

WIDTH = 320
HEIGHT = 120
LABEL_WIDTH = 104
AXIS_HEIGHT = 36
RIGHT = 12
CATEGORIES = 7
"""Categories that are drawn, those whose share changed most first."""
ROW_HEIGHT = 22
FONT_SIZE = 11
SOLID, DASHED = [1, 0], [3, 3]
COARSE = 0.05
"""Shares up to which whole percents would repeat on the axis."""
BEYOND = 0.001
"""Share of serving beyond training's range from which on the dashes are explained."""


def distribution(summary: FeatureSummary) -> altair.TopLevelMixin | None:
    """Serving over training, of values or of categories; None when there is nothing to draw."""
    if summary.categories:
        return _categories(summary)
    shown = bars(summary.histogram) if summary.histogram is not None else None
    return _numeric(summary, shown) if shown is not None else None


def described(summary: FeatureSummary) -> str:
    """What :func:`distribution` shows, in words for those who cannot see it."""
    if summary.categories:
        rows = _category_rows(summary)
        parts = [
            f"{row['label']} {100 * row['training']:.1f} % to {100 * row['serving']:.1f} %"
            for row in rows
        ]
        return "Shares in training and serving: " + "; ".join(parts)
    words = "Histogram of training (filled) and serving (outlined)"
    sides = (("training", summary.training), ("serving", summary.serving))
    for side, numbers in sides:
        if numbers is not None and numbers.mean is not None:
            words += f"; {side} mean {numbers.mean:.4g}"
            words += f", sd {numbers.sd:.4g}" if numbers.sd is not None else ""
    return words


def caption(summary: FeatureSummary) -> str:
    """What has to be said of the picture that :func:`distribution` drew; often nothing."""
    return " ".join(words for words in (beyond_words(summary), outside_words(summary)) if words)


def outside_words(summary: FeatureSummary) -> str:
    """How much lies beyond the range that :func:`distribution` shows; empty when all is in it."""
    shown = bars(summary.histogram) if summary.histogram and not summary.categories else None
    if shown is None or max(shown.outside) < 5e-5:
        return ""
    before, after = (percent(share, 1.0) for share in shown.outside)
    return f"Beyond this range: {before} of training, {after} of serving."


def beyond_words(summary: FeatureSummary) -> str:
    """How much of serving is drawn dashed because training never went there."""
    shown = bars(summary.histogram) if summary.histogram and not summary.categories else None
    if shown is None or shown.below + shown.above < BEYOND:
        return ""
    return (
        f"Dashed: {percent(shown.below + shown.above, 1.0)} of serving lie beyond training’s "
        "range; how they lie there is not known."
    )


def effects(findings: Sequence[Finding], title: str, threshold: float | None) -> Any:
    """Effects with their intervals, one line each, and the threshold's band behind them."""
    import altair as alt

    rows = [
        {
            "place": index,
            "label": visible(finding.feature, 24),
            "effect": finding.effect,
            "low": finding.interval.low if finding.interval else finding.effect,
            "high": finding.interval.high if finding.interval else finding.effect,
            "level": finding.level.value,
        }
        for index, finding in enumerate(findings)
    ]
    place = _place()
    base = alt.Chart(alt.Data(values=rows))
    x = alt.X("effect:Q", title=title, axis=_axis(alt), scale=alt.Scale(zero=True, nice=True))
    ink = alt.condition("datum.level == 'ok'", alt.value(MUTED), alt.value(SERVING))
    layers = [
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q", y=place, color=ink),
        base.mark_point(size=45, filled=True, opacity=1).encode(x=x, y=place, color=ink),
        _labels(base, place),
        alt.Chart(alt.Data(values=[{"at": 0}])).mark_rule(color=INK).encode(x="at:Q"),
    ]
    if threshold is not None:
        band = alt.Chart(alt.Data(values=[{"low": -threshold, "high": threshold}]))
        layers.insert(0, band.mark_rect(color=GRID, opacity=0.5).encode(x="low:Q", x2="high:Q"))
    return _finish(alt.layer(*layers), len(rows) * ROW_HEIGHT, labels=True)


def rates(findings: Sequence[Finding], title: str) -> Any:
    """Rates in training and in serving, joined by a line: one row for each feature."""
    import altair as alt

    rows = [
        {
            "place": index,
            "label": visible(finding.feature, 24),
            "training": finding.training or 0.0,
            "serving": finding.serving or 0.0,
        }
        for index, finding in enumerate(findings)
    ]
    place = _place()
    base = alt.Chart(alt.Data(values=rows))
    x = alt.X("training:Q", title=title, axis=_axis(alt), scale=alt.Scale(zero=True, nice=True))
    layers = [
        base.mark_rule(color=MUTED).encode(x=alt.X("training:Q"), x2="serving:Q", y=place),
        base.mark_point(size=60, color=TRAINING, filled=True, opacity=1).encode(x=x, y=place),
        base.mark_point(size=60, color=SERVING, filled=False, strokeWidth=2.5, opacity=1).encode(
            x="serving:Q", y=place
        ),
        _labels(base, place),
    ]
    return _finish(alt.layer(*layers), len(rows) * ROW_HEIGHT, labels=True)


def _numeric(summary: FeatureSummary, shown: Bars) -> Any:
    import altair as alt

    unit = f" ({visible(summary.unit, 20)})" if summary.unit else ""
    x = alt.X(
        "value:Q",
        title=f"{visible(summary.feature, 36)}{unit}",
        axis=_axis(alt),
        scale=alt.Scale(domain=[float(shown.edges[0]), float(shown.edges[-1])], nice=False),
    )
    y = alt.Y("share:Q", axis=None, stack=None)
    training = alt.Chart(alt.Data(values=_steps(shown.edges, shown.training)))
    layers = [
        training.mark_area(interpolate="step-after", color=TRAINING, opacity=0.45).encode(x=x, y=y),
    ]
    for steps, dash in _serving_steps(shown):
        line = alt.Chart(alt.Data(values=steps))
        layers.append(
            line.mark_line(
                interpolate="step-after", color=SERVING, strokeWidth=1.8, strokeDash=dash
            ).encode(x=x, y=y)
        )
    for numbers, color, dash in (
        (summary.training, TRAINING, [4, 3]),
        (summary.serving, SERVING, [1, 0]),
    ):
        mean = numbers.mean if numbers is not None else None
        if mean is not None and shown.edges[0] <= mean <= shown.edges[-1]:
            rule = alt.Chart(alt.Data(values=[{"value": mean}]))
            layers.append(rule.mark_rule(color=color, strokeDash=dash, strokeWidth=1.2).encode(x=x))
    return _finish(alt.layer(*layers), HEIGHT)


def _serving_steps(shown: Bars) -> list[tuple[list[dict[str, float]], list[int]]]:
    """Serving's outline in up to three parts with their dashes: dashed beyond training's range,
    where only the mass is known and drawn as if spread evenly."""
    steps = _steps(shown.edges, shown.serving)
    first = int(np.searchsorted(shown.edges, shown.known[0], side="right")) - 1
    last = int(np.searchsorted(shown.edges, shown.known[1], side="left"))
    first, last = max(first, 0), min(last, len(shown.serving))
    parts = [(steps[: first + 1], DASHED), (steps[first : last + 1], SOLID), (steps[last:], DASHED)]
    return [(part, dash) for part, dash in parts if len(part) > 1]


def _steps(edges: Any, shares: Any) -> list[dict[str, float]]:
    heights = [*(round(float(share), 6) for share in shares), 0.0]
    return [
        {"value": float(edge), "share": share} for edge, share in zip(edges, heights, strict=True)
    ]


def _category_rows(summary: FeatureSummary) -> list[dict[str, Any]]:
    totals = [
        max(1, sum(getattr(item, side) for item in summary.categories) + other)
        for side, other in zip(("training", "serving"), summary.categories_other, strict=True)
    ]
    rows = [
        {
            "label": visible(item.value, 18) + (" (new)" if item.new else ""),
            "training": item.training / totals[0],
            "serving": item.serving / totals[1],
        }
        for item in summary.categories
    ]
    changed = sorted(rows, key=lambda row: -abs(row["serving"] - row["training"]))[:CATEGORIES]
    changed.sort(key=lambda row: -max(row["serving"], row["training"]))
    return [{"place": place, **row} for place, row in enumerate(changed)]


def _categories(summary: FeatureSummary) -> Any:
    import altair as alt

    rows = _category_rows(summary)
    place = _place()
    base = alt.Chart(alt.Data(values=rows))
    largest = max((max(row["training"], row["serving"]) for row in rows), default=1.0)
    decimals = 0 if largest >= COARSE else 1 if largest >= COARSE / 10 else 2
    x = alt.X(
        "training:Q",
        title="share",
        axis=_axis(alt, f".{decimals}%"),
        scale=alt.Scale(zero=True, nice=True),
    )
    bar = {"height": 7, "cornerRadiusEnd": 1}
    layers = [
        base.mark_bar(color=TRAINING, yOffset=-4, opacity=0.55, **bar).encode(x=x, y=place),
        base.mark_bar(color=SERVING, yOffset=4, **bar).encode(x="serving:Q", y=place),
        _labels(base, place),
    ]
    return _finish(alt.layer(*layers), max(2, len(rows)) * ROW_HEIGHT, labels=True)


def _place() -> Any:
    import altair as alt

    return alt.Y("place:O", axis=None, sort="ascending", scale=alt.Scale(padding=0.1))


def _labels(base: Any, place: Any) -> Any:
    import altair as alt

    return base.mark_text(
        align="right", baseline="middle", fontSize=FONT_SIZE, limit=LABEL_WIDTH, color=INK, dx=-8
    ).encode(x=alt.value(0), y=place, text="label:N")


def _axis(alt: Any, number_format: str = "") -> Any:
    """The horizontal axis of every chart: few ticks, no frame, numbers as short as can be."""
    return alt.Axis(
        format=number_format or alt.Undefined, tickCount=5, grid=False,
        domainColor=GRID, tickColor=GRID,
        labelColor=MUTED, titleColor=MUTED, labelFontSize=FONT_SIZE, titleFontSize=FONT_SIZE,
        titleFontWeight="normal", labelFlush=True, labelOverlap=True,
    )  # fmt: skip


def _finish(chart: Any, height: int, *, labels: bool = False) -> Any:
    left = LABEL_WIDTH + 8 if labels else 4
    sized = chart.properties(
        width=WIDTH - left - RIGHT,
        height=height,
        padding={"left": left, "right": RIGHT, "top": 4, "bottom": AXIS_HEIGHT},
        autosize={"type": "none"},  # every chart is as wide as every other
    )
    # Without Vega's own descriptions: it writes titles (names of columns) into expressions for
    # them, where a backslash is obeyed. The page describes every chart itself.
    return sized.configure(aria=False).configure_view(stroke=None)
