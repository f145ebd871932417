"""Outputs of a model to the JSON of predict replies, for all requests of a batch at once.

Each output is written once for the whole batch and cut into the texts of its rows; a reply is
a join of them. Numbers have their own type's shortest digits.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import orjson

from trueup.serving.signature import Signature
from trueup.serving.tensors import Array, InvalidRequest

_NUMPY = orjson.OPT_SERIALIZE_NUMPY
# What orjson writes of its own accord; other floats are widened, the rest is refused.
_WRITTEN = frozenset(
    {"float32", "float64", "bool"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)
_WIDENED = frozenset({"float16", "bfloat16"})
_BYTES_SUFFIX = "_bytes"


class PreparedOutputs:
    """The outputs of one call of a model, ready to be written for each request of the batch."""

    def __init__(self, outputs: Mapping[str, Array], *, alone: bool, batched: bool) -> None:
        self._outputs = outputs
        self._alone = alone
        self._batched = batched

    def write(self, row_format: bool, start: int, stop: int) -> bytes:
        """The body of the reply to the request whose rows are ``start`` to ``stop``.

        :param row_format: ``{"predictions": […]}`` as against ``{"outputs": …}``.
        :raises InvalidRequest: in row format where outputs have no common batch dimension.
        """
        if row_format:
            texts = self._row_texts if self._alone else self._row_texts[start:stop]
            return b'{"predictions":[' + b",".join(texts) + b"]}"
        if len(self._outputs) == 1:
            (name,) = self._outputs
            return b'{"outputs":' + self._column(name, start, stop) + b"}"
        members = [
            orjson.dumps(name) + b":" + self._column(name, start, stop) for name in self._outputs
        ]
        return b'{"outputs":{' + b",".join(members) + b"}}"

    def _column(self, name: str, start: int, stop: int) -> bytes:
        texts = self._texts(name)
        if self._outputs[name].ndim == 0:
            return texts[0]
        whole = self._alone or not self._batched
        return b"[" + b",".join(texts if whole else texts[start:stop]) + b"]"

    @cached_property
    def _row_texts(self) -> list[bytes]:
        """The text of each row of the batch: a value, or an object of several outputs."""
        size: int | None = None
        for name, array in self._outputs.items():
            if array.ndim == 0:
                raise InvalidRequest(f"Tensor name: {name} has no shape information ")
            if size is not None and len(array) != size:
                raise InvalidRequest(
                    f"Tensor name: {name} has inconsistent batch size: {len(array)} "
                    f"expecting: {size}"
                )
            size = len(array)
        if len(self._outputs) == 1:
            return self._texts(next(iter(self._outputs)))
        columns = [self._texts(name) for name in self._outputs]
        names = [orjson.dumps(name).replace(b"%", b"%%") for name in self._outputs]
        template = b"{" + b",".join(name + b":%b" for name in names) + b"}"
        return [template % texts for texts in zip(*columns, strict=True)]

    def _texts(self, name: str) -> list[bytes]:
        found = self._written.get(name)
        if found is None:
            found = self._written[name] = _texts(name, self._outputs[name])
        return found

    @cached_property
    def _written(self) -> dict[str, list[bytes]]:
        return {}


def prepare_outputs(
    signature: Signature, outputs: Mapping[str, Array], slices: Sequence[tuple[int, int]]
) -> PreparedOutputs:
    """What :meth:`PreparedOutputs.write` writes for each of ``slices``.

    :param slices: of all requests of the call, as ``assemble`` gave them. A request that was
        alone gets all outputs whole, whatever their shape.
    :raises InvalidRequest: where an output of a shared call does not have one row for each row
        of the batch; each request is then to be run alone.
    """
    alone = len(slices) == 1
    rows = slices[-1][1]
    if not alone:
        for name, array in outputs.items():
            if array.ndim == 0 or len(array) != rows:
                raise InvalidRequest(
                    f"Tensor name: {name} has inconsistent batch size: "
                    f"{len(array) if array.ndim else 0} expecting: {rows}"
                )
    return PreparedOutputs(_in_order(signature, outputs), alone=alone, batched=signature.batchable)


def write_predictions(
    signature: Signature,
    row_format: bool,
    outputs: Mapping[str, Array],
    start: int,
    stop: int,
) -> bytes:
    """The reply to one request; for several of one call, :func:`prepare_outputs` is faster.

    Rows ``start`` to ``stop`` of outputs with a batch dimension, others whole.
    """
    prepared = PreparedOutputs(
        _in_order(signature, outputs), alone=False, batched=signature.batchable
    )
    return prepared.write(row_format, start, stop)


def _in_order(signature: Signature, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
    if not outputs:
        raise InvalidRequest("Cannot convert empty tensor map to JSON")
    if list(outputs) == list(signature.outputs):
        return outputs
    return {name: outputs[name] for name in signature.outputs if name in outputs}


def _texts(name: str, array: Array) -> list[bytes]:
    """The JSON text of each element along the first dimension; of a scalar, its own."""
    if array.ndim == 0:
        return _texts(name, array.reshape(1))
    if array.dtype.kind in "OSU":
        as_bytes = name.endswith(_BYTES_SUFFIX)
        write = _string_writer(as_bytes)
        if array.ndim == 1:
            return [write(value) for value in array.tolist()]
        return [_nested_text(row, write) for row in array.tolist()]
    kind = array.dtype.name
    if kind in _WIDENED:
        array = array.astype(np.float32)
    elif kind not in _WRITTEN:
        raise InvalidRequest(
            f"Tensor name: {name}: Failed to write JSON value for tensor type: {kind}"
        )
    if not array.size:  # the brackets of empty lists do not tell rows apart
        return [orjson.dumps(row) for row in array.tolist()]
    text = orjson.dumps(np.ascontiguousarray(array), option=_NUMPY)
    if array.dtype.kind == "f" and b"null" in text:
        text = _with_tokens(text, array)
    depth = array.ndim
    opened, closed = b"[" * (depth - 1), b"]" * (depth - 1)
    if depth == 1:
        return text[1:-1].split(b",")
    rows = text[depth:-depth].split(closed + b"," + opened)
    return [opened + row + closed for row in rows]


def _with_tokens(text: bytes, array: Array) -> bytes:
    """orjson writes ``null`` for each number that is not finite; they stand in the same order."""
    numbers = array[~np.isfinite(array)].tolist()
    pieces = text.split(b"null")
    written = [pieces[0]]
    for number, piece in zip(numbers, pieces[1:], strict=True):
        written.append(b"NaN" if number != number else b"Infinity" if number > 0 else b"-Infinity")
        written.append(piece)
    return b"".join(written)


def _nested_text(value: Any, write: Callable[[Any], bytes]) -> bytes:
    if type(value) is list:
        return b"[" + b",".join([_nested_text(item, write) for item in value]) + b"]"
    return write(value)


def _string_writer(as_bytes: bool) -> Callable[[Any], bytes]:
    return _base64_text if as_bytes else _string_text


def _string_text(value: bytes | str) -> bytes:
    try:
        return orjson.dumps(value if isinstance(value, str) else str(value, "utf-8"))
    except (UnicodeDecodeError, orjson.JSONEncodeError):
        return _base64_text(value)


def _base64_text(value: bytes | str) -> bytes:
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    return b'{"b64":"' + base64.b64encode(value) + b'"}'
