"""UTF-8 that is broken: bytes that do not decode become backslash escapes, and are counted.
Other encodings are refused by name.
"""

from __future__ import annotations

from trueup.errors import DataError

_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
UTF8_MARK = b"\xef\xbb\xbf"


def escape_invalid(data: bytes) -> tuple[bytes, int]:
    """``data`` as valid UTF-8 and how many of its bytes were escaped.

    >>> escape_invalid(b"caf\\xe9")
    (b'caf\\\\xe9', 1)
    """
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        escaped = data.decode("utf-8", "backslashreplace").encode()
        return escaped, (len(escaped) - len(data)) // 3  # one byte becomes the four of \xNN
    return data, 0


def encodable(text: str) -> str:
    """``text`` with lone surrogates as escapes, so that Arrow and JSON can hold it.

    >>> encodable("a\\ud800")
    'a\\\\ud800'
    """
    return text.encode("utf-8", "backslashreplace").decode()


def refuse_utf16(head: bytes, source: str) -> None:
    """:class:`DataError` when the file's first bytes say that it is UTF-16 or UTF-32."""
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            raise DataError(f"{source} is encoded in {name}", remedy="save it as UTF-8")


def refuse_wide_characters(head: bytes, source: str) -> None:
    """:class:`DataError` when every other byte is zero, as in UTF-16 without its mark."""
    zeros = [head[place::2].count(0) for place in (0, 1)]
    if max(zeros) > 0.4 * len(head) and min(zeros) < 0.1 * max(zeros):
        raise DataError(f"{source} seems to be encoded in UTF-16", remedy="save it as UTF-8")


def escaped_note(source: str, count: int) -> str:
    """The note about ``count`` escaped bytes."""
    what = "1 byte that is" if count == 1 else f"{count} bytes that are"
    return f"{source} has {what} not UTF-8: shown as backslash escapes such as \\xff"
