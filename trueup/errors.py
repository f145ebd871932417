"""The error tree. Each error says what failed, where, and what the user can do.

``TrueupError`` is the root; the command line prints ``str(error)`` as one sentence and
exits with ``error.exit_code``: 2 for bad input, 1 for a failure.
"""

from __future__ import annotations

from typing import ClassVar


class TrueupError(Exception):
    """A failure that a user can understand.

    :param message: what failed and where (names the id, file, column or key).
    :param remedy: what the user can do about it; empty when there is nothing to add.
    :param retry: whether doing the same thing again can succeed.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "", retry: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.retry = retry

    def __str__(self) -> str:
        if not self.remedy:
            return self.message
        stop = "" if self.message.endswith((".", "!", "?")) else ";"
        return f"{self.message}{stop} {self.remedy}"


class BadInputError(TrueupError):
    """What the user gave cannot be used: a file, a value, an argument."""

    exit_code = 2


class ConfigError(BadInputError):
    """The configuration is wrong; the message names key, file and line where known."""


class DataError(BadInputError):
    """A data set cannot be read or used; the message names file and column."""


class UnsupportedError(BadInputError):
    """Something that is not installed or not supported here; the remedy says how to get it."""


class StoreError(TrueupError):
    """The store (database) or the blob root failed."""


class StoreVersionError(BadInputError):
    """The store was written by a newer release."""


class ConflictError(StoreError):
    """A conditional update found other state than it expected (another process was first)."""


class FrameError(TrueupError):
    """A frame file is damaged before its torn tail, or is held by another process."""


class CaptureFullError(TrueupError):
    """The capture has no room, or its disk fails: the attempt was not written, and is answered 503.
    ``retry`` says whether it may be written elsewhere."""


class ProfileError(TrueupError):
    """Profiles that cannot be merged or read (other edges, other format version)."""


class ChildTaskError(TrueupError):
    """A child process of a job ended without a result."""
