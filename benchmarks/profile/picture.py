"""The picture of the results: bars on a logarithmic scale, for light and dark pages."""

from __future__ import annotations

from typing import Any

_COLOURS = {
    "Trueup, frame: a window": "#2f9e6e",
    "Trueup, frame: a baseline": "#7cc7a6",
    "Trueup, file: a window": "#2b7fb8",
    "Trueup, file: a baseline": "#86b9dc",
    "TFDV": "#e08a2e",
    "whylogs": "#b3679b",
    "Evidently": "#8a8f98",
}
_DARK = "<style>@media (prefers-color-scheme: dark) {text {fill: #e6edf3}}</style>"
"""The page around it has the colour of the reader's system; so has the text."""


def svg(rates: list[dict[str, Any]]) -> str:
    """The picture of the rows ``rates`` of :func:`report.rates`; the same rows, the same bytes."""
    import altair as alt
    import vl_convert

    base = alt.Chart(alt.Data(values=rates)).encode(
        y=alt.Y("who:N", sort=list(_COLOURS), title=None, axis=alt.Axis(labelLimit=300)),
        x=alt.X(
            "rate:Q",
            scale=alt.Scale(type="log", domain=[0.1, 200]),
            title="millions of cells per second of one processor",
        ),
    )
    bars = base.mark_bar().encode(
        x2=alt.datum(0.1),
        color=alt.Color(
            "who:N",
            scale=alt.Scale(domain=list(_COLOURS), range=list(_COLOURS.values())),
            legend=None,
        ),
    )
    values = base.mark_text(align="left", dx=4).encode(text=alt.Text("rate:Q", format=".3~g"))
    chart = (
        alt.layer(bars, values)
        .properties(width=520)
        .facet(row=alt.Row("case:N", sort=_cases(rates), title=None, header=_HEADER))
        .resolve_scale(y="independent")
        .configure(background="transparent", font="sans-serif")
        .configure_view(stroke=None)
        .configure_axis(grid=False, domainColor="#8a8f98", tickColor="#8a8f98", titleFontWeight=400)
    )
    drawn = vl_convert.vegalite_to_svg(chart.to_dict())
    start = drawn.index(">", drawn.index("<svg")) + 1
    return f"{drawn[:start]}{_DARK}{drawn[start:]}\n"


_HEADER = {
    "labelAngle": 0, "labelAlign": "left", "labelAnchor": "start", "labelFontWeight": 600,
    "labelOrient": "top",
}  # fmt: skip


def _cases(rates: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["case"] for row in rates))
