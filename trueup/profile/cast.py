"""From what arrives to what was declared: present values, and counts of what is missing or wrong.

Types differ between a training file and live traffic (integers become floats once a null is among
them, everything becomes text in CSV). Values that can be read as declared are; the others count as
type errors. A whole column of another type than declared counts as type errors *and* is profiled
by its canonical reading, so that one can see what arrived.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.profile.arrow import (
    code_counts,
    encoded,
    is_bytes,
    is_plain,
    is_text,
    plain_values,
    validity,
)
from trueup.profile.canonical import parse_numbers, parse_times, spelled
from trueup.profile.text import text_lengths
from trueup.records.input_spec import FLOAT_DTYPES, INTEGER_DTYPES, Kind, Variable

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class Numbers:
    """Numbers of one array.

    :param values: the finite ones, shape ``(k,)``, float64 or integers, in row order.
    :param at: which rows they are of, bool ``(rows,)``; None where it is all of them.
    """

    rows: int
    values: np.ndarray
    at: np.ndarray | None
    missing: int = 0
    type_errors: int = 0
    non_finite: int = 0


@dataclass(frozen=True)
class Labels:
    """Distinct categories of one array.

    :param values: canonical text, Arrow strings, shape ``(k,)``; may repeat.
    :param counts: int64, shape ``(k,)``, > 0.
    :param lengths: int64, shape ``(k,)``: characters (of declared bytes: bytes) of each value as it
        came, also where its canonical text is an abbreviation.
    """

    rows: int
    values: pa.Array
    counts: np.ndarray
    lengths: np.ndarray
    missing: int = 0
    type_errors: int = 0


@dataclass(frozen=True)
class Texts:
    """The present texts of one array, Arrow strings or binary without nulls, in row order."""

    rows: int
    values: pa.Array
    missing: int = 0
    type_errors: int = 0


def numbers(array: pa.Array, variable: Variable) -> Numbers:
    """Read ``array`` (scalar) as the numbers of ``variable`` (kind numeric or time)."""
    if pa.types.is_null(array.type):
        return Numbers(len(array), np.zeros(0), np.zeros(len(array), bool), len(array))
    if pa.types.is_dictionary(array.type) and not is_text(array.type.value_type):
        array = array.dictionary_decode()
    if is_text(array.type) or is_bytes(array.type) or pa.types.is_dictionary(array.type):
        return _from_text(array, variable)
    values, wrong_type = _plain(array, variable)
    return _checked(values, validity(array), 0, wrong_type, variable)


def labels(array: pa.Array, variable: Variable) -> Labels:
    """Read ``array`` (scalar) as the categories of ``variable``."""
    if pa.types.is_null(array.type):
        nothing = np.zeros(0, np.int64)
        return Labels(len(array), pa.array([], pa.string()), nothing, nothing, len(array))
    values, codes = encoded(array)
    counts, missing = code_counts(codes, len(values))
    texts = spelled(values)
    fits, texts = _as_declared(values, texts, variable)
    is_missing = missing_labels(values, texts, variable)
    missing += int(counts[is_missing].sum())
    type_errors = int(counts[~fits & ~is_missing].sum())
    lengths = _lengths(values, texts, variable)
    kept = ~is_missing & (counts > 0)
    if variable.dtype in INTEGER_DTYPES | FLOAT_DTYPES | {"bool"}:
        kept &= fits  # a word among numbers is an error, not a category
    if not kept.all():
        texts, counts, lengths = texts.filter(pa.array(kept)), counts[kept], lengths[kept]
    return Labels(len(array), texts, counts, lengths, missing, type_errors)


def texts(array: pa.Array, variable: Variable) -> Texts:
    """Read ``array`` (scalar) as free text."""
    if pa.types.is_null(array.type):
        return Texts(len(array), pa.array([], pa.string()), len(array))
    rows = len(array)
    wrong_type = False
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not (is_text(array.type) or is_bytes(array.type)):
        values, codes = encoded(array)
        array = spelled(values).take(pa.array(codes, mask=codes < 0))
        wrong_type = True
    if pa.types.is_fixed_size_binary(array.type):
        array = array.cast(pa.binary())
    present = array.drop_null()
    sentinels = [str(sentinel) for sentinel in variable.missing.sentinels]
    if variable.missing.empty_string:
        sentinels.append("")
    if sentinels and len(present):
        unwanted = pc.is_in(present, value_set=pa.array(sentinels, present.type))
        present = present.filter(pc.invert(unwanted))
    type_errors = len(present) if wrong_type else 0
    return Texts(rows, present, rows - len(present), type_errors)


def _plain(array: pa.Array, variable: Variable) -> tuple[np.ndarray, bool]:
    """Values of a numeric, Boolean or temporal array (undefined under nulls), and whether its
    type is another than declared."""
    kind = array.type
    timed = variable.kind is Kind.TIME
    if pa.types.is_timestamp(kind):
        ticks = plain_values(array.view(pa.int64()))
        return ticks / _PER_SECOND[kind.unit], not timed
    if pa.types.is_date(kind):
        milliseconds = plain_values(array.cast(pa.date64()).view(pa.int64()))
        return milliseconds / 1000.0, not timed
    if pa.types.is_boolean(kind):
        return plain_values(array.cast(pa.uint8())), True
    if not is_plain(kind):  # decimals, durations, times of day
        array = array.cast(pa.int64()) if pa.types.is_temporal(kind) else array
        return plain_values(array.cast(pa.float64())), pa.types.is_temporal(kind)
    values = plain_values(array)
    if values.dtype.kind == "f" and values.dtype != np.float64:
        values = values.astype(np.float64)
    return values, timed and variable.dtype == "timestamp"


def _from_text(array: pa.Array, variable: Variable) -> Numbers:
    """Parse the distinct texts only; what does not parse is a type error."""
    values, codes = encoded(array)
    spellings = spelled(values)
    parse = parse_times if variable.kind is Kind.TIME else parse_numbers
    parsed = parse(spellings)
    parses = validity(parsed)
    numbers_of = np.append(plain_values(parsed), np.nan)
    missing_words = {str(sentinel) for sentinel in variable.missing.sentinels} | {""}
    words = pa.array(sorted(missing_words), pa.string())
    is_missing = np.append(
        np.asarray(pc.is_in(pc.utf8_trim_whitespace(spellings), value_set=words)), True
    )
    reads = np.append(np.ones(len(values), bool) if parses is None else parses, False)
    row_missing, row_reads = is_missing[codes], reads[codes]
    return _checked(
        numbers_of[codes],
        row_reads & ~row_missing,
        int(np.count_nonzero(~row_reads & ~row_missing)),
        False,
        variable,
    )


def _checked(
    values: np.ndarray,
    valid: np.ndarray | None,
    type_errors: int,
    wrong_type: bool,
    variable: Variable,
) -> Numbers:
    """Sort out NaN, sentinels and infinities. Fractions where integers were declared stay values:
    they are what shows that kilometres came instead of miles."""
    rows = values.size
    missing = 0 if valid is None else rows - int(np.count_nonzero(valid)) - type_errors
    non_finite = 0
    for sentinel in variable.missing.sentinels:
        if not isinstance(sentinel, str):
            valid, dropped = _without(valid, values == sentinel)
            missing += dropped
    if values.dtype.kind == "f":
        present = values if valid is None else values[valid]
        with np.errstate(over="ignore", invalid="ignore"):
            clean = bool(np.isfinite(present.sum()))
        if not clean:
            valid, not_a_number = _without(valid, np.isnan(values))
            valid, non_finite = _without(valid, np.isinf(values))
            if variable.missing.nan:
                missing += not_a_number
            else:
                non_finite += not_a_number
    if valid is not None:
        values = values[valid]
    if wrong_type:
        type_errors += values.size + non_finite
    return Numbers(rows, values, valid, missing, type_errors, non_finite)


def _without(valid: np.ndarray | None, drop: np.ndarray) -> tuple[np.ndarray | None, int]:
    """``valid`` less ``drop``, and how many were dropped that were valid before."""
    if valid is not None:
        drop = drop & valid
    dropped = int(np.count_nonzero(drop))
    if not dropped:
        return valid, 0
    return (~drop if valid is None else valid & ~drop), dropped


def _lengths(values: pa.Array, texts: pa.Array, variable: Variable) -> np.ndarray:
    """Of each of distinct ``values`` as it came; of what is no text, of its spelling."""
    if pa.types.is_fixed_size_binary(values.type):
        values = values.cast(pa.binary())
    return text_lengths(
        values if is_text(values.type) or is_bytes(values.type) else texts, variable
    )


def _as_declared(
    values: pa.Array, texts: pa.Array, variable: Variable
) -> tuple[np.ndarray, pa.Array]:
    """Which distinct values are of the declared type, and their canonical text as such."""
    kind, dtype = values.type, variable.dtype
    textual = is_text(kind) or is_bytes(kind)
    everything, nothing = np.ones(len(values), bool), np.zeros(len(values), bool)
    if dtype in ("string", "bytes"):
        return (everything if textual else nothing), texts
    if dtype == "timestamp":
        return (everything if pa.types.is_temporal(kind) else nothing), texts
    if dtype == "bool":
        if pa.types.is_boolean(kind):
            return everything, texts
        words = [_TRUTH.get(text.strip().lower()) for text in texts.to_pylist()]
        fits = np.array([word is not None for word in words], bool)
        spellings = [word or text for word, text in zip(words, texts.to_pylist(), strict=True)]
        return fits, pa.array(spellings, pa.string())
    if textual:
        parsed = parse_numbers(texts)
        reads = validity(parsed)
        fits = everything if reads is None else reads.copy()
        numeric = spelled(parsed.fill_null(0.0))
        spelt = np.where(
            fits, numeric.to_numpy(zero_copy_only=False), texts.to_numpy(zero_copy_only=False)
        )
        return fits, pa.array(spelt.tolist(), pa.string())
    if pa.types.is_boolean(kind) or pa.types.is_temporal(kind):
        return nothing, texts
    if dtype in INTEGER_DTYPES and pa.types.is_floating(kind):
        floats = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return ~np.isfinite(floats) | (np.rint(floats) == floats), texts
    return everything, texts


_TRUTH = {"true": "true", "false": "false", "1": "true", "0": "false"}


def missing_labels(values: pa.Array, texts: pa.Array, variable: Variable) -> np.ndarray:
    """Which of distinct ``values``, spelled as ``texts``, stand for a missing value; bool."""
    rule = variable.missing
    words = set()
    for sentinel in rule.sentinels:
        words.add(spelled(pa.array([sentinel]))[0].as_py())
    if rule.empty_string or variable.dtype not in ("string", "bytes"):
        words.add("")
    if rule.nan and pa.types.is_floating(values.type):
        words.add("nan")
    if not words or not len(texts):
        return np.zeros(len(texts), bool)
    return np.asarray(pc.is_in(texts, value_set=pa.array(sorted(words), pa.string())))
