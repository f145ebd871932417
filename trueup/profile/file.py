"""A profile in a file of its own, with its edges: what ``trueup profile -o`` writes.

It stands in for the data set it was made of as the training side of a comparison, without a row of
it: counts, moments, bins and frequent values are all that it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trueup.errors import DataError, ProfileError
from trueup.frames.whole import write_whole
from trueup.profile.codec import (
    FILE,
    dumps,
    dumps_edges,
    is_sealed,
    loads,
    loads_edges,
    opened,
    sealed,
)
from trueup.profile.states import Profile
from trueup.profile.wire import Decoder, Encoder

SUFFIX = ".profile"
_HEAD = 8


@dataclass(frozen=True)
class ProfileFile:
    """A profile, the name of the data set it is of, and what reading that had to decide."""

    profile: Profile
    name: str
    notes: tuple[str, ...] = ()


def save_profile(saved: ProfileFile, path: str | Path) -> None:
    """Write ``saved`` to ``path``, whole or not at all.

    :raises BadInputError: when ``path`` cannot be written.
    """
    out = Encoder()
    out.text(saved.name)
    out.texts(saved.notes)
    out.bytes(dumps_edges(saved.profile.edges))
    out.bytes(dumps(saved.profile))
    write_whole(path, sealed(FILE, bytes(out.data)))


def is_profile_file(path: str | Path) -> bool:
    """Whether ``path`` is a file that :func:`save_profile` wrote (in any version); of a URL its
    suffix says so."""
    if _is_url(path):
        return str(path).endswith(SUFFIX)
    try:
        if not Path(path).is_file():  # opening a pipe would wait for its writer
            return False
        with Path(path).open("rb") as stream:
            return is_sealed(stream.read(_HEAD), FILE)
    except (OSError, ValueError):  # ValueError: a null character in the path
        return False


def open_profile(path: str | Path) -> ProfileFile:
    """The profile in ``path``, a file or a URL of fsspec.

    :raises DataError: when it cannot be read; the message names the file.
    """
    try:
        source = Decoder(opened(FILE, _content(path)))
        name, notes = source.text(), source.texts()
        edges = loads_edges(source.bytes())
        profile = loads(source.bytes(), edges)
        source.end()
        return ProfileFile(profile, name, notes)
    except ProfileError as error:
        raise DataError(f"{path}: {error.message}", remedy=error.remedy) from None


def _is_url(path: str | Path) -> bool:
    return "://" in str(path)


def _content(path: str | Path) -> bytes:
    try:
        if not _is_url(path):
            return Path(path).read_bytes()
        import fsspec

        with fsspec.open(str(path), "rb") as stream:
            return bytes(stream.read())
    except (OSError, ImportError, ValueError) as error:  # the latter two are fsspec's
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read {path}: {reason}") from None
