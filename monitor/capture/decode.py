"""Frames of a segment as tables of rows, per model: the columns of docs/capture.md.

Frames are read in blocks. In a block, those of one model, signature and form are parsed together by
Arrow; what is refused, or written otherwise, goes through Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from trueup.datasets.encoding import encodable
from trueup.frames.capture_codec import BODY_CODES, KIND_CODES
from trueup.monitor.capture.frame_block import FrameBlock
from trueup.monitor.capture.json_rows import UNREAD, parse, request_rows, response_rows
from trueup.monitor.capture.kept_rows import KeptRows, ModelColumns
from trueup.monitor.capture.quick_rows import form_of, quick_rows
from trueup.monitor.capture.row_schema import INPUT, OUTPUT
from trueup.records.capture import Body, FrameKind
from trueup.records.input_spec import InputSpec

UNNAMED_INPUT, UNNAMED_OUTPUT = "inputs", "outputs"
"""Columns of bare values: a body with one input or output does not name it."""

_PIECES, _FEWEST = 8, 256
# Into how many pieces a block is cut that is not read quickly as a whole, and how many frames are
# not worth another cut.
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


class Decoder:
    """Decodes the blocks of one segment; what it learns of one helps with the next.

    :param spec_of: the InputSpec of a model, where it has one.
    """

    def __init__(self, spec_of: SpecOf) -> None:
        self._spec_of = spec_of
        self._models: dict[str, ModelColumns] = {}

    def decode(self, block: FrameBlock) -> Iterator[Part]:
        """The rows of ``block``, by model; there are no frames of labels in it."""
        if not len(block):
            return
        for (name, signature), places in _groups(block):
            model = self._models.get(name)
            if model is None:
                model = self._models[name] = ModelColumns.of(self._spec_of(name))
            yield from _parts(name, signature, model, block.take(places))


def labels_apart(block: FrameBlock) -> tuple[FrameBlock, FrameBlock]:
    """The frames of ``block`` that hold rows, and those that hold labels."""
    labels = block.kind == _LABELS
    if not labels.any():
        return block, block.take(np.zeros(0, np.int64))
    return block.take(np.flatnonzero(~labels)), block.take(np.flatnonzero(labels))


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


def _parts(name: str, signature: str, model: ModelColumns, block: FrameBlock) -> Iterator[Part]:
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


def _answered(
    name: str, kind: tuple[str, str], model: ModelColumns, block: FrameBlock
) -> Iterator[Part]:
    quick = _quick(name, kind, model, block)
    if quick is not None:
        yield quick
    elif len(block) > _FEWEST:  # a few of them may be all that is different
        for places in np.array_split(np.arange(len(block)), _PIECES):
            yield from _answered(name, kind, model, block.take(places))
    else:
        yield _one_by_one(name, model, block)


def _quick(name: str, kind: tuple[str, str], model: ModelColumns, block: FrameBlock) -> Part | None:
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
    model: ModelColumns, kind: tuple[str, str], block: FrameBlock, counts: np.ndarray
) -> dict[str, pa.Array] | None:
    if not any(block.responses):
        return {}
    return _columns(model, ("response", *kind), block.responses, counts, UNNAMED_OUTPUT, {})


def _columns(
    model: ModelColumns,
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


def _one_by_one(name: str, model: ModelColumns, block: FrameBlock) -> Part:
    """Through Python, which reads any form: misfits are named, and their JSON is kept."""
    kept = KeptRows(model)
    counts = []
    refused, declared = (block.kind == _REFUSED).tolist(), block.numbers("rows").tolist()
    omitted = (block.body == _OMITTED).tolist()
    for place, (request, response) in enumerate(zip(block.requests, block.responses, strict=True)):
        parsed = UNREAD if omitted[place] else parse(request)
        rows = None
        if parsed is not UNREAD:
            rows = request_rows(parsed, model.single, declared[place])
        answers = None
        if response:
            count = declared[place] if rows is None else len(rows.named)
            answers = response_rows(parse(response), UNNAMED_OUTPUT, count)
        if rows is None:
            counts.append(kept.add_unread(request, answers))
        else:
            counts.append(kept.add(rows, answers, refused=refused[place]))
    return Part(name, block, np.array(counts, np.int64), **kept.arrays())


def column_names(part: Part) -> Part:
    """``part`` with its arrays under the names of Parquet columns."""
    return replace(
        part,
        inputs={INPUT + encodable(name): array for name, array in part.inputs.items()},
        outputs={OUTPUT + encodable(name): array for name, array in part.outputs.items()},
    )
