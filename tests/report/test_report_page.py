"""The page in a real browser: nothing runs that must not, nothing is loaded, all of it is there."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from trueup.records.report import Level, Quantity, Report, Verdict
from trueup.web.report_html import report_html
from trueup.web.words import QUANTITIES

pytestmark = pytest.mark.heavy

PHONE = 360
WIDTHS = (PHONE, 768, 1200)

HOSTILE = (
    "<script>window.pwned = 1</script>",
    "\"><img src=x onerror='window.pwned = 1'>",
    "</style><style>*{display:none}</style>",
    "</script><script>window.pwned = 1</script>",
    "javascript:window.pwned=1",
    "{{ 7 * 7 }}{% raw %}",
    "datum['x'] = window.pwned = 1",
    "a\u202eb\u0000c\u2028d",
    "name]]><svg onload=window.pwned=1>",
    "&lt;b&gt; &amp; ' \"",
)

OVERFLOWING = """
(() => [...document.querySelectorAll("body *")].filter((e) => {
  const box = e.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1 && !e.closest(".scroll");
}).map((e) => e.outerHTML.slice(0, 120)))()
"""

LOW_CONTRAST = """
(() => {
  const channel = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length || e.closest(".hidden, script, style")) continue;
    const style = getComputedStyle(e);
    const ink = e.closest("svg") ? style.fill : style.color;
    if (!/^rgb/.test(ink)) continue;
    const [a, b] = [light(parse(ink)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(ratio.toFixed(2) + " " + e.outerHTML.slice(0, 100));
  }
  return low;
})()
"""  # noqa: E501


@pytest.fixture
def show(chromium: Any, tmp_path: Path):
    """Opens a report's page; gives the browser."""

    def open_page(report: Report, **how: Any) -> Any:
        path = tmp_path / "report.html"
        path.write_text(report_html(report), encoding="utf-8")
        chromium.open(path, **how)
        return chromium

    return open_page


def hostile_report(samples: Any) -> Report:
    findings, features = [], []
    for rank, text in enumerate(HOSTILE, start=1):
        findings.append(
            samples.finding(text, rank=rank, reason=f"mean of {text} rose", value_unit=text)
        )
        features.append(samples.numeric_summary(text, unit=text, rank=rank, seed=rank))
        findings.append(samples.finding(f"c{text}", Quantity.UNSEEN, rank=rank + 50, reason=text))
        features.append(samples.category_summary(f"c{text}", {text: (0, 70), "b": (50, 60)}))
    return samples.report(
        tuple(findings), tuple(features), reasons=HOSTILE, names=HOSTILE[:2], notes=HOSTILE
    )


def test_nothing_of_a_hostile_report_runs_or_is_loaded(show, samples: Any) -> None:
    page = show(hostile_report(samples))
    assert page.run("window.pwned") is None
    assert page.console == []
    assert len(page.requests) == 1  # the page itself
    assert page.run("document.querySelectorAll('img, iframe, object, embed, link').length") == 0
    assert page.run("document.scripts.length") == 1
    assert page.run("getComputedStyle(document.querySelector('h2')).display") == "block"
    text = page.run("document.body.innerText")
    assert "<script>window.pwned = 1</script>" in text
    assert "{{ 7 * 7 }}" in text
    assert "\\u202e" in text and "\u202e" not in text


def test_the_policy_stops_what_would_get_through(show, samples: Any) -> None:
    """Were escaping ever forgotten, the browser itself would refuse to run it."""
    page = show(samples.typical_report())
    page.run(
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'window.pwned = 1'}))"
    )
    page.run("fetch('http://127.0.0.1:9/').catch(() => 0)")
    assert page.run("window.pwned") is None
    assert any("Content Security Policy" in words for words in page.console), page.console


@pytest.mark.parametrize("width", WIDTHS)
def test_no_width_needs_sideways_scrolling(show, samples: Any, width: int) -> None:
    for report in (samples.typical_report(), hostile_report(samples), long_names(samples)):
        page = show(report, width=width)
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run(OVERFLOWING) == []


def long_names(samples: Any) -> Report:
    name = "a_very_long_name_of_a_column_" * 8
    return samples.report(
        (samples.finding(name, reason=f"mean of {name} rose"),), (samples.numeric_summary(name),)
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_has_contrast(show, samples: Any, dark: bool) -> None:
    for verdict in Verdict:
        report = samples.typical_report().model_copy(update={"verdict": verdict})
        assert show(report, dark=dark).run(LOW_CONTRAST) == []


def test_every_finding_and_column_is_on_the_page(show, samples: Any) -> None:
    report = samples.typical_report()
    page = show(report)
    rows = page.run(
        "[...document.querySelectorAll('#table-findings tbody tr')]"
        ".map(r => [...r.cells].map(c => c.textContent))"
    )
    assert len(rows) == len(report.findings)
    for finding, cells in zip(report.findings, rows, strict=True):
        assert cells[0] == finding.feature
        assert cells[2] == QUANTITIES[finding.quantity]
        assert cells[3] == finding.level.value
    text = page.run("document.body.innerText")
    for summary in report.features:
        assert summary.feature in text
    for cause in (f.cause for f in report.findings if f.cause):
        assert cause.statement in text
        assert cause.remedy in text


def test_readers_of_any_kind_find_their_way(show, samples: Any) -> None:
    page = show(samples.typical_report())
    assert page.run("document.documentElement.lang") == "en"
    levels = page.run("[...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.run(
        "[...document.querySelectorAll('svg')].every(s => s.getAttribute('aria-label'))"
    )
    assert page.run("[...document.querySelectorAll('table')].every(t => t.caption)")
    assert page.run("[...document.querySelectorAll('thead th')].every(t => t.scope === 'col')")
    assert page.run(
        "[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))"
    )


def test_tables_sort_and_filter(show, samples: Any) -> None:
    page = show(samples.typical_report())
    first = "document.querySelector('#table-numbers tbody tr:not([hidden]) th').textContent"
    page.run("document.querySelector('#table-numbers thead th button').click()")
    assert page.run(first) == "carrier"
    page.run("document.querySelector('#table-numbers thead th button').click()")
    assert page.run(first) == "temp"
    page.run(
        "(() => { const box = document.querySelector('[data-table=table-numbers] input');"
        " box.value = 'humid'; box.dispatchEvent(new Event('input')); })()"
    )
    shown = "document.querySelectorAll('#table-numbers tbody tr:not([hidden])').length"
    assert page.run(shown) == 1


def test_the_report_can_be_taken_from_the_page(show, samples: Any) -> None:
    report = samples.typical_report()
    page = show(report)
    text = page.run(
        "(async () => { const link = document.getElementById('download');"
        " const packed = Uint8Array.from(atob(link.href.split(',')[1]), c => c.charCodeAt(0));"
        " const plain = new Blob([packed]).stream()"
        ".pipeThrough(new DecompressionStream('gzip'));"
        " return await new Response(plain).text(); })()"
    )
    assert Report.model_validate_json(text) == report


def test_states_without_anything_to_show(show, samples: Any) -> None:
    nothing = samples.report((), (), verdict=Verdict.OK, reasons=("nothing moved",))
    page = show(nothing, width=PHONE)
    assert "Nothing moved." in page.run("document.body.innerText")
    assert page.run("document.documentElement.scrollWidth") <= PHONE
    one_sided = samples.numeric_summary("temp").model_copy(
        update={"serving": None, "histogram": None}
    )
    gone = samples.finding("temp", Quantity.PRESENCE, training=1.0, serving=0.0, reason="gone")
    text = show(samples.report((gone,), (one_sided,))).run("document.body.innerText")
    assert "gone" in text


def test_five_hundred_columns_stay_readable(show, samples: Any) -> None:
    features = tuple(
        samples.numeric_summary(f"f{i:03}", rank=i + 1, seed=i % 7) for i in range(500)
    )
    findings = tuple(
        samples.finding(f"f{i:03}", rank=i + 1, level=Level.ALERT if i < 90 else Level.OK)
        for i in range(500)
    )
    report = samples.report(findings, features)
    assert len(report_html(report).encode()) < 5_000_000
    page = show(report, width=PHONE)
    assert page.run("document.documentElement.scrollWidth") <= PHONE
    assert page.run("document.querySelectorAll('.card').length") <= 20
    assert "more columns moved" in page.run("document.body.innerText")
    assert page.run("document.querySelectorAll('#table-numbers tbody tr').length") == 500
