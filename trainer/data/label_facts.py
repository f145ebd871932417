"""What the label's values are, and what is to be predicted of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.config.training import TrainingSettings
from trueup.errors import DataError
from trueup.profile.arrow import code_counts, encoded, plain_values
from trueup.profile.canonical import spelled
from trueup.records.input_spec import FLOAT_DTYPES, INTEGER_DTYPES, Variable
from trueup.records.training import Target

MOST_CLASSES = 1000
"""With more different values a label is a number or a name, and no class."""

_FEW_SHOWN = 5


class LabelFacts:
    """Values of a label, counted one batch after the other; bounded, however many there are.

    :param positive_above: rows above it are counted as well.
    """

    def __init__(self, variable: Variable, positive_above: float | None = None) -> None:
        self.variable = variable
        self.rows = 0
        self.positive = 0
        self.counts: Counter[str] | None = Counter()
        """How often each value occurs; ``None`` where there are more than ``MOST_CLASSES``."""
        self.positive_above = positive_above

    def add(self, labels: pa.Array) -> None:
        """:param labels: as declared, without nulls."""
        self.rows += len(labels)
        if self.positive_above is not None and self.is_number:
            if pa.types.is_boolean(labels.type):
                labels = labels.cast(pa.uint8())
            above = plain_values(labels).astype(np.float64) > self.positive_above
            self.positive += int(above.sum())
        if self.counts is None or not len(labels):
            return
        if not self.counts and pc.count_distinct(labels).as_py() > MOST_CLASSES:
            self.counts = None
            return
        values, codes = encoded(labels)
        counts, _ = code_counts(codes, len(values))
        self.counts.update(
            {t: n for t, n in zip(spelled(values).to_pylist(), counts.tolist(), strict=True) if n}
        )
        if len(self.counts) > MOST_CLASSES:
            self.counts = None

    @property
    def is_number(self) -> bool:
        return self.variable.dtype in FLOAT_DTYPES | INTEGER_DTYPES | {"bool"}

    @property
    def classes(self) -> tuple[str, ...]:
        """The values in order: of numbers by size, else by their texts."""
        found = list(self.counts or ())
        if self.is_number and self.variable.dtype != "bool":
            return tuple(sorted(found, key=float))
        return tuple(sorted(found))


def target_of(facts: LabelFacts, settings: TrainingSettings, model: str) -> Target:
    """What is predicted, by what the configuration says and by what the values are.

    :raises DataError: when there is nothing to learn (one value, one class), or the values are not
        what the configuration takes them for.
    """
    label, task = facts.variable.name, settings.task
    key = f"[models.{model}.training]"
    if facts.variable.dtype == "timestamp":
        raise DataError(
            f"the label {label!r} of {model} is a time",
            remedy=f"name another one: {key} label",
        )
    if settings.positive_above is not None:
        if not facts.is_number:
            raise DataError(
                f"the label {label!r} of {model} is no number, so it is never above "
                f"{settings.positive_above:g}",
                remedy=f"take positive_above out of {key}",
            )
        target = Target(label=label, task="binary", positive_above=settings.positive_above)
        refuse_one_value(facts, target, f"the rows of {model}")
        return target
    if task == "auto":
        number = facts.is_number and facts.variable.dtype != "bool"
        two = len(facts.classes) == 2
        task = "binary" if two else "regression" if number else "multiclass"
    if task == "regression":
        if not facts.is_number:
            raise DataError(
                f"the label {label!r} of {model} is no number, so there is no regression of it",
                remedy=f"set task in {key} to multiclass, or correct the variable's dtype",
            )
        target = Target(label=label, task="regression")
    else:
        if facts.counts is None:
            raise DataError(
                f"the label {label!r} of {model} has more than {MOST_CLASSES:,} different values, "
                "too many for classes",
                remedy=f"choose another label, or set task in {key} to regression",
            )
        target = Target(label=label, task=task, classes=facts.classes)
    refuse_one_value(facts, target, f"the rows of {model}")
    if target.task == "binary" and len(target.classes) != 2:
        raise DataError(
            f"the label {label!r} of {model} has {len(target.classes)} different values "
            f"({_shown(target.classes)}), and binary takes two",
            remedy=f"set positive_above in {key}, or task to multiclass",
        )
    return target


def refuse_one_value(facts: LabelFacts, target: Target, where: str) -> None:
    """:raises DataError: all rows of ``where`` have one value, or are of one class."""
    label = target.label
    remedy = "bring rows of other outcomes, and check how labels are joined"
    if target.positive_above is not None:
        if facts.rows and facts.positive in (0, facts.rows):
            side = "above" if facts.positive else "at or below"
            raise DataError(
                f"the label {label!r} is {side} {target.positive_above:g} in all "
                f"{facts.rows:,} of {where}: they are of one class, and nothing can be learnt",
                remedy=f"choose another positive_above, or {remedy}",
            )
        return
    if facts.rows and facts.counts is not None and len(facts.counts) == 1:
        raise DataError(
            f"the label {label!r} is always {facts.classes[0]!r} in all {facts.rows:,} of {where}: "
            "nothing can be learnt",
            remedy=remedy,
        )


def _shown(classes: tuple[str, ...]) -> str:
    more = ", …" if len(classes) > _FEW_SHOWN else ""
    return ", ".join(classes[:_FEW_SHOWN]) + more
