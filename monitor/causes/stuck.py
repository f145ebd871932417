"""A value that no longer changes."""

from __future__ import annotations

import numpy as np

from trueup.monitor.causes.diagnosis import TYPES, VALUES, Diagnosis
from trueup.monitor.measured import FeaturePair
from trueup.monitor.words import percent, with_unit
from trueup.records.report import Cause, CauseKind

STUCK_SHARE = 0.99
"""From this share of one value on, the column is stuck, a few late rows notwithstanding."""

COMMON_SHARE = 0.5
"""A value that training has this often may well be the only one for a while (no rain in July):
that is a change worth reporting, but no proof of a fault."""

CHANCE = 1e-6
"""The probability of only this value in all serving rows must be less."""


def stuck(pair: FeaturePair) -> Diagnosis | None:
    """One value in serving where training varied."""
    top = _numeric_top(pair) or _category_top(pair)
    if top is None:
        return None
    shown, share, share0, n = top
    if share < STUCK_SHARE or share0 > COMMON_SHARE or share0 ** (share * n) > CHANCE:
        return None
    extent = "every value" if share >= 1.0 else f"{percent(share)} of the values"
    return Diagnosis(
        Cause(
            kind=CauseKind.STUCK,
            statement=f"{pair.name} is stuck: {extent} in serving {'is' if share >= 1 else 'are'} "
            f"{shown}, which is {percent(share0)} of training",
            remedy=f"look at where {pair.name} comes from: a sensor, a join or a cache that "
            "repeats its last value",
            parameters={"value": shown, "share": share, "training_share": share0},
        ),
        VALUES | TYPES,
    )


def _numeric_top(pair: FeaturePair) -> tuple[str, float, float, int] | None:
    before, after, edges = pair.training.numeric, pair.serving.numeric, pair.edges.numeric
    if before is None or after is None or edges is None or not after.n or not before.n:
        return None
    if before.raw.minimum == before.raw.maximum:
        return None
    if after.raw.minimum == after.raw.maximum:
        value, share = after.raw.minimum, 1.0
    elif after.atoms.sampled and after.atoms.counts:
        value = max(after.atoms.counts, key=lambda v: after.atoms.counts[v])
        share = min(after.atoms.counts[value] / after.atoms.sampled, 0.9999)
    else:
        return None
    place = int(np.searchsorted(edges.edges, value, side="right"))
    if value == edges.edges[-1]:
        place = edges.bins
    share0 = float(before.counts[place]) / before.n  # of its whole bin: at least its own
    return with_unit(value, pair.variable.unit), share, share0, after.n


def _category_top(pair: FeaturePair) -> tuple[str, float, float, int] | None:
    before, after, edges = pair.training.categories, pair.serving.categories, pair.edges.categories
    if before is None or after is None or edges is None or not after.n or not before.n:
        return None
    if before.n == before.counts.max(initial=0):
        return None
    counts = {v: int(c) for v, c in zip(edges.values, after.counts, strict=True) if c}
    counts.update(after.unseen_items.items)
    if not counts:
        return None
    value = max(counts, key=lambda v: counts[v])
    share0 = 0.0
    if value in edges.values:
        share0 = float(before.counts[edges.values.index(value)]) / before.n
    return f'"{value}"', counts[value] / after.n, share0, after.n
