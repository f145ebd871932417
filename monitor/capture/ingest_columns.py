"""Columns of data logged elsewhere, as the types that a model's InputSpec declares.

Types of files are a guess where all is text (CSV), and texts where values are mixed (JSON lines): a
text that reads as the declared number or truth value is one. What does not fit is null and named,
as in the rows of our own server.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.datasets.columns import coerce, is_list, leaf_type, list_of
from trueup.datasets.times import parse_times
from trueup.monitor.capture.row_schema import TIME, input_type, unnested
from trueup.monitor.capture.typed_values import narrowed
from trueup.profile.canonical import parse_numbers, spelled
from trueup.records.input_spec import Variable

_TRUE, _FALSE = ("true", "1"), ("false", "0")
_INT64_END = 2.0**63


def fitted(
    array: pa.Array, variable: Variable, *, textual: bool
) -> tuple[pa.Array, np.ndarray | None]:
    """``array`` (a leaf type of a data set) as ``variable`` is stored, and which values do not fit
    (null there), bool ``(n,)``, if any.

    :param textual: of a file in which all values are texts: a number is the text that it was.

    >>> price = Variable(name="price", dtype="float64", kind="numeric")
    >>> array, misfits = fitted(pa.array(["1.5", "?", ""]), price, textual=True)
    >>> array.to_pylist(), misfits.tolist()
    ([1.5, None, None], [False, True, False])
    """
    kind = input_type(variable)
    leaf, depth = unnested(kind)
    array = coerce(array, leaf_type(array.type))
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), kind), None
    if not depth:
        return _scalars(array, leaf, textual)
    if not is_list(array.type):
        lengths = pc.if_else(array.is_valid(), 1, pa.scalar(None, pa.int64()))
        array = list_of(lengths, array.drop_null())
    return _lists(array, leaf, variable, textual)


def _scalars(
    array: pa.Array, leaf: pa.DataType, textual: bool
) -> tuple[pa.Array, np.ndarray | None]:
    """One value per row; lists of one count as it."""
    many = None
    if is_list(array.type):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        many = lengths > 1
        one = np.flatnonzero(lengths == 1)
        starts = np.concatenate(([0], np.cumsum(lengths)))[:-1]
        at = np.full(len(array), -1)
        at[one] = starts[one]
        array = array.flatten().take(pa.array(at, mask=at < 0))
    found, wrong = _leaves(array, leaf, textual)
    if many is not None and many.any():
        wrong = many if wrong is None else wrong | many
    return found, wrong


def _lists(
    array: pa.Array, leaf: pa.DataType, variable: Variable, textual: bool
) -> tuple[pa.Array, np.ndarray | None]:
    """Any number of values per row; a row is wrong where one of its values is."""
    lengths = pc.list_value_length(array)
    values, wrong_values = _leaves(array.flatten(), leaf, textual)
    wrong = None
    if wrong_values is not None:
        counts = pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)
        rows = np.repeat(np.arange(len(array)), counts)
        wrong = np.bincount(rows[wrong_values], minlength=len(array)) > 0
    found = list_of(lengths, values)
    for size in reversed(variable.shape[1:]):  # data sets have one list of all elements
        if size > 0:
            found = _grouped(found, size)
    if wrong is not None:
        found = pc.if_else(pa.array(wrong), pa.scalar(None, found.type), found)
    return found, wrong


def _grouped(array: pa.Array, size: int) -> pa.Array:
    """Lists of lists of ``size``, where every length is a multiple of it; else as it is."""
    lengths = pc.list_value_length(array)
    counts = pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)
    if (counts % size).any():
        return array
    inner = list_of(pa.array(np.full(int(counts.sum()) // size, size)), array.flatten())
    outer = pa.array(counts // size, mask=np.asarray(lengths.is_null()))
    return list_of(outer, inner)


def _leaves(
    array: pa.Array, leaf: pa.DataType, textual: bool
) -> tuple[pa.Array, np.ndarray | None]:
    t = pa.types
    if t.is_floating(leaf):
        return _as_floats(array, leaf)
    if t.is_integer(leaf):
        return _as_integers(array, leaf)
    if t.is_boolean(leaf):
        return _as_booleans(array, textual)
    if leaf == TIME:
        return _as_times(array)
    return _as_texts(array, leaf, textual)


def _as_floats(array: pa.Array, leaf: pa.DataType) -> tuple[pa.Array, np.ndarray | None]:
    numbers, wrong = _numbers(array)
    if numbers is None:
        return pa.nulls(len(array), leaf), wrong
    wide = numbers.cast(pa.float64(), safe=False)
    return (wide if leaf == pa.float64() else narrowed(wide, leaf)), wrong


def _as_integers(array: pa.Array, leaf: pa.DataType) -> tuple[pa.Array, np.ndarray | None]:
    """Fractions among declared integers fit, and make the array float64: they are what shows that
    another unit arrived."""
    numbers, wrong = _numbers(array)
    if numbers is None:
        return pa.nulls(len(array), leaf), wrong
    try:
        return numbers.cast(leaf), wrong  # refuses fractions and what is out of range
    except pa.ArrowInvalid:
        pass
    values = numbers.cast(pa.float64(), safe=False)
    plain = values.fill_null(0.0).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        beyond = ~np.isfinite(plain) | (np.abs(plain) >= _INT64_END) | (plain == math.inf)
        fraction = np.isfinite(plain) & (np.rint(plain) != plain)
    if fraction.any():
        return values, wrong
    kept = pc.if_else(pa.array(beyond), pa.scalar(None, pa.float64()), values)
    missing = np.isnan(plain)
    beyond &= ~missing
    wrong = beyond if wrong is None else wrong | beyond
    return kept.cast(leaf, safe=False), wrong if wrong.any() else None


def _numbers(array: pa.Array) -> tuple[pa.Array | None, np.ndarray | None]:
    """As numbers; ``None`` where nothing of this type is one."""
    t, kind = pa.types, array.type
    if t.is_integer(kind) or t.is_floating(kind):
        return array, None
    if not (t.is_string(kind) or t.is_binary(kind)):
        return None, _present(array)
    encoded = array.dictionary_encode()
    texts = spelled(encoded.dictionary)
    empty = pc.equal(pc.utf8_trim_whitespace(texts), "")
    parsed = parse_numbers(texts)
    no_number = np.asarray(pc.and_(parsed.is_null(), pc.invert(empty)))
    codes = encoded.indices
    numbers = parsed.take(codes)
    if not no_number.any():
        return numbers, None
    at = codes.fill_null(0).to_numpy(zero_copy_only=False)
    return numbers, no_number[at] & _valid(array)


def _as_booleans(array: pa.Array, textual: bool) -> tuple[pa.Array, np.ndarray | None]:
    t, kind = pa.types, array.type
    if t.is_boolean(kind):
        return array, None
    if t.is_integer(kind) and textual:
        array = array.cast(pa.string())
    if not t.is_string(array.type):
        return pa.nulls(len(array), pa.bool_()), _present(array)
    words = pc.utf8_lower(pc.utf8_trim_whitespace(array))
    true = pc.is_in(words, value_set=pa.array(_TRUE))
    false = pc.is_in(words, value_set=pa.array(_FALSE))
    known = pc.or_(true, false)
    found = pc.if_else(known, true, pa.scalar(None, pa.bool_()))
    known_or_empty = pc.or_(known, pc.fill_null(pc.equal(words, ""), True))
    wrong = _valid(array) & ~np.asarray(known_or_empty)
    return found, wrong if wrong.any() else None


def _as_times(array: pa.Array) -> tuple[pa.Array, np.ndarray | None]:
    if pa.types.is_timestamp(array.type):
        return array.cast(TIME), None
    if not pa.types.is_string(array.type):
        return pa.nulls(len(array), TIME), _present(array)
    times, failed = parse_times(array)
    return times, (_valid(array) & np.asarray(times.is_null()) if failed else None)


def _as_texts(
    array: pa.Array, leaf: pa.DataType, textual: bool
) -> tuple[pa.Array, np.ndarray | None]:
    t, kind = pa.types, array.type
    if kind == leaf:
        return array, None
    if not (t.is_string(kind) or t.is_binary(kind) or textual):
        return pa.nulls(len(array), leaf), _present(array)
    if t.is_integer(kind):
        texts = array.cast(pa.string())
    elif t.is_string(kind):
        texts = array
    elif t.is_binary(kind):
        texts = coerce(array, pa.string())
    else:
        encoded = array.dictionary_encode()
        texts = spelled(encoded.dictionary).take(encoded.indices)
    return texts.cast(leaf), None


def _valid(array: pa.Array) -> np.ndarray:
    mask: np.ndarray = array.is_valid().to_numpy(zero_copy_only=False)
    return mask


def _present(array: pa.Array) -> np.ndarray | None:
    """All that is there, as misfits."""
    mask = _valid(array)
    return mask if mask.any() else None
