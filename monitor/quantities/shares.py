"""Did the shares of bins, of categories, of hours or of character classes move?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trueup.monitor import effects, evidence
from trueup.monitor.cells import Cells, bin_groups, category_cells, reliable
from trueup.monitor.intervals import psi_interval, psi_null_quantile
from trueup.monitor.measured import FeaturePair, Limits, Measured
from trueup.monitor.quantities.moments import counted, scale_of
from trueup.monitor.words import number, percent
from trueup.records.input_spec import Kind, Role
from trueup.records.report import Level, Quantity


def shares(pair: FeaturePair, limits: Limits) -> list[Measured]:
    """The one shares finding of a feature, of whatever kind it is."""
    if pair.variable.kind is Kind.TIME:
        return hours(pair, limits)
    before, after = pair.training, pair.serving
    if before.numeric is not None and after.numeric is not None:
        return _numeric(pair, limits)
    if before.categories is not None and after.categories is not None:
        return _categories(pair, limits)
    if before.text is not None and after.text is not None:
        return _characters(pair, limits)
    return []


def hours(pair: FeaturePair, limits: Limits) -> list[Measured]:
    """Hours of the day (UTC) of a time. Of the time column itself at most worth a look: another
    stretch of time may well have other hours."""
    before, after = pair.training.hours, pair.serving.hours
    if before is None or after is None:
        return []
    found = _measured(pair, Cells(after, before), limits, 1.0, "hours of the day")
    if pair.variable.role is Role.TIME:
        found = [replace(one, ceiling=Level.WATCH) for one in found]
    return found


def distances(pair: FeaturePair) -> dict[str, float]:
    """All distances of a feature that are effects only: JSD, W₁/σ₀, KS, L∞, PSI."""
    before, after = pair.training, pair.serving
    result: dict[str, float] = {}
    if pair.variable.kind is Kind.TIME:
        return result
    if before.numeric is not None and after.numeric is not None and pair.edges.numeric is not None:
        q, p = after.numeric.counts, before.numeric.counts
        if not q.sum() or not p.sum():
            return {}
        edges = pair.edges.numeric
        old, new = counted(before.numeric, after.numeric)
        w1 = effects.wasserstein(q, p, edges.edges, edges.clip_low, edges.clip_high)
        result["Wasserstein/sd"] = w1 / scale_of(old, new)
        result["KS"] = effects.kolmogorov_smirnov(q, p)
        cells = bin_groups(q, p)
    elif before.categories is not None and after.categories is not None:
        cells = _category_cells(pair)
        if not cells.serving.sum() or not cells.training.sum():
            return {}
    else:
        return {}
    result["PSI"] = float(effects.psi(cells.serving, cells.training))
    result["Jensen-Shannon"] = effects.jensen_shannon(cells.serving, cells.training)
    result["L-infinity"] = effects.l_infinity(cells.serving, cells.training)
    return result


def _category_cells(pair: FeaturePair) -> Cells:
    before, after = pair.training.categories, pair.serving.categories
    assert before is not None and after is not None and pair.edges.categories is not None
    complete = pair.edges.categories.complete
    return category_cells(after.counts, before.counts, after.unseen, before.unseen, complete)


def _numeric(pair: FeaturePair, limits: Limits) -> list[Measured]:
    assert pair.training.numeric is not None and pair.serving.numeric is not None
    cells = bin_groups(pair.serving.numeric.counts, pair.training.numeric.counts)
    found = _measured(pair, cells, limits, pair.design, "distribution")
    return [replace(one, other_effects=distances(pair)) for one in found]


def _categories(pair: FeaturePair, limits: Limits) -> list[Measured]:
    cells = _category_cells(pair)
    found = _measured(pair, cells, limits, pair.design, "shares")
    if not found:
        return []
    q, p = effects.shares(cells.serving), effects.shares(cells.training)
    top = int(np.argmax(np.abs(q - p)))
    assert pair.edges.categories is not None
    label = cells.labels[top]
    name = "the rest" if label < 0 else f'"{pair.edges.categories.values[label]}"'
    words = f"; most of all {name}, {percent(p[top])} → {percent(q[top])}"
    return [replace(one, reason=one.reason + words, other_effects=distances(pair)) for one in found]


def _characters(pair: FeaturePair, limits: Limits) -> list[Measured]:
    """Character classes. The characters of one text may all be of one class, so that texts and
    not characters count as independent."""
    before, after = pair.training.text, pair.serving.text
    assert before is not None and after is not None
    total = int(before.classes.sum() + after.classes.sum())
    texts = max(pair.training.present + pair.serving.present, 1)
    kept = (before.classes + after.classes) > 0
    cells = Cells(after.classes[kept], before.classes[kept])
    return _measured(pair, cells, limits, max(1.0, total / texts), "character classes")


def _measured(
    pair: FeaturePair, cells: Cells, limits: Limits, design: float, what: str
) -> list[Measured]:
    n0, n = int(cells.training.sum()), int(cells.serving.sum())
    if min(n0, n) / design < limits.min_rows or not reliable(cells):
        return []
    effect = float(effects.psi(cells.serving, cells.training))
    test = evidence.shares_test(cells.serving, cells.training, design)
    low, high = psi_interval(cells.serving, cells.training, limits.confidence, design)
    null = psi_null_quantile(n / design, n0 / design, len(cells), limits.confidence)
    return [
        Measured(
            pair.name, Quantity.SHARES, effect, "PSI", "", n0, n, "chi-squared",
            f"{what} of {pair.name} moved by a PSI of {number(effect)} over {len(cells)} groups",
            p_value=float(test.p_value), statistic=float(test.statistic),
            null_quantile=null, freedom=len(cells) - 1, low=low, high=high,
            threshold=max(limits.psi, null), dead_band=limits.psi * limits.dead,
        )
    ]  # fmt: skip
