"""The summary on a terminal: what matters first, short, and safe to print."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from trueup.records.report import Level, Report, Verdict
from trueup.web.terminal import MOST_FEATURES, print_report


def printed(report: Report, width: int = 80, **options: Any) -> str:
    out = io.StringIO()
    print_report(
        report,
        Console(file=out, width=width, highlight=False, markup=False, emoji=False, **options),
    )
    return out.getvalue()


def test_the_verdict_comes_first_and_causes_with_what_to_do(samples: Any) -> None:
    text = printed(samples.typical_report())
    lines = text.splitlines()
    assert lines[0].startswith("✕ FAULT")
    assert "kilometres instead of miles" in text
    assert "→ convert distance back to miles" in text
    assert text.index("temp") < text.index("dewp")
    assert "not compared: tailnum (4,043 distinct values in 4,044 rows)" in text


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_has_a_sign_that_needs_no_colour(samples: Any, verdict: Verdict) -> None:
    report = samples.typical_report().model_copy(update={"verdict": verdict})
    assert verdict.value.upper() in printed(report).splitlines()[0]


def test_no_escapes_without_a_terminal(samples: Any) -> None:
    assert "\x1b" not in printed(samples.typical_report())
    assert "\x1b" in printed(samples.typical_report(), force_terminal=True, color_system="standard")


def test_hostile_names_are_shown_and_not_obeyed(samples: Any) -> None:
    name = "[red]\x1b[2J\u202e:smile:"
    text = printed(
        samples.report((samples.finding(name, reason=name),), (samples.numeric_summary(name),))
    )
    assert "\x1b" not in text and "\u202e" not in text
    assert "[red]\\x1b[2J\\u202e:smile:" in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_lines_fit(samples: Any, width: int) -> None:
    assert max(map(len, printed(samples.typical_report(), width).splitlines())) <= width


def test_many_moved_columns_are_counted_and_not_listed(samples: Any) -> None:
    names = [f"f{i:03}" for i in range(200)]
    report = samples.report(
        tuple(samples.finding(n, rank=i + 1, reason=f"mean of {n} rose")
              for i, n in enumerate(names)),
        tuple(samples.numeric_summary(n, rank=i + 1) for i, n in enumerate(names)),
    )  # fmt: skip
    text = printed(report)
    assert f"{200 - MOST_FEATURES} more columns moved; --html or --json shows them all." in text
    assert len(text.splitlines()) <= 60


def test_nothing_moved(samples: Any) -> None:
    report = samples.report(
        (), (samples.numeric_summary("temp", level=Level.OK),), verdict=Verdict.OK,
        reasons=("none of 12 compared quantities moved by more than chance",),
    )  # fmt: skip
    text = printed(report)
    assert text.startswith("✓ OK  No action is needed.")
    assert "none of 12 compared quantities moved by more than chance" in text
    assert "1 columns compared: 1 ok." in text or "1 column compared: 1 ok." in text
