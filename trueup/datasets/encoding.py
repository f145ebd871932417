"""UTF-8 that is broken: bytes that do not decode become backslash escapes, and are counted."""

from __future__ import annotations

from trueup.errors import DataError

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
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


def refuse_utf16(head: bytes, source: str) -> None:
    """:class:`DataError` when the file's first bytes say that it is UTF-16."""
    if head.startswith(_UTF16_MARKS):
        raise DataError(f"{source} is encoded in UTF-16", remedy="save it as UTF-8")


def escaped_note(source: str, count: int) -> str:
    """The note about ``count`` escaped bytes."""
    what = "1 byte that is" if count == 1 else f"{count} bytes that are"
    return f"{source} has {what} not UTF-8: shown as backslash escapes such as \\xff"
