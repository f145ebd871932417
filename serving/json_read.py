"""The JSON of predict requests to columns, and columns of several requests to one batch.

The rules are TensorFlow Serving's (docs/http-api.md). Reading happens in the event loop and looks
at no value twice; values are checked by the lane, whole columns at a time (:func:`assemble`).
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from trueup.serving.input_shapes import completed_dims, dims_of, shape_misfit
from trueup.serving.json_text import parse_json as parse_json
from trueup.serving.row_limit import TooManyRows
from trueup.serving.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from trueup.serving.tensors import (
    REQUIRED,
    Array,
    Dims,
    Misfit,
    array_of,
    filled,
    is_base64_object,
    shape_text,
    shown,
)
from trueup.serving.tensors import InvalidRequest as InvalidRequest

_NOTHING: Mapping[str, Any] = {}
_ABSENT: Any = object()
_SCALAR: Dims = ()
_ANY = sys.maxsize


class Instances:
    """What one request asks for.

    :ivar row_format: ``instances`` (rows) as against ``inputs`` (columns).
    :ivar rows: instances; 1 where the tensors have no common batch dimension.
    :ivar key: requests with equal keys may be given to :func:`assemble` together. A request
        that must be alone has a key that equals no other.
    :ivar values: one tuple per row, one JSON value per input in the signature's order; ``None``
        where there is no batch dimension.
    :ivar whole: the JSON value of each input where there is no batch dimension.
    :ivar dims: shapes of the inputs: of a row, or with ``whole`` of the tensor.
    :ivar optional: what ``null`` stands for, by variable.
    """

    __slots__ = ("dims", "key", "optional", "row_format", "rows", "signature", "values", "whole")

    def __init__(
        self,
        signature: Signature,
        *,
        row_format: bool,
        rows: int,
        key: Hashable,
        values: list[tuple[Any, ...]] | None,
        whole: tuple[Any, ...] | None,
        dims: tuple[Dims, ...] | None,
        optional: Mapping[str, Any],
    ) -> None:
        self.signature = signature
        self.row_format = row_format
        self.rows = rows
        self.key = key
        self.values = values
        self.whole = whole
        self.dims = dims
        self.optional = optional


def read_predict(
    document: Any,
    signatures: Mapping[str, Signature],
    *,
    optional: Mapping[str, Any] = _NOTHING,
    max_rows: int = _ANY,
) -> Instances:
    """The instances of a predict request.

    :param document: what :func:`parse_json` gave.
    :param max_rows: that it may have; a row of optional variables alone is ``{}`` and three bytes,
        and as tensors a hundred times that.
    :param optional: variables that may be ``null`` or absent, and what the graph receives then.
    :raises InvalidRequest: for anything but a well-formed request; wrong *values* are found by
        :func:`assemble`.
    :raises TooManyRows: before anything is made of them.
    """
    if type(document) is not dict:
        raise InvalidRequest(f"JSON Value: {shown(document)} Is not object")
    signature = _signature(document, signatures)
    instances = document.get("instances", _ABSENT)
    inputs = document.get("inputs", _ABSENT)
    if instances is not _ABSENT:
        if inputs is not _ABSENT:
            raise InvalidRequest(
                f"JSON Value: {shown(document)} Not formatted correctly expecting only one of "
                "'inputs' or 'instances' keys to exist"
            )
        if type(instances) is list and len(instances) > max_rows:
            raise TooManyRows(len(instances), max_rows)
        return _read_instances(signature, instances, optional)
    if inputs is _ABSENT:
        raise InvalidRequest("Missing 'inputs' or 'instances' key")
    return _read_inputs(signature, inputs, optional, max_rows)


def assemble(
    signature: Signature, requests: Sequence[Instances]
) -> tuple[dict[str, Array], list[tuple[int, int]]]:
    """One batch of the rows of several requests.

    :param requests: of one ``key``, at least one.
    :return: the tensors by input, and each request's ``(start, stop)`` rows in them.
    :raises InvalidRequest: where a value does not fit; it is then to be called for each request
        alone, to find out whose it is.
    """
    first = requests[0]
    with np.errstate(over="ignore"):  # a float that is too large is infinite
        if first.whole is not None:
            return _whole_tensors(signature, first), [(0, first.rows)]
        slices, stop = [], 0
        for request in requests:
            start, stop = stop, stop + request.rows
            slices.append((start, stop))
        rows = first.values or []
        if len(requests) > 1:
            rows = list(chain.from_iterable([request.values or () for request in requests]))
        columns: Any = zip(*rows, strict=True) if rows else [()] * len(signature.specs)
        dims = first.dims or (_SCALAR,) * len(signature.specs)
        optional = first.optional
        arrays: dict[str, Array] = {}
        for spec, column, row_dims in zip(signature.specs, columns, dims, strict=True):
            try:
                missing = optional.get(spec.key, REQUIRED) if optional else REQUIRED
                arrays[spec.key] = array_of(spec, column, row_dims, missing)
            except Misfit as misfit:
                raise _failed(first, spec.key, misfit.row, misfit.reason) from None
    return arrays, slices


def _whole_tensors(signature: Signature, request: Instances) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for spec, value, dims in zip(
        signature.specs, request.whole or (), request.dims or (), strict=True
    ):
        missing = request.optional.get(spec.key, REQUIRED)
        try:
            arrays[spec.key] = array_of(spec, [value], dims, missing)[0:1].reshape(dims)
        except Misfit as misfit:
            raise _failed(request, spec.key, None, misfit.reason) from None
    return arrays


def _failed(request: Instances, key: str, row: int | None, reason: str) -> InvalidRequest:
    return _failed_as(request.row_format, key, row, reason)


def _failed_as(row_format: bool, key: str, row: int | None, reason: str) -> InvalidRequest:
    if row_format:
        where = f"element: {row} key: {key} of 'instances' list"
    else:
        where = f"named input: {key} of 'inputs'" + ("" if row is None else f" at element: {row}")
    return InvalidRequest(f"Failed to process {where}. Error: INVALID_ARGUMENT: {reason}")


def _signature(document: dict[str, Any], signatures: Mapping[str, Signature]) -> Signature:
    name = document.get("signature_name", DEFAULT_SIGNATURE)
    if type(name) is not str:
        raise InvalidRequest(
            f"JSON Value: {shown(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    signature = signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise InvalidRequest(
            f"Serving signature name: {shown(name or DEFAULT_SIGNATURE)} not found in signature def"
        )
    if not signature.inputs:
        raise InvalidRequest(f"Failed to get input map for signature: {signature.name}")
    return signature


def _is_object(value: Any) -> bool:
    return type(value) is dict and not is_base64_object(value)


def _read_instances(signature: Signature, instances: Any, optional: Mapping[str, Any]) -> Instances:
    if type(instances) is not list:
        raise InvalidRequest(
            f"JSON Value: {shown(instances)} Expecting 'instances' to be an list/array"
        )
    if not instances:
        raise InvalidRequest("JSON Value: [] No values in 'instances' array")
    if not _is_object(instances[0]):
        rows = _bare_rows(signature, instances)
    else:
        getter, width = signature.row_values, len(signature.names)
        try:
            rows = [getter(row) for row in instances]
            whole = set(map(len, instances)) == {width}
        except (KeyError, TypeError, IndexError):
            whole = False
        if not whole:
            rows = [
                _completed(signature, optional, place, row) for place, row in enumerate(instances)
            ]
    return _rows(signature, rows, optional, row_format=True)


def _bare_rows(signature: Signature, instances: list[Any]) -> list[tuple[Any, ...]]:
    if len(signature.names) > 1:
        raise InvalidRequest(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            f"required as per tensorinfo_map: {','.join(signature.names)}"
        )
    if dict in set(map(type, instances)):
        for place, row in enumerate(instances):
            if _is_object(row):
                raise InvalidRequest(
                    f"Expecting value/list but got object at item {place} of input list"
                )
    return list(zip(instances))


def _completed(
    signature: Signature, optional: Mapping[str, Any], place: int, row: Any
) -> tuple[Any, ...]:
    """The values of a row, ``None`` for an optional variable that is absent."""
    if not _is_object(row):
        raise InvalidRequest(f"Expecting object but got list at item {place} of input list")
    unknown = [name for name in row if name not in signature.inputs]
    if unknown:
        name = shown(unknown[0]).strip('"')
        raise _failed_as(True, name, place, f"JSON object: does not have named input: {name}")
    values = tuple([row.get(name, _ABSENT) for name in signature.names])
    if _ABSENT not in values:
        return values
    absent = [name for name, value in zip(signature.names, values, strict=True) if value is _ABSENT]
    required = [name for name in absent if name not in optional]
    if required:
        raise InvalidRequest(
            f"Failed to process element: {place} of 'instances' list. JSON object: {shown(row)} "
            f"keys must be equal to: {','.join(signature.names)}; missing: {','.join(required)}"
        )
    return tuple([None if value is _ABSENT else value for value in values])


def _rows(
    signature: Signature,
    rows: list[tuple[Any, ...]],
    optional: Mapping[str, Any],
    *,
    row_format: bool,
) -> Instances:
    dims: tuple[Dims, ...] | None = None
    if not signature.scalar_rows:
        dims = tuple(
            [
                _row_dims(spec, rows, place, optional, row_format=row_format)
                for place, spec in enumerate(signature.specs)
            ]
        )
    return Instances(
        signature,
        row_format=row_format,
        rows=len(rows),
        key=(signature.name, dims) if signature.batchable else object(),
        values=rows,
        whole=None,
        dims=dims,
        optional=optional,
    )


def _row_dims(
    spec: TensorSpec,
    rows: list[tuple[Any, ...]],
    place: int,
    optional: Mapping[str, Any],
    *,
    row_format: bool,
) -> Dims:
    """The shape of a variable's rows by its first; the others are compared in :func:`assemble`."""
    expected = spec.row_shape
    if spec.shape == ():
        raise InvalidRequest(_without_batch(spec))
    dims = _SCALAR
    if expected != () and rows:
        missing = optional.get(spec.key, REQUIRED)
        value = rows[0][place]
        if missing is not REQUIRED:
            value = next((row[place] for row in rows if row[place] is not None), None)
        dims = dims_of(value, expected, missing)
        reason = shape_misfit(spec, value, dims, expected)
        if reason:
            raise _failed_as(row_format, spec.key, 0, reason)
    elif not rows:
        dims = completed_dims((), expected)
    if spec.shape is not None and spec.shape[0] not in (None, len(rows)):
        raise InvalidRequest(
            f"Failed to process named input: {spec.key}. Error: INVALID_ARGUMENT: Expecting shape "
            f"{shape_text(spec.shape)} but got: {shape_text((len(rows), *dims))}"
        )
    return dims


def _without_batch(spec: TensorSpec) -> str:
    return (
        f"Failed to process named input: {spec.key}. Error: INVALID_ARGUMENT: Expecting shape [] "
        "but 'instances' add a batch dimension; use 'inputs'"
    )


def _read_inputs(
    signature: Signature, inputs: Any, optional: Mapping[str, Any], max_rows: int
) -> Instances:
    if _is_object(inputs):
        values = [inputs.get(name, _ABSENT) for name in signature.names]
    elif len(signature.names) > 1:
        raise InvalidRequest(
            "inputs is a plain value/list, but expecting an object as multiple input tensors "
            f"required as per tensorinfo_map: {','.join(signature.names)}"
        )
    else:
        values = [inputs]
    for place, (name, value) in enumerate(zip(signature.names, values, strict=True)):
        if value is _ABSENT:
            if name not in optional:
                raise InvalidRequest(f"Missing named input: {name} in 'inputs' object.")
            values[place] = None
    for spec, value in zip(signature.specs, values, strict=True):
        # A tensor without a batch dimension has no rows; its size is in its shape.
        has_batch = spec.shape is None or (spec.shape != () and spec.shape[0] is None)
        if has_batch and type(value) is list and len(value) > max_rows:
            raise TooManyRows(len(value), max_rows)
    if signature.batchable:
        return _read_columns(signature, values, optional)
    return _read_whole(signature, values, optional)


def _read_columns(
    signature: Signature, values: list[Any], optional: Mapping[str, Any]
) -> Instances:
    """Columns that all have a batch dimension: rows like any other."""
    sizes = {len(value) for value in values if type(value) is list}
    if len(sizes) != 1:
        return _read_whole(signature, values, optional)
    size = sizes.pop()
    for place, (spec, value) in enumerate(zip(signature.specs, values, strict=True)):
        if type(value) is list:
            continue
        if value is not None or spec.key not in optional:
            return _read_whole(signature, values, optional)
        values[place] = [None] * size
    return _rows(signature, list(zip(*values, strict=True)), optional, row_format=False)


def _read_whole(signature: Signature, values: list[Any], optional: Mapping[str, Any]) -> Instances:
    """Tensors as they are given, which go to the model alone."""
    sizes = [len(value) for value in values if type(value) is list]
    rows = sizes[0] if sizes else 1
    dims: list[Dims] = []
    for place, (spec, value) in enumerate(zip(signature.specs, values, strict=True)):
        missing = optional.get(spec.key, REQUIRED)
        if value is None and missing is not REQUIRED:
            shape = completed_dims((rows,) if spec.shape else (), spec.shape)
            values[place] = filled(shape, missing)
        else:
            shape = dims_of(value, spec.shape, missing)
        reason = shape_misfit(spec, value, shape, spec.shape)
        if reason:
            raise _failed_as(False, spec.key, None, reason)
        dims.append(shape)
    return Instances(
        signature,
        row_format=False,
        rows=rows,
        key=object(),
        values=None,
        whole=tuple(values),
        dims=tuple(dims),
        optional=optional,
    )
