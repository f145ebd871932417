"""ISO 8601 texts as times in UTC."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from trueup.datasets.columns import TIME

_ISO = r"^\s*\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?\s*(Z|[+-]\d\d(:?\d\d)?)?)?\s*$"
_ZONED = r"[T ]\d\d:.*(Z|[+-]\d\d(:?\d\d)?)\s*$"


def looks_like_times(texts: pa.Array) -> bool:
    """Whether the first value that is there has the form of an ISO 8601 date or time."""
    present = texts.drop_null()
    if not len(present):
        return False
    return bool(pc.match_substring_regex(present.slice(0, 1), _ISO)[0].as_py())


def parse_times(texts: pa.Array) -> tuple[pa.Array, int]:
    """String ``texts`` as ``timestamp[us, UTC]`` and how many were no times (null in the result).
    Times without a zone are taken as UTC.

    >>> times, failed = parse_times(pa.array(["2013-01-01T10:00:00-05:00", "2013-01-01", "soon"]))
    >>> times[0].value // 3_600_000_000 - times[1].value // 3_600_000_000, failed
    (15, 1)
    """
    stripped = pc.utf8_trim_whitespace(texts)
    iso = pc.fill_null(pc.match_substring_regex(stripped, _ISO), False)
    zoned = pc.and_(iso, pc.fill_null(pc.match_substring_regex(stripped, _ZONED), False))
    naive = pc.and_not(iso, zoned)
    nothing = pa.scalar(None, pa.string())
    with_zone = _cast(pc.if_else(zoned, stripped, nothing), "UTC")
    without = _cast(pc.if_else(naive, stripped, nothing), None).view(TIME)
    times = pc.coalesce(with_zone, without)
    return times, int(times.null_count - texts.null_count)


def zones_of(texts: pa.Array) -> set[str]:
    """Of times written as strings, which there are: ``"naive"`` ones, ``"zoned"`` ones, or both.

    >>> sorted(zones_of(pa.array(["2013-01-01T10:00:00Z", "2013-01-01T10:00", None])))
    ['naive', 'zoned']
    """
    present = texts.drop_null()
    if not len(present):
        return set()
    zoned = pc.match_substring_regex(present, _ZONED)
    found = {"zoned"} if pc.any(zoned).as_py() else set()
    return found if pc.all(zoned).as_py() else found | {"naive"}


def zone_note(column: str, zones: set[str]) -> str | None:
    """What has to be said of a column of such times."""
    if zones == {"naive", "zoned"}:
        return f"column {column} has times with and without a zone: those without are taken as UTC"
    return f"column {column} has times without a zone: taken as UTC" if "naive" in zones else None


def _cast(texts: pa.Array, zone: str | None) -> pa.Array:
    if texts.null_count == len(texts):
        return pa.nulls(len(texts), pa.timestamp("us", zone))
    for unit in ("us", "ns"):
        try:
            return texts.cast(pa.timestamp(unit, zone)).cast(pa.timestamp("us", zone), safe=False)
        except pa.ArrowInvalid:
            continue
    return _one_by_one(texts, zone)


def _one_by_one(texts: pa.Array, zone: str | None) -> pa.Array:
    """For columns where some value has the form of a time and is none (February 30)."""
    target = pa.timestamp("us", zone)
    values = []
    for index in range(len(texts)):
        try:
            values.append(texts.slice(index, 1).cast(target)[0].value)
        except pa.ArrowInvalid:
            values.append(None)
    return pa.array(values, pa.int64()).cast(target)


def promote(texts: pa.Array) -> pa.Array:
    """``texts`` as times when all of them are; unchanged otherwise."""
    if not pa.types.is_string(texts.type) or not looks_like_times(texts):
        return texts
    times, failed = parse_times(texts)
    return texts if failed else times


def as_declared(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Strings of a column that was found to hold only times, as times."""
    if pa.types.is_timestamp(kind) and pa.types.is_string(array.type):
        return parse_times(array)[0]
    return array
