"""Frames of a segment as tables of rows, per model: the columns of docs/capture.md.

Frames are read in blocks. In a block, those of one model, signature and form are parsed together by
Arrow; what is refused, or written otherwise, goes through Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from trueup.datasets.encoding import encodable
from trueup.monitor.capture.frame_block import BODY_CODES, KIND_CODES, FrameBlock, read_block
from trueup.monitor.capture.json_rows import (
    UNREAD,
    Rows,
    dumped,
    parse,
    request_rows,
    response_rows,
)
from trueup.monitor.capture.quick_rows import Form, form_of, quick_rows
from trueup.monitor.capture.row_schema import INPUT, OUTPUT, input_type
from trueup.monitor.capture.typed_values import inferred, typed
from trueup.records.capture import Body, FrameKind
from trueup.records.input_spec import InputSpec, Role

UNNAMED_INPUT, UNNAMED_OUTPUT = "inputs", "outputs"
"""Columns of bare values: a body with one input or output does not name it."""

MOST_UNDECLARED = 1000
"""Undeclared columns of one model in one segment; what lies beyond is kept as JSON only."""

_FEWEST = 256  # frames of another form among quick ones: fewer are not worth a second try
_REFUSED, _LABELS = KIND_CODES[FrameKind.REFUSED], KIND_CODES[FrameKind.LABELS]
_ROWS, _OMITTED = BODY_CODES[Body.ROWS], BODY_CODES[Body.OMITTED]

SpecOf = Callable[[str], InputSpec | None]


@dataclass
class Part:
    """Rows of frames of one model.

    :param block: the frames.
    :param counts: rows of each, int64, shape ``(frames,)``, at least 1.
    :param inputs, outputs: arrays by variable, each as long as there are rows.
    :param readable: of each row whether its inputs could be read; ``None`` where all could.
    :param raw: its JSON where it is kept, else ``None``. :param misfits: names by row.
    """

    model: str
    block: FrameBlock
    counts: np.ndarray
    inputs: dict[str, pa.Array]
    outputs: dict[str, pa.Array]
    readable: np.ndarray | None = None
    raw: dict[int, str] = field(default_factory=dict)
    misfits: dict[int, list[str]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return int(self.counts.sum())


@dataclass
class _Model:
    """What is known of one model while a segment is read."""

    spec: InputSpec | None
    targets: dict[str, pa.DataType]
    single: str
    forms: dict[tuple[str, ...], Form] = field(default_factory=dict)
    undeclared: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, spec: InputSpec | None) -> _Model:
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


class Decoder:
    """Decodes the blocks of one segment; what it learns of one helps with the next.

    :param spec_of: the InputSpec of a model, where it has one.
    """

    def __init__(self, spec_of: SpecOf) -> None:
        self._spec_of = spec_of
        self._models: dict[str, _Model] = {}
        self.unreadable_bytes = 0

    def decode(self, payloads: Sequence[bytes], first: int) -> Iterator[Part | FrameBlock]:
        """Rows by model, and the frames of labels as they are.

        :param first: index of the first of ``payloads`` in the segment.
        :raises FrameError: when newer software wrote one of them.
        """
        block = read_block(payloads, first)
        self.unreadable_bytes += block.unreadable
        labels = block.kind == _LABELS
        if labels.any():
            yield block.take(np.flatnonzero(labels))
            block = block.take(np.flatnonzero(~labels))
        if not len(block):
            return
        for (name, signature), places in _groups(block):
            model = self._models.get(name)
            if model is None:
                model = self._models[name] = _Model.of(self._spec_of(name))
            yield from _parts(name, signature, model, block.take(places))


def _groups(block: FrameBlock) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Places of the frames of each model and signature."""
    codes, names = np.zeros(len(block), np.int64), []
    for column in ("model", "signature"):
        encoded = block.column(column).dictionary_encode()
        names.append(encoded.dictionary.to_pylist())
        codes = codes * len(names[-1]) + encoded.indices.to_numpy()
    for code in np.unique(codes).tolist():
        model, signature = divmod(code, len(names[1]))
        yield (names[0][model], names[1][signature]), np.flatnonzero(codes == code)


def _parts(name: str, signature: str, model: _Model, block: FrameBlock) -> Iterator[Part]:
    """Rows of frames of one model and signature, first those that are read quickly."""
    ours = block.body == _ROWS
    answered = (block.kind != _REFUSED) & (block.body != _OMITTED)
    for chosen, form in ((answered & ~ours, "predict"), (answered & ours, "rows")):
        places = np.flatnonzero(chosen)
        if len(places):
            yield from _answered(name, (form, signature), model, block.take(places))
    rest = np.flatnonzero(~answered)
    if len(rest):
        yield _one_by_one(name, model, block.take(rest))


def _answered(name: str, kind: tuple[str, str], model: _Model, block: FrameBlock) -> Iterator[Part]:
    quick = _quick(name, kind, model, block)
    if quick is not None:
        yield quick
    elif len(block) > _FEWEST:  # one of them may be all that is different
        half = len(block) // 2
        yield from _answered(name, kind, model, block.take(np.arange(half)))
        yield from _answered(name, kind, model, block.take(np.arange(half, len(block))))
    else:
        yield _one_by_one(name, model, block)


def _quick(name: str, kind: tuple[str, str], model: _Model, block: FrameBlock) -> Part | None:
    """All of ``block`` by Arrow, or ``None``. Learns the form from the first body first."""
    counts = block.numbers("rows").astype(np.int64)
    if (counts < 1).any():
        return None
    wrapped = kind[0] == "rows"
    requests = [b'{"instances":%b}' % text for text in block.requests] if wrapped else None
    inputs = _columns(
        model, ("request", *kind), requests or block.requests, counts, model.single, model.targets
    )
    if inputs is None or not all(map(model.admits, inputs)):
        return None
    outputs = _outputs(model, kind, block, counts)
    return None if outputs is None else Part(name, block, counts, inputs, outputs)


def _outputs(
    model: _Model, kind: tuple[str, str], block: FrameBlock, counts: np.ndarray
) -> dict[str, pa.Array] | None:
    if not any(block.responses):
        return {}
    return _columns(model, ("response", *kind), block.responses, counts, UNNAMED_OUTPUT, {})


def _columns(
    model: _Model,
    side: tuple[str, ...],
    texts: list[bytes],
    counts: np.ndarray,
    single: str,
    targets: Mapping[str, pa.DataType],
) -> dict[str, pa.Array] | None:
    form = model.forms.get(side)
    if form is not None:
        found = quick_rows(texts, counts, form, targets)
        if found is not None:
            return found
    seen = form_of(parse(texts[0]), single, targets)
    if seen is None:
        return None
    widened = seen if form is None else form.widened(seen)
    if widened == form:
        return None
    model.forms[side] = widened
    return quick_rows(texts, counts, widened, targets)


def _one_by_one(name: str, model: _Model, block: FrameBlock) -> Part:
    """Through Python, which reads any form: misfits are named, and their JSON is kept."""
    kept = _Kept(model)
    counts = []
    refused, declared = block.kind == _REFUSED, block.numbers("rows").tolist()
    for place, (request, response) in enumerate(zip(block.requests, block.responses, strict=True)):
        parsed = UNREAD if block.body[place] == _OMITTED else parse(request)
        rows = None
        if parsed is not UNREAD:
            rows = request_rows(parsed, model.single, declared[place])
        if rows is None:
            answers = _answers(response, declared[place])
            count = max(1, answers.count if answers is not None else 0)
            kept.add_unread(request, count, answers)
            counts.append(count)
            continue
        kept.add(rows, _answers(response, rows.count), bool(refused[place]))
        counts.append(rows.count)
    return Part(name, block, np.array(counts, np.int64), **kept.arrays())


def _answers(response: bytes, rows: int) -> Rows | None:
    return response_rows(parse(response), UNNAMED_OUTPUT, rows) if response else None


class _Kept:
    """Rows collected by value, and turned into arrays."""

    def __init__(self, model: _Model) -> None:
        self._model = model
        self._inputs: dict[str, list[Any]] = {}
        self._outputs: dict[str, list[Any]] = {}
        self._rows = 0
        self._unread: list[int] = []
        self._raw: dict[int, str] = {}
        self._originals: list[tuple[int, Rows]] = []

    def add_unread(self, request: bytes, count: int, answers: Rows | None) -> None:
        if request:
            self._raw[self._rows] = request.decode("utf-8", "backslashreplace")
        self._unread.extend(range(self._rows, self._rows + count))
        self._end(count, answers)

    def add(self, rows: Rows, answers: Rows | None, refused: bool) -> None:
        model, first = self._model, self._rows
        keep_all = refused
        for name, values in rows.columns.items():
            known = name in model.targets or (refused and name in model.undeclared)
            if known or (not refused and model.admits(name)):
                _extend(self._inputs, name, first, values)
            else:
                keep_all = True
        self._originals.append((first, rows))
        for row in range(rows.count) if keep_all else rows.wrong:
            self._raw[first + row] = dumped(rows.original(row))
        self._unread.extend(first + row for row in rows.wrong)
        self._end(rows.count, answers)

    def _end(self, count: int, answers: Rows | None) -> None:
        if answers is not None and answers.count == count:
            for name, values in answers.columns.items():
                _extend(self._outputs, name, self._rows, values)
        self._rows += count

    def arrays(self) -> dict[str, Any]:
        """What :class:`Part` needs, by its names."""
        misfits: dict[int, list[str]] = {}
        inputs = {}
        for name, values in self._inputs.items():
            _pad(values, self._rows)
            target = self._model.targets.get(name)
            if target is None:
                inputs[name] = inferred(values)
                continue
            inputs[name], wrong = typed(values, target)
            if wrong is not None:
                for row in np.flatnonzero(wrong).tolist():
                    misfits.setdefault(row, []).append(name)
        for values in self._outputs.values():
            _pad(values, self._rows)
        self._keep_originals(misfits)
        readable = None
        if self._unread:
            readable = np.ones(self._rows, bool)
            readable[self._unread] = False
        return {
            "inputs": inputs,
            "outputs": {name: inferred(values) for name, values in self._outputs.items()},
            "readable": readable,
            "raw": self._raw,
            "misfits": misfits,
        }

    def _keep_originals(self, misfits: Mapping[int, list[str]]) -> None:
        firsts = np.array([first for first, _ in self._originals])
        for row in misfits:
            if row not in self._raw:
                first, rows = self._originals[int(np.searchsorted(firsts, row, "right")) - 1]
                self._raw[row] = dumped(rows.original(row - first))


def _extend(columns: dict[str, list[Any]], name: str, first: int, values: list[Any]) -> None:
    column = columns.setdefault(name, [])
    _pad(column, first)
    column.extend(values)


def _pad(column: list[Any], rows: int) -> None:
    column.extend([None] * (rows - len(column)))


def column_names(part: Part) -> Part:
    """``part`` with its arrays under the names of Parquet columns."""
    return replace(
        part,
        inputs={INPUT + encodable(name): array for name, array in part.inputs.items()},
        outputs={OUTPUT + encodable(name): array for name, array in part.outputs.items()},
    )
