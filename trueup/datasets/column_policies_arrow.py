"""Column policies on Arrow data: the baseline goes through what the capture goes through."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.config.serving import ColumnPolicy
from trueup.datasets.column_policies import (
    Change,
    ColumnPolicies,
    cut_bytes,
    truncated_kinds,
)
from trueup.datasets.columns import is_list
from trueup.records.input_spec import FLOAT_DTYPES

Columns = TypeVar("Columns", pa.RecordBatch, pa.Table)


def apply_to_batch(policies: ColumnPolicies, batch: Columns) -> Columns:
    """``batch`` (a record batch or a table) as the capture would hold it: dropped columns are gone,
    hashed ones are strings, truncated ones keep their type. Other columns stay as they are."""
    arrays, fields = [], []
    for place, field in enumerate(batch.schema):
        column = batch.column(place)
        if field.name in policies.changes:
            change = policies.changes[field.name]
            if change is None:
                continue
            column = _each_chunk(policies, field.name, change, column)
            field = pa.field(field.name, column.type)
        arrays.append(column)
        fields.append(field)
    return type(batch).from_arrays(arrays, schema=pa.schema(fields))


def _each_chunk(policies: ColumnPolicies, name: str, change: Change, column: Any) -> Any:
    policy = policies.policies[name]
    dtype = None if policies.spec is None else policies.spec[name].dtype

    def changed(array: Any) -> Any:
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if is_list(array.type):
            return _relist(array, changed(array.flatten()))
        if policy.policy == "hash":
            return _hashed(array, change)
        return _truncated(array, policy, dtype)

    if not isinstance(column, pa.ChunkedArray):
        return changed(column)
    empty = changed(pa.array([], column.type))
    return pa.chunked_array([changed(chunk) for chunk in column.chunks], type=empty.type)


def _relist(array: Any, elements: Any) -> Any:
    """Lists like those of ``array``, of other elements."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    absent = np.append(np.asarray(array.is_null()), False)
    return pa.ListArray.from_arrays(pa.array(offsets, mask=absent), elements)


def _hashed(array: Any, change: Change) -> Any:
    kind = array.type
    if pa.types.is_null(kind):
        return pa.nulls(len(array), pa.string())
    if pa.types.is_date(kind):
        array = array.cast(pa.timestamp("us"))
    if pa.types.is_timestamp(array.type):  # microseconds: what an ISO text is hashed as, too
        array = array.cast(pa.timestamp("us", array.type.tz), safe=False).cast(pa.int64())
    encoded = array.dictionary_encode()  # each value is hashed once
    values = pa.array([change(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return values.take(encoded.indices)


def _truncated(array: Any, policy: ColumnPolicy, dtype: str | None) -> Any:
    """As the rule for values: of a value of another type than the variable's, nothing is kept."""
    kind = array.type
    text, number = truncated_kinds(policy, dtype)
    if text and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return pc.utf8_slice_codeunits(array, 0, policy.length)
    if text and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        cut = [v if v is None else cut_bytes(v, policy.length) for v in array.to_pylist()]
        return pa.array(cut, kind)
    if number and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return _floored(array, policy.multiple, dtype)
    return pa.nulls(len(array), kind)


def _floored(array: Any, multiple: float, dtype: str | None) -> Any:
    """As :func:`trueup.datasets.column_policies.floor_to`, of a whole column."""
    kind = array.type
    absent = np.asarray(array.is_null())
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    if pa.types.is_integer(kind) and dtype not in FLOAT_DTYPES and not multiple % 1:
        whole = min(int(multiple), np.iinfo(values.dtype).max)
        return pa.array(values // whole * whole, kind, mask=absent)
    numbers = values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype in ("float32", "float16"):
            numbers = numbers.astype(dtype).astype(np.float64)
        quotients = numbers / multiple
        rounded = np.where(np.isfinite(quotients), np.floor(quotients) * multiple, numbers)
    target = kind if pa.types.is_floating(kind) else pa.float64()
    return pa.array(rounded, pa.float64(), mask=absent).cast(target, safe=False)
