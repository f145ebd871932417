"""Durations and sizes as people write them: ``"90s"``, ``"1h"``, ``"64MiB"``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

_SECONDS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BYTES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_duration(value: Any) -> Any:
    """
    >>> parse_duration("90s"), parse_duration("1.5h")
    (datetime.timedelta(seconds=90), datetime.timedelta(seconds=5400))
    """
    if isinstance(value, str):
        found = _WRITTEN.fullmatch(value)
        if not found or found[2] not in _SECONDS:
            raise ValueError(f"{value!r} is no duration; write a number and s, min, h, d or w")
        return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f'a duration has a unit: write "{value}s", for example')
    return value


def write_duration(value: timedelta) -> str:
    """
    >>> write_duration(timedelta(hours=36)), write_duration(timedelta(days=2))
    ('36h', '2d')
    """
    seconds = value.total_seconds()
    for unit in ("d", "h", "min"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds // _SECONDS[unit])}{unit}"
    return f"{seconds:g}s"


def parse_bytes(value: Any) -> Any:
    """
    >>> parse_bytes("64MiB"), parse_bytes(1000)
    (67108864, 1000)
    """
    if isinstance(value, str):
        found = _WRITTEN.fullmatch(value)
        if not found or found[2] not in _BYTES:
            raise ValueError(f"{value!r} is no size; write a number and KiB, MiB or GiB")
        return int(float(found[1]) * _BYTES[found[2]])
    return value


def write_bytes(value: int) -> str:
    """
    >>> write_bytes(1 << 26), write_bytes(1000)
    ('64MiB', '1000B')
    """
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if value and value % _BYTES[unit] == 0:
            return f"{value // _BYTES[unit]}{unit}"
    return f"{value}B"


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(write_duration)]
Bytes = Annotated[int, BeforeValidator(parse_bytes), PlainSerializer(write_bytes)]
