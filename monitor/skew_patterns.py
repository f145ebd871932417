"""The patterns by which joined values differ: rounding, unit, case, time zone, and so on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trueup.monitor.causes.unit import CONVERSIONS
from trueup.monitor.words import number
from trueup.records.input_spec import Kind, Variable
from trueup.records.report import CauseKind

if TYPE_CHECKING:
    import pyarrow as pa

TOLERANCE = {"float16": 1e-3, "float32": 1e-6}
"""Relative difference that the declared type itself brings."""

DOUBLE_TOLERANCE = 1e-9
CONVERSION_TOLERANCE = 2e-3
"""Relative: converted values may be rounded or converted by a rounded factor."""

MAX_DECIMALS = 8
ROUNDED_TO = {0: "whole numbers", -1: "tens", -2: "hundreds", -3: "thousands"}
QUARTER_HOUR_US = 900_000_000
EXAMPLES = 3


@dataclass(frozen=True)
class Pattern:
    """One way to differ.

    :param detail: tells patterns of one kind apart (decimals, factor, fill value, offset).
    """

    kind: CauseKind
    detail: str
    statement: str


@dataclass(frozen=True)
class Differences:
    """What a batch showed; see :class:`trueup.monitor.row_skew.RowSkew`."""

    differing: int = 0
    patterns: Counter[Pattern] = field(default_factory=Counter)
    examples: tuple[tuple[str, str], ...] = ()


def differences(
    variable: Variable, training: pa.Array, serving: pa.Array, previous: pa.Array | None
) -> Differences:
    """Count differing pairs and the patterns that they fit."""
    import pyarrow.types as types

    if len(training) != len(serving):
        raise ValueError(f"{len(training)} training values against {len(serving)} of serving")
    if types.is_timestamp(training.type) and types.is_timestamp(serving.type):
        return _times(training, serving, previous)
    if variable.kind is Kind.NUMERIC and not variable.multi_valued:
        numbers = [_numbers(side) for side in (training, serving)]
        if numbers[0] is not None and numbers[1] is not None:
            return _numeric(variable, numbers[0], numbers[1], _numbers(previous))
    return _objects(training, serving, previous)


def _numbers(values: pa.Array | None) -> np.ndarray | None:
    """float64 with NaN for null; ``None`` where the values are no numbers."""
    import pyarrow as pa
    import pyarrow.types as types

    if values is None:
        return None
    if types.is_boolean(values.type):
        values = values.cast(pa.int8())
    if types.is_string(values.type) or types.is_large_string(values.type):
        try:
            values = values.cast(pa.float64())
        except pa.ArrowInvalid:
            return None
    if not (types.is_integer(values.type) or types.is_floating(values.type)
            or types.is_null(values.type)):  # fmt: skip
        return None
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), float)


def _numeric(
    variable: Variable, old: np.ndarray, new: np.ndarray, previous: np.ndarray | None
) -> Differences:
    tolerance = TOLERANCE.get(variable.dtype, DOUBLE_TOLERANCE)
    differs = ~_close(old, new, tolerance)
    a, b = old[differs], new[differs]
    patterns: Counter[Pattern] = Counter()
    lost, filled = np.isnan(b), np.isnan(a)
    _count(patterns, CauseKind.MISSING_JUMP, "", "serving lacks the value", int(lost.sum()))
    for value, count in zip(*np.unique(b[filled & ~lost], return_counts=True), strict=True):
        shown = number(float(value))
        _count(patterns, CauseKind.DEFAULT_FILL, shown, f"missing values became {shown}",
               int(count))  # fmt: skip
    both = ~(lost | filled)
    x, y = a[both], b[both]
    _rounding(patterns, x, y)
    for conversion in CONVERSIONS:
        target = conversion.offset + conversion.factor * x
        near = _close(target, y, CONVERSION_TOLERANCE) & (x != 0)
        text = f"serving ≈ {number(conversion.factor)} × training"
        if conversion.offset:
            text += f" {'+' if conversion.offset > 0 else '−'} {number(abs(conversion.offset))}"
        _count(patterns, CauseKind.UNIT, conversion.name, f"{text} ({conversion.name})",
               int(near.sum()))  # fmt: skip
    if previous is not None:
        stale = _close(previous[differs], b, tolerance) & ~lost
        _stale(patterns, int(stale.sum()))
    pairs = zip(a[:EXAMPLES].tolist(), b[:EXAMPLES].tolist(), strict=True)
    return Differences(
        int(differs.sum()), patterns, tuple((_shown(x), _shown(y)) for x, y in pairs)
    )


def _close(a: np.ndarray, b: np.ndarray, relative: float) -> np.ndarray:
    """Equal within ``relative`` of the larger; NaN equals NaN, an infinity itself."""
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(a - b) <= relative * np.maximum(np.abs(a), np.abs(b))
    near &= np.isfinite(a) & np.isfinite(b)  # any share of an infinity is infinite
    return near | (a == b) | (np.isnan(a) & np.isnan(b))


def _rounding(patterns: Counter[Pattern], x: np.ndarray, y: np.ndarray) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = x.astype(np.float32).astype(float) == y
    _count(patterns, CauseKind.DTYPE, "float32", "serving is a 32-bit float", int(narrow.sum()))
    for decimals in range(min(ROUNDED_TO), MAX_DECIMALS + 1):
        near = _close(np.round(x, decimals), y, DOUBLE_TOLERANCE)
        cut = _close(np.trunc(x * 10.0**decimals) / 10.0**decimals, y, DOUBLE_TOLERANCE)
        to = ROUNDED_TO.get(decimals, f"{decimals} decimals")
        _count(patterns, CauseKind.ROUNDING, f"{decimals}", f"serving is rounded to {to}",
               int(near.sum()))  # fmt: skip
        _count(patterns, CauseKind.ROUNDING, f"{decimals} cut", f"serving is cut off to {to}",
               int(cut.sum()))  # fmt: skip


def _times(training: pa.Array, serving: pa.Array, previous: pa.Array | None) -> Differences:
    old, known0 = _microseconds(training)
    new, known = _microseconds(serving)
    differs = (known0 != known) | (known0 & known & (old != new))
    patterns: Counter[Pattern] = Counter()
    _count(patterns, CauseKind.MISSING_JUMP, "", "serving lacks the value",
           int((differs & ~known).sum()))  # fmt: skip
    both = differs & known & known0
    offsets, counts = np.unique((new - old)[both], return_counts=True)
    for offset, count in zip(offsets.tolist(), counts.tolist(), strict=True):
        if offset % QUARTER_HOUR_US == 0 and abs(offset) <= 56 * QUARTER_HOUR_US:
            hours = f"{offset / (4 * QUARTER_HOUR_US):+g} h"
            _count(patterns, CauseKind.TIME_ZONE, hours, f"serving is off by {hours}: another "
                   "time zone", count)  # fmt: skip
    if previous is not None:
        before, known_before = _microseconds(previous)
        _stale(patterns, int((differs & known & known_before & (before == new)).sum()))
    places = np.flatnonzero(differs)[:EXAMPLES].tolist()
    examples = tuple((str(training[i].as_py()), str(serving[i].as_py())) for i in places)
    return Differences(int(differs.sum()), patterns, examples)


def _microseconds(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """int64 microseconds since 1970 (UTC) with 0 for null, and which are not null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = np.asarray(pc.is_valid(values).to_numpy(zero_copy_only=False), dtype=bool)
    in_us = values.cast(pa.timestamp("us", tz=values.type.tz), safe=False).cast(pa.int64())
    return np.asarray(pc.fill_null(in_us, 0).to_numpy(zero_copy_only=False)), known


def _objects(training: pa.Array, serving: pa.Array, previous: pa.Array | None) -> Differences:
    """Strings, and whatever else is compared by equality; distinct pairs are looked at once."""
    old, new = (list(map(_hashable, side.to_pylist())) for side in (training, serving))
    before = list(map(_hashable, previous.to_pylist())) if previous is not None else None
    pairs: Counter[tuple[Any, Any]] = Counter()
    stale = 0
    for place, (a, b) in enumerate(zip(old, new, strict=True)):
        if a == b or a is b:
            continue
        pairs[a, b] += 1
        if before is not None and b is not None and b == before[place]:
            stale += 1
    patterns: Counter[Pattern] = Counter()
    for (a, b), count in pairs.items():
        pattern = _of_objects(a, b)
        if pattern is not None:
            patterns[pattern] += count
    _stale(patterns, stale)
    examples = tuple((_shown(a), _shown(b)) for a, b in list(pairs)[:EXAMPLES])
    return Differences(sum(pairs.values()), patterns, examples)


def _of_objects(a: Any, b: Any) -> Pattern | None:
    if b is None:
        return Pattern(CauseKind.MISSING_JUMP, "", "serving lacks the value")
    if a is None:
        shown = _shown(b)
        return Pattern(CauseKind.DEFAULT_FILL, shown, f"missing values became {shown}")
    if type(a) is not type(b):
        names = f"{type(a).__name__} → {type(b).__name__}"
        return Pattern(CauseKind.TYPE_CHANGED, names, f"the type changed ({names})")
    if not isinstance(a, str):
        return None
    if a.casefold() == b.casefold():
        return Pattern(CauseKind.LETTER_CASE, "", "serving differs in letter case alone")
    if a.strip() == b.strip():
        return Pattern(CauseKind.LETTER_CASE, "spaces", "serving differs in surrounding spaces "
                       "alone")  # fmt: skip
    if b and a.startswith(b):
        return Pattern(CauseKind.TRUNCATION, f"{len(b)}",
                       f"serving is cut off at {len(b)} characters")  # fmt: skip
    return None


_NAN = float("nan")


def _hashable(value: Any) -> Any:
    """Lists as tuples, and each NaN as one and the same object, by which it equals itself."""
    if isinstance(value, list):
        return tuple(_hashable(one) for one in value)
    return _NAN if value != value else value


def _stale(patterns: Counter[Pattern], count: int) -> None:
    _count(patterns, CauseKind.STALE, "", "serving has the entity's earlier value", count)


def _count(
    patterns: Counter[Pattern], kind: CauseKind, detail: str, statement: str, count: int
) -> None:
    if count:
        patterns[Pattern(kind, detail, statement)] += count


def _shown(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "missing"
    if isinstance(value, float):
        return f"{value:.10g}"
    return f'"{value}"' if isinstance(value, str) else str(value)
