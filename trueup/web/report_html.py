"""A report as one self-contained HTML page: no network, no outside font, a strict policy.

The page's Content-Security-Policy forbids everything but its own style and script, which it names
by their SHA-256; so even text that got past the escaping could not run. Charts are static SVG, and
the page reads the same without scripts: they only sort and filter the tables.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined

from trueup.records.report import Report
from trueup.web import numbers, words
from trueup.web.page import Drawn, draw, page
from trueup.web.text import visible

CHARTS = 48
"""Distributions that are drawn, in rank order; the numbers of all others are in the table."""


def report_html(
    report: Report, *, settings: Mapping[str, str] | None = None, charts: int = CHARTS
) -> str:
    """The page, as a string of UTF-8 text (some 200 kB for 20 features, under 20 MB for 5,000).

    :param settings: what the comparison was set to, name → value, for the page's foot.
    :param charts: how many features' distributions are drawn (40 ms each).
    """
    drawn: Drawn = draw(report, limit=charts)
    style, script = _asset("report.css"), _asset("report.js")
    return (
        _environment()
        .get_template("report.html")
        .render(
            page=page(report, drawn),
            report=report,
            settings=dict(settings or {}),
            style=style,
            script=script,
            style_hash=_sha256(style),
            script_hash=_sha256(script),
            embedded=_packed(report),
        )
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=numbers.number,
        moment=numbers.moment,
        number=numbers.number,
        visible=visible,
    )
    environment.globals.update(verdicts=words.VERDICTS, nbsp=numbers.NBSP)
    return environment


def _asset(name: str) -> str:
    return resources.files("trueup.web").joinpath("templates", name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _packed(report: Report) -> str:
    """The report's JSON, gzipped, in base64: nothing in it can end a script or start one."""
    raw = report.model_dump_json().encode("utf-8", "backslashreplace")
    return base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode()
