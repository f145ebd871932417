"""What is brought in from elsewhere: files or the result of a query, and a hash of its content."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from trueup.datasets.open import open_dataset
from trueup.datasets.parts import UnitDataset
from trueup.datasets.sources import find_files
from trueup.datasets.sql_query import query_dataset
from trueup.errors import BadInputError

HOST = "ingest"
"""In place of a host, of sources that were brought in."""

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, as in segments' ids
_ID_DIGITS = 26
_DATABASE = re.compile(r"(sqlite|postgresql|mysql|mariadb|oracle|mssql)(\+\w+)?://")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Source:
    """:param shown: where it is from, without a password.
    :param content: hex SHA-256 of its content: of the files' bytes, or the query's rows.
    :param textual: whether all values are texts by nature (CSV), and types are a guess.
    """

    dataset: UnitDataset
    shown: str
    content: str
    textual: bool


@contextmanager
def open_source(
    place: str, *, query: str | None = None, progress: Callable[[int, int], None] | None = None
) -> Iterator[Source]:
    """The rows at ``place``: a path, glob, folder or URL of files, or with ``query`` a database.

    :raises BadInputError: when they cannot be had.
    """
    if query is None:
        if _DATABASE.match(place):
            raise BadInputError(
                "a database holds many tables", remedy="say which rows by --query 'SELECT …'"
            )
        files, _ = find_files(place)
        content = _hash_of([(file.path, _chunks(file.path)) for file in files])
        textual = all(file.format == "csv" for file in files)
        yield Source(open_dataset(place), _without_credentials(place), content, textual)
        return
    with TemporaryDirectory(prefix="trueup-query-") as name:
        folder = Path(name)
        rows = None if progress is None else lambda done: progress(0, done)
        dataset = query_dataset(place, query, folder, progress=rows)
        parts = [(part.name, _chunks(str(part))) for part in sorted(folder.iterdir())]
        yield Source(dataset, dataset.name, _hash_of(parts), False)


def source_id(model: str, content: str, *, kind: str) -> str:
    """The id of a source of this content, the same each time it is brought in. It has the form of
    a segment's id, and begins with a digit that theirs will have in thirty thousand years.

    >>> source_id("shop", "00", kind="rows")
    'zj7sht27bcksvz9k50mkgdvhvn'
    """
    digest = hashlib.sha256(f"{kind}\0{model}\0{content}".encode()).digest()
    number = int.from_bytes(digest, "big")
    digits = [_DIGITS[(number >> (5 * place)) & 31] for place in range(_ID_DIGITS - 1)]
    return "z" + "".join(digits)


def _hash_of(parts: list[tuple[str, Iterator[bytes]]]) -> str:
    """Of all parts in order; where one ends counts, what it is called does not."""
    whole = hashlib.sha256()
    for _, chunks in parts:
        one = hashlib.sha256()
        for chunk in chunks:
            one.update(chunk)
        whole.update(one.digest())
    return whole.hexdigest()


def _chunks(path: str) -> Iterator[bytes]:
    import fsspec

    with fsspec.open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _without_credentials(place: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", place)
