"""Keys of windows and profiles. A window is a tumbling event-time interval in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from trueup.errors import BadInputError

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True, order=True)
class WindowKey:
    """The half-open interval ``[start, start + length)``.

    :param start: aware datetime in UTC, a whole multiple of ``length`` since 1970-01-01.

    >>> window = WindowKey.containing(
    ...     datetime(2013, 7, 1, 5, 30, tzinfo=timezone.utc), timedelta(hours=1)
    ... )
    >>> str(window)
    '2013-07-01T05:00:00Z/PT3600S'
    """

    start: datetime
    length: timedelta

    def __post_init__(self) -> None:
        if self.length <= timedelta(0):
            raise BadInputError(f"window length {self.length} is not positive")
        if self.start.utcoffset() != timedelta(0):
            raise BadInputError(f"window start {self.start} is not in UTC")
        if (self.start - EPOCH) % self.length:
            raise BadInputError(f"window start {self.start} is not a multiple of {self.length}")

    @property
    def end(self) -> datetime:
        return self.start + self.length

    @classmethod
    def containing(cls, moment: datetime, length: timedelta) -> WindowKey:
        """The window of ``length`` that holds ``moment`` (aware)."""
        if moment.tzinfo is None:
            raise BadInputError(f"time {moment} has no time zone")
        if length <= timedelta(0):
            raise BadInputError(f"window length {length} is not positive")
        utc = moment.astimezone(timezone.utc)
        return cls(utc - (utc - EPOCH) % length, length)

    def __str__(self) -> str:
        seconds = int(self.length.total_seconds())
        return f"{self.start.strftime('%Y-%m-%dT%H:%M:%SZ')}/PT{seconds}S"


@dataclass(frozen=True, slots=True)
class ProfileKey:
    """What an input profile is of. ``edges_id`` names the frozen bins and vocabularies, so that
    only profiles that can be merged share it."""

    model: str
    window: WindowKey
    version: int
    arm: str
    edges_id: str
