"""Missing values that were replaced by a default: a new atom of mass where missing fell."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from trueup.monitor.causes.diagnosis import TYPES, VALUES, Diagnosis
from trueup.monitor.measured import FeaturePair
from trueup.monitor.words import number, percent
from trueup.records.report import Cause, CauseKind, Quantity

AGREEMENT = 0.2
"""The new mass at the default must be that of the vanished missing values within this share."""

ERRORS = 4.0
"""… or within this many standard errors, where few rows make it uncertain."""

LEAST_SHARE = 0.7
"""However few the rows, this much of the vanished missing values must be found again."""


def default_fill(pair: FeaturePair) -> Diagnosis | None:
    """The value that took the place of missing ones, if the numbers agree."""
    before, after = pair.training, pair.serving
    if not before.rows or not after.rows:
        return None
    rate0, rate = before.missing / before.rows, after.missing / after.rows
    fallen = rate0 - rate
    error = math.sqrt(
        rate0 * (1 - rate0) / before.rows + (rate + fallen) * (1 - rate0) / after.rows
    )
    if fallen <= ERRORS * error / 2 or fallen <= 0:
        return None
    best: tuple[float, str, float] | None = None
    for shown, share0, share, uncertainty in _candidates(pair):
        jump = share - share0
        spread = math.hypot(error, uncertainty)
        off = abs(jump - fallen)
        if jump < LEAST_SHARE * fallen or off > max(AGREEMENT * fallen, ERRORS * spread):
            continue
        if best is None or off < best[0]:
            best = (off, shown, jump)
    if best is None:
        return None
    _, shown, jump = best
    return Diagnosis(
        Cause(
            kind=CauseKind.DEFAULT_FILL,
            statement=f"missing values of {pair.name} were replaced by {shown}: missing fell from "
            f"{percent(rate0)} to {percent(rate)} of the rows, and {shown} gained "
            f"{number(100 * jump)} points",
            remedy=f"send {pair.name} as missing again, as in training",
            parameters={"value": shown, "points": 100 * jump},
        ),
        VALUES | TYPES | {Quantity.MISSING},
    )


def _candidates(pair: FeaturePair) -> Iterator[tuple[str, float, float, float]]:
    """Value, its share of all rows in training and in serving, and that difference's error."""
    yield from _categories(pair)
    before, after, edges = pair.training.numeric, pair.serving.numeric, pair.edges.numeric
    if before is None or after is None or edges is None:
        return
    rows0, rows = pair.training.rows, pair.serving.rows
    yield "0", before.zeros / rows0, after.zeros / rows, 0.0
    for value in edges.atoms:
        place = int(np.searchsorted(edges.edges, value, side="right"))
        place = min(place, edges.bins)
        yield (
            number(value), float(before.counts[place]) / rows0,
            float(after.counts[place]) / rows, 0.0,
        )  # fmt: skip
    if not after.atoms.sampled:
        return
    for value, count in after.atoms.counts.items():
        share = count / after.atoms.sampled
        share0 = 0.0
        if before.atoms.sampled:
            share0 = before.atoms.counts.get(value, 0) / before.atoms.sampled
        elif before.raw.minimum <= value <= before.raw.maximum:
            continue  # statistics of others do not say how often training had it
        error = math.sqrt(share * (1 - share) / after.atoms.sampled)
        yield number(value), share0 * before.n / rows0, share * after.n / rows, error


def _categories(pair: FeaturePair) -> Iterator[tuple[str, float, float, float]]:
    before, after, edges = pair.training.categories, pair.serving.categories, pair.edges.categories
    if before is None or after is None or edges is None:
        return
    rows0, rows = pair.training.rows, pair.serving.rows
    for value, count0, count in zip(edges.values, before.counts, after.counts, strict=True):
        if count > count0 * rows / rows0:
            yield f'"{value}"', float(count0) / rows0, float(count) / rows, 0.0
    for value, count in after.unseen_items.items.items():
        yield f'"{value}"', 0.0, count / rows, after.unseen_items.error / rows
