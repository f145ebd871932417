"""Compressed files as streams of what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from trueup.errors import DataError


@contextmanager
def unpacked(packed: IO[bytes], compression: str, path: str) -> Iterator[IO[bytes]]:
    """The decompressed bytes of ``packed``.

    :param compression: ``"gzip"``, ``"bz2"``, ``"xz"``, ``"zip"`` or ``""``.
    :raises DataError: when a ZIP archive does not hold exactly one file.
    """
    if compression == "gzip":
        import gzip

        with gzip.GzipFile(fileobj=packed) as unzipped:
            yield cast(IO[bytes], unzipped)
    elif compression == "bz2":
        import bz2

        with bz2.BZ2File(packed) as unzipped_bz2:
            yield cast(IO[bytes], unzipped_bz2)
    elif compression == "xz":
        import lzma

        with lzma.LZMAFile(packed) as unzipped_xz:
            yield cast(IO[bytes], unzipped_xz)
    elif compression == "zip":
        with _only_member(packed, path) as member:
            yield member
    else:
        yield packed


@contextmanager
def _only_member(packed: IO[bytes], path: str) -> Iterator[IO[bytes]]:
    import zipfile

    with zipfile.ZipFile(packed) as archive:
        names = [
            info.filename
            for info in archive.infolist()
            if not info.is_dir() and not info.filename.startswith("__MACOSX/")
        ]
        if "[Content_Types].xml" in names:
            raise DataError(f"{path} is an Excel or Office document", remedy="save it as CSV")
        if len(names) != 1:
            raise DataError(
                f"{path} is a ZIP archive of {len(names)} files",
                remedy="unpack it and name the folder",
            )
        try:
            member = archive.open(names[0])
        except (RuntimeError, NotImplementedError) as error:  # encrypted; unknown compression
            raise DataError(f"{path} cannot be unpacked: {error}", remedy="unpack it") from error
        with member:
            yield member


def damage() -> tuple[type[Exception], ...]:
    """What the decompressors raise on damaged data, besides OSError and EOFError."""
    import lzma
    import zipfile
    import zlib

    return zlib.error, lzma.LZMAError, zipfile.BadZipFile
