"""Rows of training and serving that belong together (joined by key), value against value.

What a model saw in training and what it was served for the same key must be equal; where it is
not, the pattern of the differences names the cause. Batches are counted by :func:`row_skew` and
merge, so that a join of any size is counted in bounded memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trueup.monitor.intervals import wilson
from trueup.monitor.measured import Measured
from trueup.monitor.skew_patterns import Pattern, differences
from trueup.monitor.words import percent
from trueup.records.input_spec import Variable
from trueup.records.report import Cause, CauseKind, Level, Quantity

if TYPE_CHECKING:
    import pyarrow as pa

EXPLAINED = 0.9
"""Share of the differing rows that a pattern must cover to be named as the cause."""

EXAMPLES = 3
CONFIDENCE = 0.95
MAX_PATTERNS = 4096
"""Distinct patterns (such as fill values) that are counted; the rarest are dropped beyond."""

PREFERENCE = (
    CauseKind.TYPE_CHANGED, CauseKind.DTYPE, CauseKind.ROUNDING, CauseKind.TIME_ZONE,
    CauseKind.LETTER_CASE, CauseKind.TRUNCATION, CauseKind.UNIT, CauseKind.DEFAULT_FILL,
    CauseKind.MISSING_JUMP, CauseKind.STALE,
)  # fmt: skip
"""Of patterns that cover equally many rows the first is named; the narrower comes first."""


@dataclass(frozen=True)
class RowSkew:
    """How many joined rows differ in one variable, and by which patterns.

    :param rows: joined rows looked at. :param differing: rows that differ beyond the tolerance.
    :param patterns: rows that each pattern accounts for; one row may fit several.
    :param examples: a few differing pairs as text, training first.
    :param threshold: share of differing rows, in points, past which it is an alert.
    """

    feature: str
    rows: int
    differing: int
    patterns: Counter[Pattern] = field(default_factory=Counter)
    examples: tuple[tuple[str, str], ...] = ()
    threshold: float = 1.0

    def merge(self, other: RowSkew) -> RowSkew:
        """The counts of both batches of the same variable."""
        patterns = self.patterns + other.patterns
        if len(patterns) > MAX_PATTERNS:
            patterns = Counter(dict(patterns.most_common(MAX_PATTERNS)))
        return RowSkew(
            self.feature, self.rows + other.rows, self.differing + other.differing, patterns,
            (self.examples + other.examples)[:EXAMPLES], self.threshold,
        )  # fmt: skip

    @property
    def share(self) -> float:
        return self.differing / self.rows if self.rows else 0.0

    @property
    def pattern(self) -> Pattern | None:
        """The pattern that explains nearly all differing rows."""
        if not self.differing:
            return None
        able = [p for p, n in self.patterns.items() if n >= EXPLAINED * self.differing]
        return min(
            able, key=lambda p: (-self.patterns[p], PREFERENCE.index(p.kind), p.detail),
            default=None,
        )  # fmt: skip

    @property
    def level(self) -> Level:
        """*alert* when surely more than ``threshold`` points of the rows differ. What only the
        width of a float explains (one part in ten million) is worth a look, no more."""
        if not self.differing:
            return Level.OK
        pattern = self.pattern
        if pattern is not None and pattern.kind is CauseKind.DTYPE:
            return Level.WATCH
        low, _ = wilson(self.differing, self.rows, CONFIDENCE)
        return Level.ALERT if 100 * low > self.threshold else Level.WATCH

    @property
    def cause(self) -> Cause | None:
        pattern = self.pattern
        if pattern is None:
            return None
        covered = self.patterns[pattern] / self.differing
        return Cause(
            kind=pattern.kind,
            statement=f"{self.feature}: {pattern.statement} ({percent(covered)} of the differing "
            "rows)",
            remedy=f"make serving compute {self.feature} as training does",
            parameters={"detail": pattern.detail, "explained": covered},
        )

    def measured(self) -> Measured:
        """The finding's numbers; its level is a matter of counting."""
        low, high = wilson(self.differing, self.rows, CONFIDENCE) if self.rows else (0.0, 1.0)
        shown = "; ".join(f"{a} → {b}" for a, b in self.examples)
        reason = (
            f"{percent(self.share)} of {self.rows:,} joined rows have another {self.feature} in "
            f"serving than in training" + (f" (training → serving: {shown})" if shown else "")
            if self.differing
            else f"{self.feature} is equal in all {self.rows:,} joined rows"
        )
        return Measured(
            self.feature, Quantity.ROW_SKEW, 100 * self.share, "share of differing rows",
            "points", self.rows, self.rows, "joined rows", reason,
            low=100 * low, high=100 * high, threshold=self.threshold,
            training=0.0, serving=100 * self.share, value_unit="%",
        )  # fmt: skip


def row_skew(
    variable: Variable, training: pa.Array, serving: pa.Array,
    previous: pa.Array | None = None, threshold: float = 1.0,
) -> RowSkew:  # fmt: skip
    """Count the differences of one batch of joined rows.

    :param training, serving: the variable's value for the same key, equally long.
    :param previous: training's value of the same entity at the time before, if rows have times;
        a serving value that equals it is stale.
    :param threshold: of the settings' ``rate_points``.

    >>> import pyarrow as pa
    >>> variable = Variable(name="fare", dtype="float64", kind="numeric")
    >>> skew = row_skew(variable, pa.array([1.234, 5.678]), pa.array([1.23, 5.68]))
    >>> skew.differing, skew.pattern.statement
    (2, 'serving is rounded to 2 decimals')
    """
    found = differences(variable, training, serving, previous)
    return RowSkew(
        variable.name, len(training), found.differing, found.patterns, found.examples, threshold
    )
