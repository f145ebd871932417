"""Categories that are known ones in another spelling: letter case, spaces, truncation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from trueup.monitor.causes.diagnosis import Diagnosis
from trueup.monitor.effects import shares
from trueup.monitor.measured import FeaturePair
from trueup.monitor.words import percent, quoted
from trueup.profile.edges import NumericEdges
from trueup.profile.states import NumericState
from trueup.records.report import Cause, CauseKind, Quantity

MATCHED = 0.8
"""Share of the named unseen mass that must be a known value in another spelling."""

EXPLAINED = 0.3
"""After undoing the spelling, at most this share of the distance may be left, besides chance."""

EXPLAINS = frozenset({Quantity.UNSEEN, Quantity.SHARES, Quantity.OUT_OF_RANGE, Quantity.LENGTH})


def letter_case(pair: FeaturePair) -> Diagnosis | None:
    """Letter case or surrounding spaces changed: folding both makes the sides agree."""
    before, after, edges = pair.training.categories, pair.serving.categories, pair.edges.categories
    if before is None or after is None or edges is None or not before.n or not after.n:
        return None
    known: dict[str, list[str]] = {}
    for value in edges.values:
        known.setdefault(_folded(value), []).append(value)
    named = after.unseen_items.items
    variants = [value for value in named if _folded(value) in known]
    mass, all_named = sum(named[value] for value in variants), sum(named.values())
    respelled = _several(known) or (variants and mass >= MATCHED * all_named)
    if not respelled or not _folding_explains(pair, known, named):
        return None
    examples = sorted(variants, key=lambda value: -named[value]) or _several(known)
    spaces = variants and all(
        any(value.strip() == original.strip() for original in known[_folded(value)])
        for value in variants
    )
    what = "surrounding spaces" if spaces else "letter case"
    originals = [known[_folded(value)][0] for value in examples]
    return Diagnosis(
        Cause(
            kind=CauseKind.LETTER_CASE,
            statement=f"{what} of {pair.name} changed: {quoted(examples)} in serving, "
            f"{quoted(originals)} in training",
            remedy=f"send {pair.name} as it is spelled in the training data",
            parameters={"values": float(len(examples)), "example": examples[0],
                        "training": originals[0]},
        ),
        EXPLAINS,
    )  # fmt: skip


def _folded(value: str) -> str:
    return value.strip().casefold()


def _several(known: Mapping[str, list[str]]) -> list[str]:
    """Values that differ from another known one only in case or spaces."""
    return [value for values in known.values() if len(values) > 1 for value in values]


def _folding_explains(
    pair: FeaturePair, known: Mapping[str, list[str]], named: Mapping[str, int]
) -> bool:
    """Whether serving's shares agree with training's much better once both are folded.

    Unseen values beyond the named ones are taken to be like the named ones: when nearly all of
    those fold to known values, the rest is shared out over what is left to explain.
    """
    before, after, edges = pair.training.categories, pair.serving.categories, pair.edges.categories
    assert before is not None and after is not None and edges is not None
    place = {folded: index for index, folded in enumerate(known)}
    spelled = np.array([place[_folded(value)] for value in edges.values])
    cells = len(place) + 1
    p, q = np.zeros(cells), np.zeros(cells)
    np.add.at(p, spelled, before.counts)
    np.add.at(q, spelled, after.counts)
    p[-1] = before.unseen
    for value, count in named.items():
        q[place.get(_folded(value), cells - 1)] += count
    unnamed = max(0, after.unseen - sum(named.values()))
    lack = np.maximum(p / before.n * after.n - q, 0.0)
    lack[-1] = 0.0
    q += lack * min(1.0, unnamed / lack.sum()) if lack.sum() > 0 else 0.0
    q[-1] += max(0.0, unnamed - lack.sum())
    folded = float(np.abs(shares(p) - shares(q)).sum())
    plain0 = np.append(before.counts, before.unseen)
    plain = np.append(after.counts, after.unseen)
    distance = float(np.abs(shares(plain0) - shares(plain)).sum())
    chance = np.sqrt(shares(p) * (1 - shares(p)) * (1 / before.n + 1 / after.n)).sum()
    return distance > chance and folded <= EXPLAINED * distance + float(chance)


def truncation(pair: FeaturePair) -> Diagnosis | None:
    """Values cut off at one length: unseen prefixes of known ones, or texts that all end there."""
    return _cut_categories(pair) or _cut_texts(pair)


def _cut_categories(pair: FeaturePair) -> Diagnosis | None:
    after, edges = pair.serving.categories, pair.edges.categories
    if after is None or edges is None or not after.unseen_items.items:
        return None
    named = after.unseen_items.items
    cut = {value: _longer(value, edges.values) for value in named}
    matched = sum(count for value, count in named.items() if cut[value])
    if matched < MATCHED * sum(named.values()):
        return None
    values = [value for value in sorted(named, key=lambda v: -named[v]) if cut[value]]
    lengths = {len(value) for value in values}
    longest = max(lengths)
    kept = [v for v, c in zip(edges.values, after.counts, strict=True) if c]
    if any(len(value) > longest for value in kept) or (len(values) > 1 and len(lengths) > 1):
        return None
    originals = [cut[value][0] for value in values]
    share = after.unseen / max(after.n, 1)
    return _truncated(pair, longest, f"{quoted(values)} instead of {quoted(originals)}", share)


def _longer(value: str, known: Iterable[str]) -> list[str]:
    return [original for original in known if value and original != value
            and original.startswith(value)]  # fmt: skip


def _cut_texts(pair: FeaturePair) -> Diagnosis | None:
    """Lengths agree below the greatest length in serving, where all longer texts pile up."""
    before, after, edges = pair.training.lengths, pair.serving.lengths, pair.edges.lengths
    if before is None or after is None or edges is None or pair.variable.multi_valued:
        return None
    if not before.n or not after.n or after.raw.maximum >= before.raw.maximum:
        return None
    limit = after.raw.maximum
    at_limit = _share_from(after, edges, limit)
    longer = _share_from(before, edges, limit)
    if longer < 0.01 or abs(at_limit - longer) > 0.2 * longer:
        return None
    if limit in edges.atoms:
        own = float(before.counts[_bin_of(edges, limit) + 1]) / before.n
    else:
        own = longer - _share_from(before, edges, limit + 1)
    if own > 0.5 * longer:
        return None  # training had as many of just this length: nothing piled up
    if _unseen_share(pair) < MATCHED * (longer - own):
        return None  # what is there, training knows: longer categories went out of use
    return _truncated(pair, int(limit), f"no text is longer, {percent(longer)} of training's "
                      "were as long or longer", at_limit)  # fmt: skip


def _unseen_share(pair: FeaturePair) -> float:
    """Share of serving's values that training did not have, as what is cut off must be; 1 where
    values are not kept."""
    after = pair.serving.categories
    return after.unseen / after.n if after is not None and after.n else 1.0


def _share_from(state: NumericState, edges: NumericEdges, length: float) -> float:
    """Share of the lengths that are at least ``length``, by whole bins."""
    return float(state.counts[_bin_of(edges, length) + 1 :].sum()) / state.n


def _bin_of(edges: NumericEdges, length: float) -> int:
    """Index of the bin that holds ``length``; the number of bins where it is beyond them."""
    place = int(np.searchsorted(edges.edges, length, side="left"))
    place = min(place, edges.bins - 1) if length <= edges.edges[-1] else edges.bins
    if place < edges.bins and edges.edges[place] > length and place > 0:
        place -= 1
    return place


def _truncated(pair: FeaturePair, length: int, example: str, share: float) -> Diagnosis:
    return Diagnosis(
        Cause(
            kind=CauseKind.TRUNCATION,
            statement=f"{pair.name} is cut off at {length} characters: {example}",
            remedy=f"send {pair.name} at full length",
            parameters={"length": float(length), "share": share},
        ),
        EXPLAINS,
    )
