"""Columns of a data set as the InputSpec declares them: what training reads, and the gate.

Values that can be read as declared are (a number in a text of CSV, ``5.0`` for the integer 5);
those that cannot are missing, and counted. Sentinels and empty strings that stand for missing stay
as they are: clients send them, and the graph knows what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.datasets.columns import TIME, coerce, is_list, list_of
from trueup.profile.arrow import encoded, is_bytes, is_text, plain_values, validity
from trueup.profile.canonical import parse_numbers, spelled
from trueup.profile.lists import as_scalars
from trueup.records.input_spec import FLOAT_DTYPES, INTEGER_DTYPES, InputSpec, Variable
from trueup.trainer.data.event_times import microseconds_of

_WHOLE_BELOW = 2.0**63
_TRUTH = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


@dataclass(frozen=True)
class Declared:
    """One batch as declared.

    :param columns: by variable; of the types of :func:`declared_type`.
    :param misfits: values that could not be read as declared, by variable (only where there are).
    """

    rows: int
    columns: Mapping[str, pa.Array]
    misfits: Mapping[str, int]


def element_type(variable: Variable) -> pa.DataType:
    """The type of one value."""
    if variable.dtype in FLOAT_DTYPES:
        return pa.float64() if variable.dtype == "float64" else pa.float32()
    if variable.dtype == "uint64":
        return pa.uint64()
    if variable.dtype in INTEGER_DTYPES:
        return pa.int64()
    return {"bool": pa.bool_(), "bytes": pa.binary(), "timestamp": TIME}.get(
        variable.dtype, pa.string()
    )


def declared_type(variable: Variable) -> pa.DataType:
    """The type of one row: a value, or a list of values.

    >>> declared_type(Variable(name="x", dtype="int32", kind="numeric", shape=(-1,)))
    ListType(list<item: int64>)
    """
    element = element_type(variable)
    return pa.list_(element) if variable.multi_valued else element


def declared_schema(spec: InputSpec) -> pa.Schema:
    return pa.schema([pa.field(v.name, declared_type(v)) for v in spec.variables])


def declared(batch: pa.RecordBatch, spec: InputSpec) -> Declared:
    """``batch`` as ``spec`` declares it; a variable that it lacks is all missing."""
    places = {name: place for place, name in enumerate(batch.schema.names)}
    columns, misfits = {}, {}
    for variable in spec.variables:
        if variable.name in places:
            array, failed = declared_array(batch.column(places[variable.name]), variable)
        else:
            array, failed = pa.nulls(batch.num_rows, declared_type(variable)), 0
        columns[variable.name] = array
        if failed:
            misfits[variable.name] = failed
    return Declared(batch.num_rows, columns, misfits)


def declared_array(array: pa.Array, variable: Variable) -> tuple[pa.Array, int]:
    """``array`` as ``variable``, and how many of its values could not be read so.

    >>> number = Variable(name="x", dtype="int64", kind="numeric")
    >>> found, failed = declared_array(pa.array(["1", "2.0", "x", None]), number)
    >>> found.to_pylist(), failed
    ([1, 2, None, None], 1)
    """
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), declared_type(variable)), 0
    if variable.multi_valued:
        return _lists(array, variable)
    if is_list(array.type):
        array, failed = as_scalars(array)
        found, more = _values(array, variable)
        return found, more + int(failed)
    return _values(array, variable)


def _lists(array: pa.Array, variable: Variable) -> tuple[pa.Array, int]:
    """Elements that are missing: NaN among floats, which keep their place; else left out."""
    if not is_list(array.type):
        array = coerce(array, pa.list_(array.type))
    lengths, (values, failed) = pc.list_value_length(array), _values(array.flatten(), variable)
    if pa.types.is_floating(values.type):
        values = values.fill_null(float("nan")) if values.null_count else values
    elif values.null_count:
        filled = pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)
        ends = np.concatenate(([0], np.cumsum(filled, dtype=np.int64)))
        there: np.ndarray = np.concatenate(([0], np.cumsum(_valid(values), dtype=np.int64)))
        mask = lengths.is_null().to_numpy(zero_copy_only=False)
        lengths = pa.array(there[ends[1:]] - there[ends[:-1]], mask=mask)
        values = values.drop_null()
    return list_of(lengths, values), failed


def _values(array: pa.Array, variable: Variable) -> tuple[pa.Array, int]:
    target = element_type(variable)
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target), 0
    if pa.types.is_timestamp(target):
        return _times(array, variable)
    if pa.types.is_string(target) or pa.types.is_binary(target):
        return _texts(array, target), 0
    if array.type == target and not pa.types.is_floating(target):
        return array, 0
    numbers, valid, failed = _numbers(array, variable)
    if pa.types.is_floating(target):
        if variable.missing.nan:
            valid = valid & ~np.isnan(numbers)
        kind = np.float32 if pa.types.is_float32(target) else np.float64
        with np.errstate(over="ignore"):
            return _array(numbers.astype(kind, copy=False), valid), failed
    if pa.types.is_boolean(target):
        fits = (numbers == 0.0) | (numbers == 1.0)
        return _array(numbers == 1.0, valid & fits), failed + int((valid & ~fits).sum())
    return _integers(numbers, valid, failed, target)


def _integers(
    numbers: np.ndarray, valid: np.ndarray, failed: int, target: pa.DataType
) -> tuple[pa.Array, int]:
    unsigned = pa.types.is_uint64(target)
    if numbers.dtype.kind == "f":
        valid = valid & ~np.isnan(numbers)  # an integer column with gaps, as pandas has it
        low, high = (0.0, 2 * _WHOLE_BELOW) if unsigned else (-_WHOLE_BELOW, _WHOLE_BELOW)
        fits = (np.rint(numbers) == numbers) & (numbers >= low) & (numbers < high)
        numbers = np.where(fits, numbers, 0.0)
    elif numbers.dtype == np.uint64:
        fits = np.ones(len(numbers), bool) if unsigned else numbers < np.uint64(1 << 63)
    else:
        fits = numbers >= 0 if unsigned else np.ones(len(numbers), bool)
    whole = numbers.astype(np.uint64 if unsigned else np.int64)
    return _array(whole, valid & fits), failed + int((valid & ~fits).sum())


def _numbers(array: pa.Array, variable: Variable) -> tuple[np.ndarray, np.ndarray, int]:
    """Numbers (undefined where not valid), where there are some, and how many are none."""
    valid = _valid(array)
    if pa.types.is_dictionary(array.type) or is_text(array.type) or is_bytes(array.type):
        values, codes = encoded(array)
        if not len(values):
            return np.zeros(len(array)), valid, 0
        texts = spelled(values)
        parsed = _truths(texts) if variable.dtype == "bool" else parse_numbers(texts)
        reads = _valid(parsed)
        missing = np.asarray(
            pc.is_in(pc.utf8_trim_whitespace(texts), value_set=pa.array(_missing_words(variable)))
        )
        at = np.maximum(codes, 0)
        failed = valid & ~reads[at] & ~missing[at]
        return plain_values(parsed.fill_null(0.0))[at], valid & reads[at], int(failed.sum())
    if pa.types.is_boolean(array.type):
        return plain_values(array.cast(pa.uint8())), valid, 0
    if pa.types.is_temporal(array.type):
        return np.zeros(len(array)), np.zeros(len(array), bool), int(valid.sum())
    return plain_values(array), valid, 0


def _missing_words(variable: Variable) -> list[str]:
    return sorted({str(sentinel) for sentinel in variable.missing.sentinels} | {""})


def _truths(texts: pa.Array) -> pa.Array:
    return pa.array([_TRUTH.get(text.strip().lower()) for text in texts.to_pylist()], pa.float64())


def _texts(array: pa.Array, target: pa.DataType) -> pa.Array:
    if array.type == target:
        return array
    if is_text(array.type) or is_bytes(array.type):
        return coerce(array, target)
    values, codes = encoded(array)  # one spelling per value: "5" for 5 and for 5.0
    return coerce(spelled(values), target).take(pa.array(codes, mask=codes < 0))


def _times(array: pa.Array, variable: Variable) -> tuple[pa.Array, int]:
    if array.type == TIME:
        return array, 0
    micros, valid = microseconds_of(array, variable)
    failed = int(_valid(array).sum()) - int(valid.sum())
    return pa.array(micros, pa.int64(), mask=~valid).cast(TIME), failed


def _valid(array: pa.Array) -> np.ndarray:
    found = validity(array)
    return np.ones(len(array), bool) if found is None else found


def _array(values: np.ndarray, valid: np.ndarray) -> pa.Array:
    return pa.array(values) if valid.all() else pa.array(values, mask=~valid)
