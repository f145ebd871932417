"""Canonical text: one spelling per value, whatever Arrow type it arrives in.

Numbers: the shortest decimal form, without a fraction where it is whole (``5``, not ``5.0``), so
that a column of integers spells the same after nulls made it float. Booleans: ``true``/``false``.
Bytes: UTF-8, and backslash escapes where they are not. Values of more than 256 bytes (a document,
an image) are spelt by their beginning, length and digest: what is kept of a column stays small, and
different values stay different.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone

import pyarrow as pa
import pyarrow.compute as pc

from trueup.profile.arrow import is_bytes, is_text

LONGEST_BYTES = 256
"""Longest text that is kept as it is."""

_BEGINNING = 64  # characters that are kept of a longer one
_WHOLE_BELOW = 2.0**63

_SECOND = r"^[1-9]\d{3}-\d\d-\d\d[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d"
_USUAL_TIMES = ((_SECOND + r"(Z|[+-](0\d|1[0-4]):[0-5]\d)$", "UTC"), (_SECOND + "$", None))
"""What whole columns are written in; Arrow reads these alike, many times faster."""


def spelled(values: pa.Array) -> pa.Array:
    """Canonical text of ``values`` (distinct ones, for speed; no nulls), an Arrow string array."""
    kind = values.type
    if is_text(kind) or is_bytes(kind):
        return _decoded(values)
    if pa.types.is_integer(kind):
        return values.cast(pa.string())
    return pa.array([spell(value) for value in values.to_pylist()], pa.string())


def spell(value: object) -> str:
    """Canonical text of one Python value.

    >>> spell(5.0), spell(0.1), spell(True), spell(b"caf\\xe9")
    ('5', '0.1', 'true', 'caf\\\\xe9')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        whole = abs(value) < _WHOLE_BELOW and value.is_integer()
        return str(int(value)) if whole else repr(value)
    if isinstance(value, bytes):
        return _spell_bytes(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def _decoded(values: pa.Array) -> pa.Array:
    """Valid UTF-8 as it is; a value that is not becomes its backslash escapes.

    Files can hold bytes that are not UTF-8 in string columns, hence no trust in the type.
    """
    raw = pa.large_binary() if pa.types.is_large_string(values.type) else pa.binary()
    as_bytes = values.cast(raw) if not pa.types.is_large_binary(values.type) else values
    longest = pc.max(pc.binary_length(as_bytes)).as_py() or 0
    if longest > LONGEST_BYTES:
        return pa.array([_spell_bytes(value) for value in as_bytes.to_pylist()], pa.string())
    try:
        return as_bytes.cast(pa.string())  # checks the encoding
    except pa.ArrowException:
        return pa.array([_spell_bytes(value) for value in as_bytes.to_pylist()], pa.string())


def _spell_bytes(value: bytes) -> str:
    if len(value) <= LONGEST_BYTES:
        return value.decode("utf-8", "backslashreplace")
    beginning = value[: 4 * _BEGINNING].decode("utf-8", "backslashreplace")[:_BEGINNING]
    digest = hashlib.blake2b(value, digest_size=8).hexdigest()
    return f"{beginning}… ({len(value)} bytes, {digest})"


def parse_numbers(texts: pa.Array) -> pa.Array:
    """Numbers of distinct ``texts`` (Arrow strings, no nulls), float64, null where there is none.

    >>> parse_numbers(pa.array(["1", " 2.5e3 ", "-inf", "x", ""])).to_pylist()
    [1.0, 2500.0, -inf, None, None]
    """
    trimmed = pc.utf8_trim_whitespace(texts)
    number = pc.match_substring_regex(
        trimmed, r"(?i)^[+-]?(\d+\.?\d*([e][+-]?\d+)?|\.\d+([e][+-]?\d+)?|inf|infinity|nan)$"
    )
    unsigned = pc.utf8_ltrim(pc.if_else(number, trimmed, None), characters="+")
    try:
        return unsigned.cast(pa.float64())
    except pa.ArrowException:  # a form that Arrow does not parse, such as "1." or "Infinity"
        return pa.array(
            [None if text is None else float(text) for text in unsigned.to_pylist()], pa.float64()
        )


def parse_times(texts: pa.Array) -> pa.Array:
    """Instants of distinct ``texts`` (ISO 8601; UTC where no offset is given) as float64 seconds
    since 1970, null where there is none.

    >>> parse_times(pa.array(["1970-01-02", "1970-01-01T01:00:00+01:00", "x"])).to_pylist()
    [86400.0, 0.0, None]
    """
    for form, zone in _USUAL_TIMES:
        if pc.all(pc.match_substring_regex(texts, form)).as_py():
            try:
                return texts.cast(pa.timestamp("s", zone)).view(pa.int64()).cast(pa.float64())
            except pa.ArrowException:  # February 30
                break
    seconds = [_parse_time(text) for text in texts.to_pylist()]
    return pa.array(seconds, pa.float64())


def _parse_time(text: str) -> float | None:
    text = text.strip()
    if text.endswith(("Z", "z")):  # Python 3.10 does not read it
        text = text[:-1] + "+00:00"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
