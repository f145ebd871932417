"""Rows that were read one by one, collected and turned into columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from trueup.monitor.capture.json_rows import Rows, dumped
from trueup.monitor.capture.quick_rows import Form
from trueup.monitor.capture.row_schema import input_type
from trueup.monitor.capture.typed_values import inferred, typed
from trueup.records.input_spec import InputSpec, Role

UNNAMED_INPUT = "inputs"
"""Column of bare values of a model whose only input has no known name."""

MOST_UNDECLARED = 1000
"""Undeclared columns of one model in one segment; what lies beyond is kept as JSON only."""


@dataclass
class ModelColumns:
    """What is known of one model while a segment is read."""

    spec: InputSpec | None
    targets: dict[str, pa.DataType]
    single: str
    forms: dict[tuple[str, ...], Form] = field(default_factory=dict)
    undeclared: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, spec: InputSpec | None) -> ModelColumns:
        variables = spec.variables if spec is not None else ()
        features = [v.name for v in variables if v.role is Role.FEATURE]
        return cls(
            spec,
            {variable.name: input_type(variable) for variable in variables},
            features[0] if len(features) == 1 else UNNAMED_INPUT,
        )

    def admits(self, name: str) -> bool:
        """Whether there is a column for ``name``."""
        if name in self.targets or name in self.undeclared:
            return True
        if len(self.undeclared) >= MOST_UNDECLARED:
            return False
        self.undeclared.add(name)
        return True


class KeptRows:
    """Collects the rows of frames of one model."""

    def __init__(self, model: ModelColumns) -> None:
        self._model = model
        self._rows: list[dict[str, Any]] = []
        self._answers: list[dict[str, Any]] = []
        self._sources: list[tuple[int, Rows]] = []
        self._keys: set[tuple[str, ...]] = set()
        self._unread: list[int] = []
        self._raw: dict[int, str] = {}

    def add(self, rows: Rows, answers: Rows | None, *, refused: bool) -> int:
        """Rows of one body; how many there are. Of refused ones the JSON is kept, and a name that
        is not known makes no column."""
        first = len(self._rows)
        keep = refused
        for keys in {tuple(row) for row in rows.named} - self._keys:
            known = all(map(self._is_column if refused else self._model.admits, keys))
            if known and not refused:
                self._keys.add(keys)
            keep = keep or not known
        for row in range(len(rows.named)) if keep else rows.wrong:
            self._raw[first + row] = dumped(rows.original(row))
        self._unread.extend(first + row for row in rows.wrong)
        self._sources.append((first, rows))
        self._rows.extend(rows.named)
        self._add_answers(answers, len(rows.named))
        return len(rows.named)

    def add_unread(self, request: bytes, answers: Rows | None) -> int:
        """A body that cannot be told apart into rows: one row, or as many as were answered."""
        first, count = len(self._rows), max(1, len(answers.named) if answers is not None else 0)
        if request:
            self._raw[first] = request.decode("utf-8", "backslashreplace")
        self._unread.extend(range(first, first + count))
        self._rows.extend({} for _ in range(count))
        self._add_answers(answers, count)
        return count

    def _add_answers(self, answers: Rows | None, count: int) -> None:
        """Answers that are not one per row say nothing of any."""
        fit = answers is not None and len(answers.named) == count
        self._answers.extend(answers.named if answers is not None and fit else [{}] * count)

    def _is_column(self, name: str) -> bool:
        return name in self._model.targets or name in self._model.undeclared

    def arrays(self) -> dict[str, Any]:
        """What :class:`~trueup.monitor.capture.decode.Part` needs, by its names."""
        misfits: dict[int, list[str]] = {}
        inputs: dict[str, pa.Array] = {}
        for name in filter(self._is_column, _names(self._rows)):
            values = [row.get(name) for row in self._rows]
            target = self._model.targets.get(name)
            if target is None:
                inputs[name] = inferred(values)
                continue
            inputs[name], wrong = typed(values, target)
            if wrong is not None:
                for row in np.flatnonzero(wrong).tolist():
                    misfits.setdefault(row, []).append(name)
        self._keep_originals(misfits)
        readable = None
        if self._unread:
            readable = np.ones(len(self._rows), bool)
            readable[self._unread] = False
        outputs = {
            name: inferred([row.get(name) for row in self._answers])
            for name in _names(self._answers)
        }
        return {
            "inputs": inputs, "outputs": outputs, "readable": readable, "raw": self._raw,
            "misfits": misfits,
        }  # fmt: skip

    def _keep_originals(self, misfits: Iterable[int]) -> None:
        firsts = np.array([first for first, _ in self._sources])
        for row in misfits:
            if row not in self._raw:
                first, rows = self._sources[int(np.searchsorted(firsts, row, "right")) - 1]
                self._raw[row] = dumped(rows.original(row - first))


def _names(rows: list[dict[str, Any]]) -> dict[str, None]:
    """All keys, in the order in which they came."""
    return dict.fromkeys(name for keys in dict.fromkeys(map(tuple, rows)) for name in keys)
