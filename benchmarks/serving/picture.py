"""The picture of the results: bars on a logarithmic scale, for light and dark pages."""

from __future__ import annotations

from typing import Any

_COLOURS = {
    "Trueup, capture on": "#2f9e6e",
    "Trueup, capture off": "#7cc7a6",
    "ASGI echo": "#8a8f98",
    "BentoML": "#e08a2e",
    "FastAPI": "#b3679b",
}
_DARK = "<style>@media (prefers-color-scheme: dark) {text {fill: #e6edf3}}</style>"
"""The page around it has the colour of the reader's system; so has the text."""


def svg(rates: list[dict[str, Any]]) -> str:
    """The picture of the rows of :func:`report.rates`; the same rows, the same bytes."""
    import altair as alt
    import vl_convert

    base = alt.Chart(alt.Data(values=rates)).encode(
        y=alt.Y("who:N", sort=list(_COLOURS), title=None, axis=alt.Axis(labelLimit=300)),
        x=alt.X(
            "rate:Q",
            scale=alt.Scale(type="log", domain=[50, 60_000]),
            title="requests per second, one server process",
        ),
    )
    bars = base.mark_bar().encode(
        x2=alt.datum(50),
        color=alt.Color(
            "who:N",
            scale=alt.Scale(domain=list(_COLOURS), range=list(_COLOURS.values())),
            legend=None,
        ),
    )
    values = base.mark_text(align="left", dx=4).encode(text=alt.Text("rate:Q", format=",.0f"))
    header = {
        "labelAngle": 0, "labelAlign": "left", "labelAnchor": "start", "labelFontWeight": 600,
        "labelOrient": "top",
    }  # fmt: skip
    cases = list(dict.fromkeys(row["case"] for row in rates))
    chart = (
        alt.layer(bars, values)
        .properties(width=520)
        .facet(row=alt.Row("case:N", sort=cases, title=None, header=header))
        .resolve_scale(y="independent")
        # Readers' fonts are wider than the one that labels are measured by here.
        .properties(padding={"left": 32, "right": 8, "top": 8, "bottom": 8})
        .configure(background="transparent", font="sans-serif")
        .configure_view(stroke=None)
        .configure_axis(grid=False, domainColor="#8a8f98", tickColor="#8a8f98", titleFontWeight=400)
    )
    drawn = vl_convert.vegalite_to_svg(chart.to_dict())
    start = drawn.index(">", drawn.index("<svg")) + 1
    return f"{drawn[:start]}{_DARK}{drawn[start:]}\n"
