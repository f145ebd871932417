"""How a label names its row: by our row id, by the client's request id and row, or by key columns.

A reference is one text, the same for a label as for the captured rows it is of:

=========  ==============================================================================
``row``    ``<segment>-<frame>-<row>``: a row id that we minted
``request``  ``<request id>/<row>``: the client's ``X-Request-Id`` and the place in its request
``key``    the values of the key columns, in the order of their names
=========  ==============================================================================

Key values are spelt canonically: 5, 5.0 and "5" are one key, and so are two spellings of one
time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone
from enum import Enum

import pyarrow as pa
import pyarrow.compute as pc

from trueup.datasets.times import parse_times
from trueup.profile.arrow import encoded, is_text
from trueup.profile.canonical import spell, spelled

_LIKE_TIME = re.compile(r"^\s*\d{4}-\d\d-\d\d")
_ESCAPE, _SEPARATOR = "\x1f", "\x1f|"
_TOKENS = re.compile("\x1f\x1f|\x1f\\||[^\x1f]+")


class By(str, Enum):
    """By what a label names its row."""

    ROW = "row"
    REQUEST = "request"
    KEY = "key"


def request_refs(request_ids: pa.Array, rows: pa.Array) -> pa.Array:
    """``<request id>/<row>`` of each, null where the client gave no id.

    >>> request_refs(pa.array(["a", "", None]), pa.array([0, 1, 2])).to_pylist()
    ['a/0', None, None]
    """
    given = pc.if_else(pc.equal(request_ids, ""), pa.scalar(None, pa.string()), request_ids)
    return pc.binary_join_element_wise(given, rows.cast(pa.string()), "/")


def key_refs(columns: Sequence[pa.Array]) -> pa.Array:
    """One text per row of the key ``columns``; null where any of them is.

    >>> key_refs([pa.array([5.0, None]), pa.array(["a", "b"])]).to_pylist()
    ['5\\x1f|a', None]
    """
    texts = [pc.replace_substring(_canonical(column), _ESCAPE, _ESCAPE * 2) for column in columns]
    return texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, _SEPARATOR)


def key_ref(values: Sequence[object]) -> str | None:
    """As :func:`key_refs` for one row of plain values.

    >>> key_ref([5, "a"]) == key_refs([pa.array(["5"]), pa.array(["a"])])[0].as_py()
    True
    """
    texts = [_canonical_value(value) for value in values]
    if any(text is None for text in texts):
        return None
    return _SEPARATOR.join(str(text).replace(_ESCAPE, _ESCAPE * 2) for text in texts)


def split_ref(ref: str) -> list[str]:
    """The values of a key, as :func:`key_ref` put them together.

    >>> split_ref(str(key_ref(["a\\x1f", 5])))
    ['a\\x1f', '5']
    """
    values = [""]
    for token in _TOKENS.findall(ref):
        if token == _SEPARATOR:
            values.append("")
        else:
            values[-1] += _ESCAPE if token == _ESCAPE * 2 else token
    return values


def _canonical(column: pa.Array) -> pa.Array:
    """Canonical text of each value; NaN is null."""
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), pa.string())
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        moments = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)), safe=False)
        return pa.array([_moment(value) for value in moments.to_pylist()], pa.string())
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    values, codes = encoded(column)
    texts = _times_alike(spelled(values)) if is_text(values.type) else spelled(values)
    return texts.take(pa.array(codes, pa.int64(), mask=codes < 0))


def _times_alike(texts: pa.Array) -> pa.Array:
    """``texts`` with those that are times in one form."""
    like = pc.match_substring_regex(texts, _LIKE_TIME.pattern)
    if not pc.any(like).as_py():
        return texts
    times, _ = parse_times(pc.if_else(like, texts, pa.scalar(None, pa.string())))
    forms = pa.array([_moment(value) for value in times.to_pylist()], pa.string())
    return pc.coalesce(forms, texts)


def _moment(value: datetime | None) -> str | None:
    if value is None:
        return None
    aware = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
    return aware.astimezone(timezone.utc).isoformat()


def _canonical_value(value: object) -> str | None:
    if value is None or value != value:
        return None
    if isinstance(value, datetime):
        return _moment(value)
    text = spell(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else spell(value)
    if isinstance(value, str) and _LIKE_TIME.match(text):
        return _times_alike(pa.array([text], pa.string()))[0].as_py()
    return text
