"""Event times as microseconds since 1970, from whatever a time variable is written in."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa

from trueup.datasets.columns import TIME, coerce
from trueup.datasets.times import parse_times
from trueup.profile.arrow import encoded, is_text, plain_values, validity
from trueup.records.input_spec import Variable
from trueup.records.keys import EPOCH

_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_REACH = 1 << 62
"""Microseconds beyond which a number is no time of ours (140,000 years)."""


def microseconds_of(array: pa.Array, variable: Variable) -> tuple[np.ndarray, np.ndarray]:
    """Times of each row, int64 (0 where there is none), and where there is one, bool.

    :param variable: of kind time: timestamps, ISO 8601 texts, or numbers since 1970 in its unit
        (seconds where it has none).

    >>> ticks = Variable(name="at", dtype="int64", kind="time", unit="ms")
    >>> microseconds_of(pa.array([1500, None]), ticks)[0].tolist()
    [1500000, 0]
    """
    rows = len(array)
    if pa.types.is_null(array.type):
        return np.zeros(rows, np.int64), np.zeros(rows, bool)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if is_text(array.type):
        values, codes = encoded(array)
        if not len(values):
            return np.zeros(rows, np.int64), np.zeros(rows, bool)
        array = parse_times(values)[0].take(pa.array(codes, mask=codes < 0))
    elif pa.types.is_temporal(array.type):
        array = coerce(array, TIME)
    valid = validity(array)
    valid = np.ones(rows, bool) if valid is None else valid
    if pa.types.is_timestamp(array.type):
        micros = plain_values(array.view(pa.int64()))
    elif pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        micros, valid = _from_numbers(plain_values(array), valid, variable.unit)
    else:
        return np.zeros(rows, np.int64), np.zeros(rows, bool)
    return np.where(valid, micros, 0), valid


def _from_numbers(
    numbers: np.ndarray, valid: np.ndarray, unit: str
) -> tuple[np.ndarray, np.ndarray]:
    factor = _MICROSECONDS.get(unit, 1_000_000)
    limit = _REACH * 1_000 if unit == "ns" else _REACH // factor
    with np.errstate(invalid="ignore"):
        valid = valid & (np.abs(numbers.astype(np.float64)) < float(limit))
    known = np.where(valid, numbers, 0)
    if unit == "ns":
        return np.floor_divide(known, 1000).astype(np.int64), valid
    return (known * factor).astype(np.int64), valid


def microseconds(moment: datetime) -> int:
    """Of a moment; one without a zone is taken as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return (moment - EPOCH) // timedelta(microseconds=1)


_FIRST = microseconds(datetime.min.replace(tzinfo=timezone.utc))
_LAST = microseconds(datetime.max.replace(tzinfo=timezone.utc))


def moment_of(micros: int) -> datetime:
    """The moment, or the first or last that there is a ``datetime`` of."""
    return EPOCH + timedelta(microseconds=min(max(micros, _FIRST), _LAST))
