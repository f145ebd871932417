"""Bodies of one form as columns by Arrow's JSON parser, without a Python object per value.

A form is learnt from what :mod:`trueup.monitor.capture.json_rows` read; bodies of another form, and
values that do not fit, are left to it. What both read is the same (tests hold them to that).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.datasets.encoding import encodable
from trueup.datasets.times import parse_times
from trueup.monitor.capture.arrow_json import documents
from trueup.monitor.capture.row_schema import DEEPEST, TIME, nested, unnested
from trueup.monitor.capture.typed_values import narrowed

_B64 = pa.struct([("b64", pa.string())])

_LOOKED_AT = 256  # rows of a body from which its form is learnt


@dataclass
class Form:
    """How bodies of one kind were written so far.

    :param key: ``instances``, ``inputs``, ``predictions`` or ``outputs``.
    :param columnar: whether ``key`` holds columns and not rows.
    :param single: the column of bare values; ``None`` where rows are objects.
    :param wire: Arrow's type of each column as it is written.
    :param beside: likewise of other keys of the body.
    """

    key: str
    columnar: bool
    single: str | None
    wire: dict[str, pa.DataType]
    beside: dict[str, pa.DataType] = field(default_factory=dict)

    def schema(self) -> pa.Schema:
        if self.single is not None:
            kind = pa.list_(self.wire[self.single])
        elif self.columnar:
            kind = pa.struct([(name, pa.list_(wire)) for name, wire in self.wire.items()])
        else:
            kind = pa.list_(pa.struct(list(self.wire.items())))
        return pa.schema([(self.key, kind), *self.beside.items()])

    def widened(self, other: Form) -> Form:
        """With what ``other`` saw too; ``other`` itself where it is of another form."""
        if (self.key, self.columnar, self.single) != (other.key, other.columnar, other.single):
            return other
        return Form(
            self.key, self.columnar, self.single,
            _widened(self.wire, other.wire), _widened(self.beside, other.beside),
        )  # fmt: skip


def form_of(value: Any, single: str, targets: Mapping[str, pa.DataType]) -> Form | None:
    """The form of a parsed body; ``None`` where it has none that is read quickly.

    :param single: the column of bare values.
    :param targets: declared types by column; the others are taken as they are written.
    """
    if not isinstance(value, dict):
        return None
    keys = [key for key in ("instances", "inputs", "predictions", "outputs") if key in value]
    if len(keys) != 1:
        return None
    key, held = keys[0], value[keys[0]]
    beside = {name: _written([other]) for name, other in value.items() if name != key}
    columnar = isinstance(held, dict)
    bare: str | None = None
    if columnar:
        columns = {n: v[:_LOOKED_AT] if isinstance(v, list) else [] for n, v in held.items()}
    elif not isinstance(held, list) or not held:
        return None
    elif all(isinstance(row, dict) and "b64" not in row for row in held[:_LOOKED_AT]):
        rows = held[:_LOOKED_AT]
        names = dict.fromkeys(name for row in rows for name in row)
        names |= dict.fromkeys(targets)  # optional ones may come later
        columns = {name: [row.get(name) for row in rows] for name in names}
    else:
        bare, columns = single, {single: held[:_LOOKED_AT]}
    wire = {name: _wire(values, targets.get(name)) for name, values in columns.items()}
    if not wire or any(kind is None for kind in (*wire.values(), *beside.values())):
        return None
    if any(encodable(name) != name for name in (*wire, *beside)):
        return None
    return Form(key, columnar, bare, wire, beside)  # type: ignore[arg-type]  # no None is left


def quick_rows(
    texts: Sequence[bytes],
    counts: np.ndarray,
    form: Form,
    targets: Mapping[str, pa.DataType],
) -> dict[str, pa.Array] | None:
    """The columns of all rows of ``texts``; ``None`` unless each is of ``form`` and every value
    fits.

    :param counts: rows of each text as the server counted them.
    """
    found = documents(texts, form.schema())
    if found is None or not found.num_rows:
        return None
    held = found.column(form.key).chunk(0)
    if held.null_count:
        return None
    if form.single is not None:
        wires = _elements(held, counts, [form.single])
    elif form.columnar:
        parts = zip(form.wire, held.flatten(), strict=True)
        each = [_elements(part, counts, [name]) for name, part in parts]
        wires = None if None in each else {k: v for part in each for k, v in (part or {}).items()}
    else:
        wires = _elements(held, counts, list(form.wire))
    columns: dict[str, pa.Array] = {}
    for name, wire in (wires or {}).items():
        column = _as_declared(wire, targets.get(name))
        if column is None:
            return None
        columns[name] = column
    return columns or None


def _elements(lists: pa.Array, counts: np.ndarray, names: list[str]) -> dict[str, pa.Array] | None:
    """The elements of ``lists``, which must be as many as ``counts`` says; of structures each
    field."""
    if lists.null_count or not np.array_equal(pc.list_value_length(lists).to_numpy(), counts):
        return None
    flat = lists.flatten()
    if not pa.types.is_struct(flat.type) or flat.type == _B64:
        return {names[0]: flat}
    if flat.null_count:
        return None
    return dict(zip(names, flat.flatten(), strict=True))


def _as_declared(wire: pa.Array, target: pa.DataType | None) -> pa.Array | None:
    """``wire`` as ``target``; ``None`` where a value does not fit."""
    if target is None:
        return _unpacked(wire) if wire.type == _B64 else wire
    leaf, depth = unnested(target)
    if pa.types.is_null(wire.type):
        return pa.nulls(len(wire), target)
    while (have := unnested(wire.type)[1]) > depth and not depth:
        if not pc.all(pc.equal(pc.list_value_length(wire), 1)).as_py():
            return None
        if wire.null_count:
            return None
        wire = wire.flatten()
    if have != depth:
        return None
    return wire if wire.type == target else _inner(wire, depth, leaf)


def _inner(wire: pa.Array, depth: int, leaf: pa.DataType) -> pa.Array | None:
    """``wire`` with its leaves, ``depth`` lists deep, as ``leaf``."""
    if not depth:
        return _leaf(wire, leaf)
    inner = _inner(wire.values, depth - 1, leaf)
    if inner is None:
        return None
    return pa.Array.from_buffers(
        pa.list_(inner.type), len(wire), wire.buffers()[:2], offset=wire.offset, children=[inner]
    )


def _leaf(wire: pa.Array, leaf: pa.DataType) -> pa.Array | None:
    if pa.types.is_null(wire.type):
        return pa.nulls(len(wire), leaf)
    if wire.type == leaf:
        return wire
    if leaf == TIME and pa.types.is_string(wire.type):
        times, failed = parse_times(wire)
        return None if failed else times
    if pa.types.is_binary(leaf):
        return _unpacked(wire) if wire.type == _B64 else _encoded(wire)
    if wire.type != pa.float64():
        return None
    if leaf == pa.float32():
        return narrowed(wire, leaf)
    return wire if pa.types.is_integer(leaf) else None  # fractions where integers are declared


def _encoded(wire: pa.Array) -> pa.Array | None:
    return wire.cast(pa.binary()) if pa.types.is_string(wire.type) else None


def _unpacked(wire: pa.Array) -> pa.Array | None:
    texts = wire.field(0).to_pylist()
    valid = wire.is_valid().to_pylist()
    try:
        raw = [
            base64.b64decode(text, validate=True) if is_there else None
            for text, is_there in zip(texts, valid, strict=True)
        ]
    except (binascii.Error, ValueError, TypeError):
        return None
    return pa.array(raw, pa.binary())


def _wire(values: list[Any], target: pa.DataType | None) -> pa.DataType | None:
    """How ``values`` are written, as Arrow's parser has to be told it."""
    kind = _written(values)
    if kind is None:
        return None
    leaf, depth = unnested(kind)
    if depth > DEEPEST:
        return None
    if pa.types.is_struct(leaf) and (leaf != _B64 or (depth and target is None)):
        return None
    if target is None:
        return kind
    wanted, _ = unnested(target)
    if pa.types.is_null(leaf):
        written = pa.float64() if pa.types.is_floating(wanted) else wanted
        leaf = pa.string() if wanted == TIME or pa.types.is_binary(wanted) else written
    elif leaf == pa.int64() and (pa.types.is_floating(wanted) or wanted == pa.uint64()):
        leaf = pa.uint64() if wanted == pa.uint64() else pa.float64()
    return nested(leaf, depth)


def _written(values: list[Any]) -> pa.DataType | None:
    try:
        return pa.array(values).type
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return None


def _widened(
    before: dict[str, pa.DataType], after: dict[str, pa.DataType]
) -> dict[str, pa.DataType]:
    merged = dict(before)
    for name, kind in after.items():
        merged[name] = _wider(merged.get(name, pa.null()), kind)
    return merged


def _wider(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """Of both; the later one where nothing holds both."""
    (leaf_a, depth_a), (leaf_b, depth_b) = unnested(a), unnested(b)
    if pa.types.is_null(leaf_a) and depth_a <= depth_b:
        return b
    if pa.types.is_null(leaf_b) and depth_b <= depth_a:
        return a
    if depth_a == depth_b and {leaf_a, leaf_b} == {pa.int64(), pa.float64()}:
        return nested(pa.float64(), depth_a)
    return b
