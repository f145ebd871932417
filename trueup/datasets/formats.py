"""What format a file is in: by its name, and by its first bytes, which are right more often."""

from __future__ import annotations

import json
import os
import struct

from trueup.datasets.encoding import refuse_utf16, refuse_wide_characters
from trueup.errors import DataError

SNIFFED_BYTES = 4096

FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv",
    ".parquet": "parquet", ".pq": "parquet", ".parq": "parquet",
    ".jsonl": "json", ".ndjson": "json", ".json": "json",
    ".tfrecord": "tfrecord", ".tfrecords": "tfrecord", ".tfrec": "tfrecord",
}  # fmt: skip

_COMPRESSIONS = {".gz": "gzip", ".gzip": "gzip", ".bz2": "bz2", ".xz": "xz", ".zip": "zip"}

_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip"}

_FOREIGN = {
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
    b"\x04\x22\x4d\x18": "compressed with LZ4",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"PK\x05\x06": "an empty ZIP archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"SQLite format 3\0": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"ARROW1": "an Arrow (Feather) file",
    b"FEA1": "a Feather file",
    b"Obj\x01": "an Avro file",
    b"ORC": "an ORC file",
    b"\x80\x04\x95": "a Python pickle",
    b"%PDF-": "a PDF document",
    b"\x89PNG\r\n": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"\x7fELF": "a program",
}
"""First bytes of what is often given in place of a table, and what it is."""

_PAGES = (b"<!doctype html", b"<html", b"<?xml")

_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b")) + b"\x7f"

MOSTLY_TEXT = 0.02
"""A file with a larger share of control characters is no text (of random bytes, 11 % are)."""

READABLE = "give CSV, Parquet, JSON lines or TFRecord files"


def by_suffix(path: str) -> tuple[str, str]:
    """Format and compression that the name of a file tells; ``""`` where it tells nothing.

    >>> by_suffix("rides/July.CSV.gz"), by_suffix("notes.md")
    (('csv', 'gzip'), ('', ''))
    """
    stem, suffix = os.path.splitext(path.lower())  # noqa: PTH122  the path may be a URL
    compression = _COMPRESSIONS.get(suffix, "")
    if compression:
        suffix = os.path.splitext(stem)[1]  # noqa: PTH122
    return FORMATS.get(suffix, ""), compression


def packed_by(head: bytes) -> str:
    """The compression of a file that begins with ``head``, or ``""``."""
    return next((name for magic, name in _PACKED.items() if head.startswith(magic)), "")


def format_of(head: bytes, named: str, path: str) -> str:
    """The format of a file whose first (decompressed) bytes are ``head``.

    Names are often wrong about text, never PAR1 or a frame with a valid checksum; a first line
    that is a whole JSON object is no header of a CSV file.

    :param named: the format that the file's name tells, or ``""``.
    :raises DataError: when it is no text and none of the formats that are read here.
    """
    if head[:4] == b"PAR1":
        return "parquet"
    if len(head) >= 12 and _is_frame(head):
        return "tfrecord"
    if named in ("parquet", "tfrecord"):  # its reader says what is wrong with it
        return named
    refuse_utf16(head, path)
    refuse_foreign(head, path)
    if named == "csv" and not _is_object(head):
        return "csv"
    if named:
        return "json"
    return "json" if _text(head)[:1] == b"{" else "csv"


def refuse_foreign(head: bytes, path: str) -> None:
    """:class:`DataError` when ``head`` is the beginning of no text."""
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise DataError(f"{path} is {what}", remedy=READABLE)
    if _text(head)[:16].lower().startswith(_PAGES):
        raise DataError(
            f"{path} is an HTML or XML page, not a table",
            remedy="a download may have given an error page; look at it",
        )
    refuse_wide_characters(head, path)
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls > MOSTLY_TEXT * len(head):
        raise DataError(f"{path} holds binary data, not text", remedy=READABLE)


def _text(head: bytes) -> bytes:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")


def _is_object(head: bytes) -> bool:
    """Whether the first line is a JSON object (or the beginning of one that is too long)."""
    line, newline, _ = _text(head).partition(b"\n")
    if not line.startswith(b'{"'):
        return False
    if not newline and len(head) >= SNIFFED_BYTES:
        return True
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _is_frame(head: bytes) -> bool:
    """Whether the first 12 bytes are a TFRecord length and its masked CRC-32C."""
    import google_crc32c

    crc = google_crc32c.value(head[:8])
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return bool(struct.unpack("<I", head[8:12])[0] == masked)
