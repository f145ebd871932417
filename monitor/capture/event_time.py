"""When a row happened: a variable with the role ``time``, else the request's header, else when it
arrived; and which of these are believed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from trueup.datasets.times import parse_times
from trueup.records.input_spec import InputSpec, Role, Variable
from trueup.records.keys import EPOCH

AHEAD = timedelta(minutes=5)
"""How far clocks may run ahead; a later event time is not believed."""

VARIABLE, HEADER, ARRIVAL, RETIMED = range(4)
"""Codes of where an event time is from; ``RETIMED``: from the arrival, because the one that was
given is in the future or older than the retention time; or from the compaction, because the arrival
is in the future too."""

_US_PER_UNIT = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3, "": 1e6}
_FARTHEST = 2.0**62  # microseconds; beyond it there is no integer for a time


@dataclass(frozen=True)
class EventTimes:
    """:param us: microseconds since 1970, int64, shape ``(rows,)``. :param source: codes, uint8."""

    us: np.ndarray
    source: np.ndarray


def event_times(
    given: np.ndarray | None,
    header_us: np.ndarray,
    arrival_us: np.ndarray,
    *,
    now: datetime,
    retention: timedelta,
) -> EventTimes:
    """Event times of rows.

    :param given: of the time variable, float64 or int64 microseconds; NaN (or the lowest integer)
        where there is none. ``None`` where no variable tells the time.
    :param header_us: int64; the lowest integer where there was no header.
    :param arrival_us: int64. All of shape ``(rows,)``.

    >>> now = datetime(2024, 1, 1, tzinfo=EPOCH.tzinfo)
    >>> arrival = np.array([microseconds(now)] * 2)
    >>> header = np.array([NONE, arrival[1] + 600_000_000])  # the second: ten minutes ahead
    >>> event_times(None, header, arrival, now=now, retention=timedelta(days=1)).source.tolist()
    [2, 3]
    """
    us, source = arrival_us.copy(), np.full(len(arrival_us), ARRIVAL, np.uint8)
    chosen = header_us != NONE
    us[chosen], source[chosen] = header_us[chosen], HEADER
    if given is not None:
        chosen = given != NONE
        us[chosen], source[chosen] = given[chosen], VARIABLE
    oldest, newest = microseconds(now - retention), microseconds(now + AHEAD)
    unbelieved = (source != ARRIVAL) & ((us < oldest) | (us > newest))
    us[unbelieved], source[unbelieved] = arrival_us[unbelieved], RETIMED
    ahead = us > newest  # by the clock of a server that is wrong: such a row must close no window
    us[ahead], source[ahead] = microseconds(now), RETIMED
    return EventTimes(us, source)


NONE = np.iinfo(np.int64).min
"""Stands for no time among microseconds."""


def microseconds(moment: datetime) -> int:
    """Since 1970, of an aware ``moment``."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def moment_of(us: int) -> datetime:
    """The inverse of :func:`microseconds`."""
    return EPOCH + timedelta(microseconds=us)


def time_variable(spec: InputSpec | None) -> Variable | None:
    """The variable that tells when a row happened, if there is one."""
    found = spec.with_role(Role.TIME) if spec is not None else ()
    return found[0] if found else None


def as_microseconds(array: pa.Array, variable: Variable) -> np.ndarray:
    """Values of the time variable, int64; ``NONE`` where they are missing or no time."""
    if pa.types.is_string(array.type):
        array = parse_times(array)[0]
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_timestamp(array.type):
        ticks = array.cast(pa.timestamp("us", "UTC")).view(pa.int64()).fill_null(0)
        return np.where(valid, ticks.to_numpy(), NONE)
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        return np.full(len(array), NONE, np.int64)
    for sentinel in variable.missing.sentinels:
        if isinstance(sentinel, int | float):
            valid &= array.fill_null(0).to_numpy(zero_copy_only=False) != sentinel
    values = array.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
    values *= _US_PER_UNIT.get(variable.unit, 1e6)
    valid &= np.abs(values) < _FARTHEST  # no NaN either
    return np.where(valid, np.where(valid, values, 0.0).astype(np.int64), NONE)
